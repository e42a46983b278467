#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Brings a fresh Debian 12 to the point where Glovebox can be built: system packages, Rust, Python
# packages, and native libraries by checksum. Plain sh, because such a machine has nothing else.
# Each step says what it does and how long it takes, and is skipped when its result is current
# (build/stamps holds a hash of what it was made from): a second run is instant, without network.
set -eu

GLOVEBOX_ROOT=$(cd "$(dirname "$0")/.." && pwd)
cd "$GLOVEBOX_ROOT"
. tools/env.sh
build=$GLOVEBOX_ROOT/build
deps=$build/deps
stamps=$build/stamps
log=$build/setup.log
mkdir -p "$stamps" "$deps"

apt_packages="ca-certificates git make cmake ninja-build gcc libc6-dev pkg-config clang-14 lld
lld-14 llvm-14 wasi-libc libclang-rt-14-dev libclang-rt-14-dev-wasm32
libseccomp-dev libssl-dev libuv1-dev libsqlite3-dev libcmocka-dev
python3 python3-venv strace procps curl clang-format-14"
rust_minimum=1.95
component_ld_version=0.5.21

ort_version=1.31.1
ort_wheel_x86_64=5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f
ort_wheel_aarch64=da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3
ort_c_api_sha256=9ed0d7054a4e74249467365b25b415d36f51a44a6349e2a994a1812e4723d1e2
ort_ep_api_sha256=e94ac3490697bdb107844fa9d403952ee7136134132a057eae5c1207b57ce352
orjson_version=3.13.0
orjson_sha256=d1de5eb04485110c5da4c657e49168995d55e076b1ce60f1a042e254f4186c4f
httptools_version=0.9.0
httptools_sha256=d484ebb7e3a3f3597b0f645fbd1b85633674ca808c1f5ba11c2caf7c66f5c8b6

say() { printf 'setup: %s\n' "$*"; }
die() {
    printf 'setup: error: %s\n' "$1" >&2
    if [ $# -gt 1 ]; then printf 'hint: %s\n' "$2" >&2; fi
    exit 1
}

# quietly CMD...: output to the log, whose end is shown when the command fails.
quietly() {
    if ! "$@" >>"$log" 2>&1; then
        tail -n 25 "$log" >&2
        die "this failed: $*" "the whole output is in $log"
    fi
}

# as_root CMD...: directly, or through sudo where that is possible.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        quietly "$@"
    else
        quietly sudo "$@"
    fi
}

can_be_root() {
    if [ "$(id -u)" -eq 0 ]; then return 0; fi
    command -v sudo >/dev/null 2>&1 && { sudo -n true 2>/dev/null || [ -t 0 ]; }
}

# apt_install PACKAGE...: nothing for what is there already.
apt_install() {
    missing=
    for p in "$@"; do
        if ! dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed; then
            missing="$missing $p"
        fi
    done
    if [ -z "$missing" ]; then return 0; fi
    if ! can_be_root; then
        die "system packages are missing and this user cannot install them" \
            "run as root: apt-get update && apt-get install -y --no-install-recommends$missing"
    fi
    say "system packages (1 to 5 minutes):$missing"
    if [ "$(id -u)" -ne 0 ] && ! sudo -n true 2>/dev/null; then sudo true; fi
    as_root apt-get update
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
}

# current STEP KEY [FILE...]: whether STEP was done with this key and its files are still there.
current() {
    [ -f "$stamps/$1" ] && [ "$(cat "$stamps/$1")" = "$(hash_of "$2")" ] || return 1
    shift 2
    for f in "$@"; do
        if [ ! -e "$f" ]; then return 1; fi
    done
}

hash_of() { printf '%s' "$1" | sha256sum | cut -d' ' -f1; }
done_with() { hash_of "$2" >"$stamps/$1"; }

check_sha256() {
    if [ "$(sha256sum "$1" | cut -d' ' -f1)" != "$2" ]; then
        die "$1 does not have the pinned checksum" "a proxy may have changed it; expected sha256 $2"
    fi
}

# version_at_least HAVE WANT
version_at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

rust_version() { rustc --version 2>/dev/null | sed -n 's/^rustc \([0-9.]*\).*/\1/p'; }

rust_is_new_enough() {
    have=$(rust_version)
    [ -n "$have" ] && version_at_least "$have" "$rust_minimum" && command -v cargo >/dev/null 2>&1
}

