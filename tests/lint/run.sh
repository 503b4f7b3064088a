#!/bin/sh
# Everything `make lint` looks at, each step to its end, so that one run shows all there is to mend.
# The number of parallel jobs is the argument.
set -u
cd "$(dirname "$0")/../.." || exit 1
jobs=${1:-$(nproc)}
failed=

step() { # <name> <command>...
    name=$1
    shift
    start=$(date +%s)
    if "$@"; then result=ok; else result=FAILED failed="$failed $name"; fi
    printf 'lint: %-14s %-6s %3d s\n' "$name" "$result" $(($(date +%s) - start))
}

configure() {
    cmake --preset lint --log-level=WARNING >/dev/null && cmake --preset release --log-level=WARNING >/dev/null &&
        cmake --build build/release --target dray_proto -j "$jobs"
}

format() { tests/lint/sources.sh | xargs clang-format --dry-run -Werror; }

# Only what the build knows: clang-tidy guesses at flags for anything else. Files go out one at a time,
# the largest first, so that both ends of the work finish together.
tidy() {
    sed -n 's/^ *"file": "\(.*\)",\{0,1\}$/\1/p' build/lint/compile_commands.json | sort -u |
        grep "^$PWD/" | grep -v "^$PWD/build/" | xargs ls -S |
        xargs -P "$jobs" -n 1 clang-tidy --quiet -p build/lint 2>build/lint/tidy.log ||
        {
            grep -vE '^[0-9]+ warnings? |^Suppressed|^Use -header-filter|treated as error' build/lint/tidy.log
            return 1
        }
}

check() {
    cppcheck --enable=warning,portability,performance --error-exitcode=1 --inline-suppr --quiet \
        --std=c11 --max-ctu-depth=2 -j "$jobs" -I . -D_GNU_SOURCE -D__x86_64__ \
        --suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches \
        --suppress=unknownMacro:tests/* --template=gcc \
        $(tests/lint/sources.sh | grep '\.c$')
}

rules() { tests/lint/rules.sh . build/release/libdray_proto.a; }

scripts() {
    for script in .ci/run .ci/deps $(find tests node -name '*.sh' -type f); do
        sh -n "$script" || return 1
    done
}

step configure configure
step format format
step rules rules
step scripts scripts
step cppcheck check
step clang-tidy tidy
[ -z "$failed" ] || {
    echo "lint: FAILED:$failed" >&2
    exit 1
}
