#!/bin/sh
# Builds and tests everything: the release build runs all tests, the sanitizer build all but those
# marked `long`. Called by `make test`; the number of parallel jobs is the argument.
#
# Most tests wait more than they compute: twice as many run at once as there are jobs.
#
# Both run to their end even if the first fails, and the release run comes last. ctest's own summary,
# with what failed and what was skipped by name, closes each; why something was skipped stands right
# above it.
set -u
cd "$(dirname "$0")/.." || exit 1
jobs=${1:-$(nproc)}

title() { printf '\n=== %s\n' "$*"; }

# Which machine's lack it was: tests say "<name>: skipped: why", suites "SKIPPED <name>: why".
reasons() {
    grep -hE '^SKIPPED |^[a-z0-9_.]+: skipped: ' "$1" | cut -c 1-240 | sort -u | sed 's/^/  /'
}

run() { # <preset> <ctest argument>...
    build=build/$1
    shift
    summary=$build/summary
    : >"$summary"
    {
        ctest --test-dir "$build" --output-on-failure -j "$((2 * jobs))" "$@" 2>&1
        echo $? >"$build/result"
    } | {
        while IFS= read -r line; do
            case $line in
            *'% tests passed,'*)
                printf '%s\n' "$line" >"$summary"
                cat >>"$summary"
                ;;
            *) printf '%s\n' "$line" ;;
            esac
        done
    }
    why=$(reasons "$build/Testing/Temporary/LastTest.log")
    [ -z "$why" ] || printf 'Skipped on this machine, and why:\n%s\n\n' "$why"
    cat "$summary"
    return "$(cat "$build/result")"
}

for preset in release asan; do
    title "build: $preset"
    cmake --preset "$preset" --log-level=WARNING >/dev/null && cmake --build "build/$preset" -j "$jobs" || {
        echo "test: the $preset build failed" >&2
        exit 1
    }
done

failed=
title "tests under the address and undefined-behaviour sanitizers"
run asan -LE 'long|lint' || failed="$failed asan"

title "tests of the release build"
run release || failed="$failed release"

[ -z "$failed" ] || {
    echo "test: FAILED in:$failed" >&2
    exit 1
}
