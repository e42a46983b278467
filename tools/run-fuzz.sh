#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# tools/run-fuzz.sh SECONDS: each fuzz target of build/fuzz for that long, from its committed
# seeds (tests/fuzz/seeds/NAME without _fuzz) and what earlier runs found
# (build/fuzz/corpus/NAME). A crash leaves its input in build/fuzz/crashes and fails the run.
set -eu

cd "$(dirname "$0")/.."
seconds=$1
found=0
failed=
mkdir -p build/fuzz/crashes
for source in tests/fuzz/*_fuzz.c; do
    [ -f "$source" ] || continue
    name=$(basename "$source" .c)
    found=$((found + 1))
    grown=build/fuzz/corpus/$name
    mkdir -p "$grown"
    set -- "$grown"
    seeds=tests/fuzz/seeds/${name%_fuzz}
    if [ -d "$seeds" ]; then set -- "$@" "$seeds"; fi
    dictionary=
    if [ -f "tests/fuzz/$name.dict" ]; then dictionary=-dict=tests/fuzz/$name.dict; fi
    echo "fuzz: $name for $seconds s"
    log=build/fuzz/$name.log
    # shellcheck disable=SC2086
    if ! "build/fuzz/tests/$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -artifact_prefix=build/fuzz/crashes/ -print_final_stats=1 $dictionary "$@" \
        >"$log" 2>&1; then
        tail -n 40 "$log"
        failed="$failed $name"
    else
        grep -E 'number_of_executed_units|new_units_added' "$log" || true
    fi
done
if [ "$found" -eq 0 ]; then
    echo 'fuzz: error: there is no tests/fuzz/*_fuzz.c' >&2
    exit 1
fi
if [ -n "$failed" ]; then
    echo "fuzz: failed:$failed" >&2
    exit 1
fi
