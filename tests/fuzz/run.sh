#!/bin/sh
# Runs every fuzz target for FUZZ_SECONDS (20) from its kept inputs, some at a time. Called by
# `make fuzz`; the number of parallel jobs is the argument.
#
# New inputs go to build/fuzz/corpus/<name>, where the next run finds them. What breaks a target is
# kept in build/fuzz/found/<name>-*; once mended it belongs into tests/fuzz/corpus/<name>, as a test.
# FUZZ_ONLY=<name> runs that target alone.
set -u
cd "$(dirname "$0")/../.." || exit 1
jobs=${1:-$(nproc)}
seconds=${FUZZ_SECONDS:-20}
build=build/fuzz

if [ "${2:-}" = one ]; then # called by xargs below
    name=$3
    mkdir -p "$build/corpus/$name" "$build/found" "$build/log"
    log=$build/log/$name
    # libFuzzer finds the files of a parser's grammar faster with the words of its kept inputs; time
    # and memory of one input are bounded, so that a slow path is a finding too.
    if "$build/tests/fuzz/fuzz_$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -max_len=16384 -print_final_stats=1 -artifact_prefix="$build/found/$name-" \
        "$build/corpus/$name" "tests/fuzz/corpus/$name" >"$log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        cover=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
        printf 'fuzz: %-20s %10s runs, %5s edges\n' "$name" "${runs:-?}" "${cover:-?}"
    else
        printf 'fuzz: %-20s FAILED\n' "$name"
        grep -nE 'ERROR|SUMMARY|Assertion|runtime error|Test unit written' "$log" || tail -n 20 "$log"
        exit 1
    fi
    exit 0
fi

cmake --preset fuzz --log-level=WARNING >/dev/null && cmake --build "$build" -j "$jobs" --target fuzzers || exit 1
names=${FUZZ_ONLY:-$(cd tests/fuzz && for f in *.c; do echo "${f%.c}"; done)}
echo "fuzz: $(echo "$names" | wc -w) targets, $seconds s each, $jobs at a time"
if ! echo "$names" | tr ' ' '\n' | xargs -P "$jobs" -n 1 "tests/fuzz/run.sh" "$jobs" one; then
    echo "fuzz: FAILED; what did it is in $build/found, the whole story in $build/log" >&2
    exit 1
fi
