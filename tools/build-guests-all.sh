#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds the sample agent of guests/{rust,js,python,go} into build/guests-all/agent-*.wasm, each
# with its own toolchain, pinned by its lock file. Opt-in: about 450 MB are downloaded, and 3
# minutes used on two cores. A guest whose toolchain is missing is skipped, and named; what was
# built from the same sources is kept. The outputs are not reproducible, so nothing may rely on
# their bytes.
set -eu

GLOVEBOX_ROOT=$(cd "$(dirname "$0")/.." && pwd)
cd "$GLOVEBOX_ROOT"
. tools/env.sh
out=$GLOVEBOX_ROOT/build/guests-all
log=$out/build.log
mkdir -p "$out"
: >"$log"
skipped=
failed=

say() { printf 'guests-all: %s\n' "$*"; }

# skip NAME WHY: also removes an output of earlier sources, which would pass for this one.
skip() {
    say "$1: skipped: $2"
    skipped="$skipped $1"
    rm -f "$out/agent-$1.wasm"
}

key_of() { # NAME: of its sources, the interfaces and this script
    find "guests/$1" wit tools/build-guests-all.sh -type f ! -path '*/__pycache__/*' |
        LC_ALL=C sort | xargs cat | sha256sum | cut -d' ' -f1
}

is_current() {
    [ -f "$out/agent-$1.wasm" ] && [ "$(cat "$out/$1.stamp" 2>/dev/null)" = "$(key_of "$1")" ]
}

# build NAME FUNCTION: unless it is there already.
build() {
    if is_current "$1"; then
        say "$1: agent-$1.wasm is up to date"
        return 0
    fi
    say "$1: building"
    rm -f "$out/agent-$1.wasm" "$out/$1.stamp"
    # A subshell of its own, outside a condition, so that its first failure ends it.
    set +e
    (set -e; "$2") >>"$log" 2>&1
    status=$?
    set -e
    if [ "$status" -ne 0 ] || [ ! -f "$out/agent-$1.wasm" ]; then
        tail -n 15 "$log" >&2
        say "$1: failed; the whole output is in $log"
        failed="$failed $1"
        rm -f "$out/agent-$1.wasm"
        return 0
    fi
    key_of "$1" >"$out/$1.stamp"
}

build_rust() {
    CARGO_TARGET_DIR=$out/rust cargo build --release --locked --target wasm32-wasip2 \
        -j "$(gb_jobs)" --manifest-path guests/rust/Cargo.toml
    cp "$out/rust/wasm32-wasip2/release/agent_rust.wasm" "$out/agent-rust.wasm"
}

build_js() {
    mkdir -p "$out/js"
    cp guests/js/package.json guests/js/package-lock.json "$out/js/"
    # Not `npm ci`, which wants the optional packages of every platform in the lock file.
    (cd "$out/js" && npm install --no-save --ignore-scripts --no-audit --no-fund)
    "$out/js/node_modules/.bin/jco" componentize guests/js/agent.js --wit wit/agent-nn \
        --world-name agent-nn --disable all -o "$out/agent-js.wasm"
}

build_python() {
    if [ ! -x "$out/python/bin/python" ]; then build/venv/bin/python -m venv "$out/python"; fi
    "$out/python/bin/python" -m pip install --disable-pip-version-check --require-hashes \
        --only-binary=:all: -r guests/python/requirements.txt
    "$out/python/bin/python" guests/python/build.py "$out/python/bin/componentize-py" \
        "$GLOVEBOX_ROOT/wit/agent-nn" "$out/agent-python.wasm"
}

build_go() {
    (cd guests/go && GOOS=wasip1 GOARCH=wasm go build -trimpath -buildvcs=false \
        -ldflags='-s -w' -o "$out/agent-go.wasm" .)
}

if ! command -v cargo >/dev/null 2>&1; then
    skip rust 'no cargo'
elif ! ls "$(rustc --print sysroot)"/lib/rustlib/wasm32-wasip2/lib/libstd-*.rlib \
    >/dev/null 2>&1; then
    skip rust 'this Rust has no wasm32-wasip2 target (rustup target add wasm32-wasip2)'
else
    build rust build_rust
fi
if command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1; then
    build js build_js
else
    skip js 'no node with npm (version 20 or later)'
fi
if [ -x build/venv/bin/python ]; then
    build python build_python
else
    skip python 'no build/venv (tools/setup.sh makes it)'
fi
if command -v go >/dev/null 2>&1; then
    build go build_go
else
    skip go 'no go (version 1.21 or later)'
fi

if [ -n "$failed" ]; then
    say "error: failed:$failed" >&2
    exit 1
fi
if [ -n "$skipped" ]; then say "done, without:$skipped"; fi
