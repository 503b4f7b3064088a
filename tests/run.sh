#!/bin/sh
# Builds and tests everything: the release build runs all tests, the sanitizer build all but those
# marked `long`. Called by `make test`; the number of parallel jobs is the argument.
#
# Both run to their end even if the first fails, and the release run comes last, so that its summary,
# with what failed and what was skipped by name, is what the eye finds at the bottom.
set -u
cd "$(dirname "$0")/.." || exit 1
jobs=${1:-$(nproc)}

title() { printf '\n=== %s\n' "$*"; }

for preset in release asan; do
    title "build: $preset"
    cmake --preset "$preset" --log-level=WARNING >/dev/null && cmake --build "build/$preset" -j "$jobs" || {
        echo "test: the $preset build failed" >&2
        exit 1
    }
done

failed=
title "tests under the address and undefined-behaviour sanitizers"
ctest --test-dir build/asan --output-on-failure -j "$jobs" -LE 'long|lint' || failed="$failed asan"

title "tests of the release build"
ctest --test-dir build/release --output-on-failure -j "$jobs" || failed="$failed release"

[ -z "$failed" ] || {
    echo "test: FAILED in:$failed" >&2
    exit 1
}