# All at once, so that a user who cannot install packages has one line to pass on.
step_packages() {
    wanted=$apt_packages
    if ! rust_is_new_enough; then
        if command -v rustup >/dev/null 2>&1; then
            die "Rust $(rust_version) is too old: $rust_minimum or later is needed" \
                "run: rustup update stable"
        fi
        wanted="$wanted rustc-web cargo-web"
    fi
    if ! command -v go >/dev/null 2>&1 && ! header_is_current; then wanted="$wanted golang-go"; fi
    if ! command -v dpkg-query >/dev/null 2>&1; then
        for tool in cmake ninja gcc clang-14 wasm-ld-14 python3 strace rustc cargo; do
            command -v "$tool" >/dev/null 2>&1 || die "no $tool, and this is not a Debian system" \
                "install what Debian 12 calls: $(echo $wanted)"
        done
        return 0
    fi
    # shellcheck disable=SC2086
    apt_install $wanted
    hash -r
    if ! rust_is_new_enough; then
        die "Rust $rust_minimum or later is needed, found $(rust_version)" \
            "Debian 12 has it as rustc-web in its security updates: are they in the apt sources?"
    fi
}

step_component_ld() {
    if gb_find_component_ld >/dev/null; then return 0; fi
    say "wasm-component-ld $component_ld_version from source (2 to 4 minutes)"
    quietly env CARGO_TARGET_DIR="$build/tools/target" cargo install --locked \
        "wasm-component-ld@$component_ld_version" --root "$build/tools"
    rm -rf "$build/tools/target"
}

python_is_right='import sys, venv, ensurepip
sys.exit(not (3, 11) <= sys.version_info < (3, 14))'

step_python() {
    key=$(cat tools/requirements.txt; echo venv-1)
    if current python "$key" "$build/venv/bin/pytest"; then return 0; fi
    say "Python packages into build/venv (1 minute, 450 MB)"
    python=
    for p in /usr/bin/python3 python3.11 python3.12 python3.13 python3; do
        if "$p" -c "$python_is_right" 2>/dev/null; then
            python=$p
            break
        fi
    done
    if [ -z "$python" ]; then
        die "no Python 3.11 to 3.13 with venv" "on Debian 12: apt-get install python3-venv"
    fi
    if [ ! -x "$build/venv/bin/python" ]; then quietly "$python" -m venv "$build/venv"; fi
    quietly "$build/venv/bin/python" -m pip install --disable-pip-version-check \
        --only-binary=:all: --require-hashes -r tools/requirements.txt
    done_with python "$key"
}

# pip_fetch DIR REQUIREMENT SHA256 [OPTION...]: one file, checked by pip and by name.
pip_fetch() {
    rm -rf "$1"
    mkdir -p "$1"
    printf '%s --hash=sha256:%s\n' "$2" "$3" >"$1/req.txt"
    dir=$1
    shift 3
    quietly "$build/venv/bin/python" -m pip download --disable-pip-version-check --no-deps \
        --require-hashes "$@" -r "$dir/req.txt" -d "$dir"
}

step_ort_library() {
    arch=$(uname -m)
    case $arch in
    x86_64) sha=$ort_wheel_x86_64 ;;
    aarch64) sha=$ort_wheel_aarch64 ;;
    *) die "no ONNX Runtime for $arch here" "x86_64 and aarch64 are supported" ;;
    esac
    key="$ort_version $arch $sha 2"
    if current ort-library "$key" "$deps/ort/lib/libonnxruntime.so.1"; then return 0; fi
    say "ONNX Runtime $ort_version (24 MB)"
    pip_fetch "$deps/dl-ort" "onnxruntime==$ort_version" "$sha" --only-binary=:all: \
        --implementation cp --python-version 3.11 --platform "manylinux_2_28_$arch"
    rm -rf "$deps/ort/lib"
    mkdir -p "$deps/ort/lib"
    quietly "$build/venv/bin/python" tools/unpack.py "$deps"/dl-ort/onnxruntime-*.whl "$deps/ort" \
        "onnxruntime/capi/libonnxruntime.so.$ort_version=lib/libonnxruntime.so.$ort_version" \
        onnxruntime/LICENSE=LICENSE onnxruntime/ThirdPartyNotices.txt=ThirdPartyNotices.txt
    ln -s "libonnxruntime.so.$ort_version" "$deps/ort/lib/libonnxruntime.so.1"
    rm -rf "$deps/dl-ort"
    done_with ort-library "$key"
}

