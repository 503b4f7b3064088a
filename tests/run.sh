#!/bin/sh
# Builds and tests everything: the release build runs all tests, the sanitizer build all but those
# marked `long`. Called by `make test`; the number of parallel jobs is the argument.
#
# Most tests wait more than they compute: twice as many run at once as there are jobs.
#
# What failed is run once more, alone: real clients have time limits of their own (containerd gives
# up after one refused connection, docker after fifteen seconds), and so have the protocols under
# test, which on a small machine under sanitizers other tests can use up. What passes alone starved,
# what fails again is broken. Who needed the second run is named, loudly: a name that stands there
# often is a test to be mended.
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

run() { # <preset> <ctest argument>...
    preset=$1 build=build/$1
    shift
    log=$build/Testing/Temporary
    rm -f "$log/LastTestsFailed.log"
    tests "$build" -j "$((2 * jobs))" "$@"
    result=$?
    why=$(reasons "$log/LastTest.log")
    [ -z "$why" ] || printf 'Skipped on this machine, and why:\n%s\n\n' "$why"
    cat "$build/summary"
    [ "$result" != 0 ] && [ -s "$log/LastTestsFailed.log" ] || return "$result"
    again=$(sed 's/^[0-9]*:/    /' "$log/LastTestsFailed.log")
    title "once more, alone, of $preset: what failed above"
    tests "$build" -j 1 --rerun-failed
    result=$?
    cat "$build/summary"
    second="$second$(printf '\n  %s:\n%s' "$preset" "$again")"
    return "$result"
}

for preset in release asan; do
    title "build: $preset"
    cmake --preset "$preset" --log-level=WARNING >/dev/null && cmake --build "build/$preset" -j "$jobs" || {
        echo "test: the $preset build failed" >&2
        exit 1
    }
done

failed= second=
title "tests under the address and undefined-behaviour sanitizers"
run asan -LE 'long|lint' || failed="$failed asan"

title "tests of the release build"
run release || failed="$failed release"

[ -z "$second" ] || printf '\n!!! NEEDED A SECOND RUN, alone:%s\n' "$second"
[ -z "$failed" ] || {
    echo "test: FAILED in:$failed" >&2
    exit 1
}
