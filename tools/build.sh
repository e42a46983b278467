#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# tools/build.sh PRESET [CMAKE-OPTION...]: configures once (again when an option is given), builds.
set -eu

GLOVEBOX_ROOT=$(cd "$(dirname "$0")/.." && pwd)
cd "$GLOVEBOX_ROOT"
. tools/env.sh
preset=$1
shift

if [ ! -f "build/$preset/build.ninja" ] || [ $# -gt 0 ]; then
    mkdir -p "build/$preset"
    if ! cmake --preset "$preset" "$@" >"build/$preset/configure.log" 2>&1; then
        cat "build/$preset/configure.log" >&2
        exit 1
    fi
fi
if [ ! -f build/bridge/release/libglovebox_bridge_host.a ]; then
    echo "build: $preset (with the Rust bridge: 5 to 10 minutes on two cores)"
else
    echo "build: $preset"
fi
cmake --build --preset "$preset" -j "$(gb_jobs)"
