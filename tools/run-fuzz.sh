#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# tools/run-fuzz.sh short    each fuzz target of build/fuzz for a fixed number of inputs made from
#                            a fixed random seed: the same inputs on every machine, 5 s at most.
# tools/run-fuzz.sh SECONDS  each for that long, from what earlier runs found as well
#                            (build/fuzz/corpus/NAME), one per core at a time.
# Both start from the committed seeds (tests/fuzz/seeds/NAME without _fuzz). A crash leaves its
# input in build/fuzz/crashes and fails the run.
set -eu

cd "$(dirname "$0")/.."
GLOVEBOX_ROOT=$PWD
. tools/env.sh
SHORT_RUNS=20000

fuzz_one() { # NAME
    name=$1
    seeds=tests/fuzz/seeds/${name%_fuzz}
    log=build/fuzz/$name.log
    set -- -timeout=10 -rss_limit_mb=2048 -artifact_prefix=build/fuzz/crashes/ \
        -print_final_stats=1
    if [ -f "tests/fuzz/$name.dict" ]; then set -- "$@" -dict="tests/fuzz/$name.dict"; fi
    # libFuzzer adds what it finds to the first folder that it is given.
    if [ "$length" = short ]; then
        found=build/fuzz/scratch/$name
        rm -rf "$found"
        set -- "$@" -seed=1 -runs=$SHORT_RUNS -max_total_time=5 "$found"
    else
        found=build/fuzz/corpus/$name
        set -- "$@" -max_total_time="$length" "$found"
    fi
    mkdir -p "$found"
    if [ -d "$seeds" ]; then set -- "$@" "$seeds"; fi
    if ! "build/fuzz/tests/$name" "$@" >"$log" 2>&1; then
        tail -n 40 "$log"
        echo "fuzz: failed: $name" >&2
        return 1
    fi
    units=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    added=$(sed -n 's/^stat::new_units_added: *//p' "$log")
    echo "fuzz: $name: $units inputs, $added found new paths"
}

length=${1:?usage: tools/run-fuzz.sh short|SECONDS}
if [ -n "${2-}" ]; then
    fuzz_one "$2"
    exit
fi
mkdir -p build/fuzz/crashes
names=$(for source in tests/fuzz/*_fuzz.c; do basename "$source" .c; done)
echo "$names" | xargs -P "$(gb_jobs)" -n 1 "$0" "$length"
