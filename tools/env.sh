# SPDX-License-Identifier: Apache-2.0
#
# Sourced by our scripts, with GLOVEBOX_ROOT set: where tools may lie that are not on PATH yet.
# shellcheck shell=sh
for gb_dir in /usr/local/go/bin "${CARGO_HOME:-$HOME/.cargo}/bin" \
    "$GLOVEBOX_ROOT/build/tools/bin"; do
    case ":$PATH:" in
    *":$gb_dir:"*) ;;
    *) if [ -d "$gb_dir" ]; then PATH="$PATH:$gb_dir"; fi ;;
    esac
done
export PATH
export CARGO_TARGET_DIR="$GLOVEBOX_ROOT/build/bridge"

# gb_jobs: how many compilers at once. One Rust compiler may want 1.5 GiB.
gb_jobs() {
    n=$(nproc 2>/dev/null || echo 2)
    mem=$(awk '/^MemTotal/ { print int($2 / 1572864) }' /proc/meminfo 2>/dev/null || echo 2)
    if [ "${mem:-0}" -lt 1 ]; then mem=1; fi
    if [ "$n" -gt "$mem" ]; then n=$mem; fi
    echo "$n"
}

# gb_find_component_ld: wasm-component-ld of the Rust toolchain, or the one that we built.
gb_find_component_ld() {
    for f in "$GLOVEBOX_ROOT/build/tools/bin/wasm-component-ld" \
        "$(rustc --print sysroot 2>/dev/null)"/lib/rustlib/*/bin/wasm-component-ld \
        "$(command -v wasm-component-ld 2>/dev/null)"; do
        if [ -n "$f" ] && [ -x "$f" ]; then
            echo "$f"
            return 0
        fi
    done
    return 1
}