header_key() { echo "$ort_c_api_sha256 $ort_ep_api_sha256" && cat tools/pins/ort-header/go.sum; }
header_is_current() { current ort-header "$(header_key)" "$deps/ort/include/onnxruntime_c_api.h"; }

step_ort_header() {
    if header_is_current; then return 0; fi
    say "ONNX Runtime's C header (seconds)"
    gopath=$deps/dl-header
    mkdir -p "$deps/ort/include" "$gopath"
    cp tools/pins/ort-header/go.mod tools/pins/ort-header/go.sum "$gopath/"
    (
        cd "$gopath"
        GOPATH=$gopath/gp GOFLAGS=-modcacherw
        export GOPATH GOFLAGS
        unset GOMODCACHE
        quietly go mod download
        quietly go mod verify
    )
    for h in onnxruntime_c_api.h onnxruntime_ep_c_api.h; do
        find "$gopath/gp/pkg/mod" -name "$h" -exec cp {} "$deps/ort/include/$h" \;
        chmod 644 "$deps/ort/include/$h"
    done
    check_sha256 "$deps/ort/include/onnxruntime_c_api.h" "$ort_c_api_sha256"
    check_sha256 "$deps/ort/include/onnxruntime_ep_c_api.h" "$ort_ep_api_sha256"
    chmod -R u+w "$gopath" && rm -rf "$gopath"
    done_with ort-header "$(header_key)"
}

step_yyjson() {
    key="$orjson_version $orjson_sha256 1"
    if current yyjson "$key" "$deps/yyjson/yyjson.c" "$deps/yyjson/yyjson.h"; then return 0; fi
    say "yyjson, out of the source package that carries it (seconds)"
    # pip asks the package's build tool for its name and version: maturin, pinned in the venv.
    PATH=$build/venv/bin:$PATH pip_fetch "$deps/dl-yyjson" "orjson==$orjson_version" \
        "$orjson_sha256" --no-binary orjson --no-build-isolation
    mkdir -p "$deps/yyjson"
    inside=orjson-$orjson_version/include/yyjson
    quietly "$build/venv/bin/python" tools/unpack.py \
        "$deps/dl-yyjson/orjson-$orjson_version.tar.gz" "$deps/yyjson" \
        "$inside/yyjson.c=yyjson.c" "$inside/yyjson.h=yyjson.h"
    rm -rf "$deps/dl-yyjson"
    done_with yyjson "$key"
}

step_llhttp() {
    key="$httptools_version $httptools_sha256 1"
    if current llhttp "$key" "$deps/llhttp/llhttp.c" "$deps/llhttp/llhttp.h"; then return 0; fi
    say "llhttp, out of the source package that carries it (seconds)"
    # As above; here the build tool is setuptools, pinned in the venv too.
    pip_fetch "$deps/dl-llhttp" "httptools==$httptools_version" "$httptools_sha256" \
        --no-binary httptools --no-build-isolation
    mkdir -p "$deps/llhttp"
    inside=httptools-$httptools_version/vendor/llhttp
    quietly "$build/venv/bin/python" tools/unpack.py \
        "$deps/dl-llhttp/httptools-$httptools_version.tar.gz" "$deps/llhttp" \
        "$inside/src/api.c=api.c" "$inside/src/http.c=http.c" "$inside/src/llhttp.c=llhttp.c" \
        "$inside/include/llhttp.h=llhttp.h" "$inside/LICENSE=LICENSE"
    rm -rf "$deps/dl-llhttp"
    done_with llhttp "$key"
}

step_adapters() {
    key=$(cat tools/pins/adapters/Cargo.lock; echo 1)
    if current adapters "$key" "$deps/adapters/reactor.wasm" "$deps/adapters/command.wasm"; then
        return 0
    fi
    say "WASI adapters (seconds)"
    rm -rf "$deps/dl-adapters"
    quietly cargo vendor --locked --versioned-dirs --manifest-path tools/pins/adapters/Cargo.toml \
        "$deps/dl-adapters"
    mkdir -p "$deps/adapters"
    for a in command reactor; do
        find "$deps/dl-adapters" -name "wasi_snapshot_preview1.$a.wasm" \
            -exec cp {} "$deps/adapters/$a.wasm" \;
    done
    rm -rf "$deps/dl-adapters"
    done_with adapters "$key"
}

step_packages
step_component_ld
step_python
step_ort_library
step_ort_header
step_yyjson
step_llhttp
step_adapters
