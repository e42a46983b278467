#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds guests/ into build/guests/*.wasm with clang, wasi-libc and wasm-component-ld. Nothing is
# done when no source has changed; the same sources and tools give the same bytes.
#   agents     X.wasm      components that export run() or wasi:http/incoming-handler, by the
#                          bindings named
#   commands   X.wasm      components by the command adapter, with X-p1.wasm, the core module
set -eu

GLOVEBOX_ROOT=$(cd "$(dirname "$0")/.." && pwd)
cd "$GLOVEBOX_ROOT"
. tools/env.sh
out=build/guests
objects=$out/objects
adapters=build/deps/adapters
libc=/usr/lib/wasm32-wasi
builtins=/usr/lib/llvm-14/lib/clang/14.0.6/lib/wasi/libclang_rt.builtins-wasm32.a

for need in "$adapters/reactor.wasm" "$builtins" "$libc/crt1-command.o"; do
    if [ ! -f "$need" ]; then
        echo "guests: error: $need is missing" >&2
        echo "hint: tools/setup.sh installs it" >&2
        exit 1
    fi
done
component_ld=$(gb_find_component_ld) || {
    echo 'guests: error: no wasm-component-ld' >&2
    echo 'hint: tools/setup.sh builds it' >&2
    exit 1
}

inputs() {
    cat tools/build-guests.sh
    find guests -type f | LC_ALL=C sort | xargs cat
    "$component_ld" --version
}
key=$(inputs | sha256sum | cut -d' ' -f1)
if [ -f "$out/stamp" ] && [ "$(cat "$out/stamp")" = "$key" ]; then exit 0; fi
mkdir -p "$objects"
rm -f "$out/stamp" "$out"/*.wasm "$objects"/*.o

compile() { # OBJECT SOURCE [FLAG...]
    object=$1
    source=$2
    shift 2
    clang-14 --target=wasm32-wasi -isystem /usr/include/wasm32-wasi -std=gnu17 -O2 \
        -Iguests/common -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
        -Wformat=2 -Werror \
        "$@" -c "$source" -o "$objects/$object.o"
}

# agent NAME SOURCE_DIR BINDINGS [FLAG...]: links the part of guests/common that it uses.
agent() {
    name=$1
    dir=guests/$2
    bindings=$3
    shift 3
    compile "$name" "$dir/main.c" "-Iguests/bindings/$bindings" "$@"
    "$component_ld" --wasm-ld-path "$(command -v wasm-ld-14)" \
        --adapt "wasi_snapshot_preview1=$adapters/reactor.wasm" --no-entry "-L$libc" \
        "$libc/crt1-reactor.o" "$objects/$name.o" "$objects/lib-$bindings.a" \
        "$objects/bindings-$bindings.o" "guests/bindings/$bindings/agent_component_type.o" \
        -lc "$builtins" --stack-first -z stack-size=131072 -s -o "$out/$name.wasm"
}

library() { # BINDINGS SOURCE...
    bindings=$1
    shift
    compile "bindings-$bindings" "guests/bindings/$bindings/agent.c" -w
    members=
    for f in "$@"; do
        compile "$f-$bindings" "guests/common/$f.c" "-Iguests/bindings/$bindings"
        members="$members $objects/$f-$bindings.o"
    done
    rm -f "$objects/lib-$bindings.a"
    # shellcheck disable=SC2086
    llvm-ar-14 rcsD "$objects/lib-$bindings.a" $members
}

# command NAME: guests/NAME/main.c as NAME-p1.wasm (core module) and NAME.wasm (component).
command_guest() {
    compile "$1" "guests/$1/main.c"
    wasm-ld-14 "-L$libc" "$libc/crt1-command.o" "$objects/$1.o" -lc "$builtins" \
        --stack-first -z stack-size=131072 -s -o "$out/$1-p1.wasm"
    "$component_ld" --wasm-ld-path "$(command -v wasm-ld-14)" \
        --adapt "wasi_snapshot_preview1=$adapters/command.wasm" "-L$libc" \
        "$libc/crt1-command.o" "$objects/$1.o" -lc "$builtins" \
        --stack-first -z stack-size=131072 -s -o "$out/$1.wasm"
}

# module_guest NAME: guests/NAME/main.c as NAME.wasm, a core module only.
module_guest() {
    compile "$1" "guests/$1/main.c"
    wasm-ld-14 "-L$libc" "$libc/crt1-command.o" "$objects/$1.o" -lc "$builtins" \
        --stack-first -z stack-size=131072 -s -o "$out/$1.wasm"
}

library agent guest
library agent-nn guest nn digits
library agent-nn-0819 guest nn digits
library agent-nn-0625 guest nn digits
library agent-host guest
library values
library metered
library agent-http http

agent agent agent agent-nn
agent values values values
agent metered metered metered
agent agent-0819 agent-0819 agent-nn-0819
agent agent-0625 agent-0819 agent-nn-0625
agent bench bench agent-nn
agent slow slow agent-nn
agent nn-probe nn-probe agent-nn
agent nn-probe-0819 nn-probe agent-nn-0819 -DPROBE_0819
agent nn-probe-0625 nn-probe agent-nn-0625 -DPROBE_0819 -DPROBE_0625
agent host-probe host-probe agent-host
for name in hello-http echo-http http-probe egress-http; do agent "$name" "$name" agent-http; done
for name in echo spin membomb recurse; do agent "$name" "$name" agent; done
for name in hello cat flood; do command_guest "$name"; done
module_guest agent-core

printf '%s\n' "$key" >"$out/stamp"
