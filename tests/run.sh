#!/bin/sh
# Builds and tests everything. Called by `make test`; the number of parallel jobs is the argument.
#
# What runs where, and why. The time of a test goes into waiting (a peer must be found dead, a grace
# must end) or into computing (thousands of simulated nodes); the two do not hinder each other:
#
#   busy     simulations, a thousand nodes in one process. They yield to the others and take what those
#            leave. Under the sanitizers they would say nothing new ten times as slowly (label `long`),
#            but for some of the simulator's own, which look at its memory.
#   asan     under the address and undefined-behaviour sanitizers: all units, kept fuzz inputs, and
#            every end-to-end test. Whatever touches memory is looked at here.
#   release  what is shipped, through everything that depends on how it was compiled or how fast it
#            is: units, crashes, stores and fills, swarms, real clients, the lab, the soak, the rules
#            of the house. Left out are end-to-end tests that wait for timers of the protocol (label
#            `once`): the same waits, through the same code, were just passed under the sanitizers,
#            where a race has more time to show. `ctest --test-dir build/release` plays them too.
#
# Most of what is not busy waits more than it computes: three times as many run at once as there are
# jobs, the longest first (COST in the CMakeLists).
#
# What failed is run once more, alone: real clients have time limits of their own (containerd gives
# up after one refused connection, docker after fifteen seconds), and so have the protocols under
# test, which on a small machine under sanitizers other tests can use up. What passes alone starved,
# what fails again is broken (a random seed that failed is tried again, too). Who needed the second run
# is named, loudly: a name that stands there often is a test to be mended.
#
# All run to their end even if the first fails. ctest's own summary, with what failed and what was
# skipped by name, closes each; why something was skipped stands right above it. The last lines say
# how to see a failure again, where there is more to it than a name.
set -u
cd "$(dirname "$0")/.." || exit 1
jobs=${1:-$(nproc)}

title() { printf '\n=== %s\n' "$*"; }

# Which machine's lack it was: tests say "<name>: skipped: why", suites "SKIPPED <name>: why".
reasons() {
    grep -hE '^SKIPPED |^[a-z0-9_.]+: skipped: ' "$1" | cut -c 1-240 | sort -u | sed 's/^/  /'
}

# Runs ctest; its summary is kept for later.
tests() { # <build> <ctest argument>...
    build=$1
    shift
    : >"$build/summary"
    {
        ctest --test-dir "$build" --output-on-failure "$@" 2>&1
        echo $? >"$build/result"
    } | {
        while IFS= read -r line; do
            case $line in
            *'% tests passed,'*)
                printf '%s\n' "$line" >"$build/summary"
                cat >>"$build/summary"
                ;;
            *) printf '%s\n' "$line" ;;
            esac
        done
    }
    return "$(cat "$build/result")"
}

# Leaves in the build's folder: `second`, who needed a second run; `again`, how to see failures again.
run() { # <name> <parallel> <ctest argument>...
    name=$1 build=build/$1 parallel=$2
    shift 2
    log=$build/Testing/Temporary
    rm -f "$log/LastTestsFailed.log" "$build/second" "$build/again"
    tests "$build" -j "$parallel" "$@"
    result=$?
    why=$(reasons "$log/LastTest.log")
    [ -z "$why" ] || printf 'Skipped on this machine, and why:\n%s\n\n' "$why"
    cat "$build/summary"
    [ "$result" != 0 ] && [ -s "$log/LastTestsFailed.log" ] || return "$result"
    { printf '  %s:\n' "$name" && sed 's/^[0-9]*:/    /' "$log/LastTestsFailed.log"; } >"$build/second"
    grep -h '^again: ' "$log/LastTest.log" >"$build/again"
    title "once more, alone, of $name: what failed above"
    tests "$build" -j 1 --rerun-failed
    result=$?
    cat "$build/summary"
    return "$result"
}

build() { # <preset>
    title "build: $1"
    cmake --preset "$1" --log-level=WARNING >/dev/null && cmake --build "build/$1" -j "$jobs" || {
        echo "test: the $1 build failed" >&2
        exit 1
    }
}

# Busy tests have folders of their own, so that their logs do not mix with those of the others; and a
# process group (this very script, told so), so that all of it ends when this does.
[ "${2:-}" != busy ] || {
    failed=0
    for preset in release asan; do
        title "busy tests of $preset"
        run "busy-$preset" "$jobs" -L busy || failed=1
    done
    exit "$failed"
}
busy_begin() {
    for preset in release asan; do
        mkdir -p "build/busy-$preset"
        echo "subdirs(\"$PWD/build/$preset\")" >"build/busy-$preset/CTestTestfile.cmake"
    done
    setsid sh tests/run.sh "$jobs" busy >build/busy-release/output 2>&1 &
    busy=$!
    trap 'kill -- "-$busy" 2>/dev/null' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

rm -rf build/busy-*
rm -f build/*/second build/*/again
build release
build asan
busy_begin

failed=
title "tests under the address and undefined-behaviour sanitizers"
run asan "$((3 * jobs))" -LE 'long|lint|busy' || failed="$failed asan"

title "tests of the release build"
run release "$((3 * jobs))" -LE 'busy|once' || failed="$failed release"

title "busy tests, which ran beside the others"
wait "$busy" || failed="$failed busy"
trap - EXIT
cat build/busy-release/output

second=$(cat build/*/second 2>/dev/null)
[ -z "$second" ] || printf '\n!!! NEEDED A SECOND RUN, alone:\n%s\n' "$second"
[ -z "$failed" ] || echo "test: FAILED in:$failed" >&2
cat build/*/again 2>/dev/null | sort -u
[ -z "$failed" ]
