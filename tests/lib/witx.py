# SPDX-License-Identifier: Apache-2.0
"""Modules in the text format that use wasi_ephemeral_nn, the core ABI. A body leaves an errno, as
the exit status of the guest."""
import gb

NAME, GRAPH, CONTEXT, WRITTEN, TENSOR, DIMS, DATA, BUFFER = 16, 80, 84, 88, 96, 128, 1024, 32768
PAGE = 65536
OK, INVALID, ENCODING, MISSING, BUSY, RUNTIME, UNSUPPORTED, TOO_LARGE, NOT_FOUND = range(9)
FUNCTIONS = {"load": 5, "load_by_name": 3, "init_execution_context": 2, "set_input": 3,
             "compute": 1, "get_output": 5}
TYPES = {"f16": 0, "f32": 1, "f64": 2, "u8": 3, "i32": 4, "i64": 5}

IMPORTS = "\n".join(
    f'(import "wasi_ephemeral_nn" "{name}" (func ${name} {"(param i32)" * n} (result i32)))'
    for name, n in FUNCTIONS.items()) + """
(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
"""
HELPERS = """
(func $must (param i32)
  (if (local.get 0) (then (call $exit (i32.add (i32.const 40) (local.get 0))))))
(func $print (param $ptr i32) (param $len i32)
  (i32.store (i32.const 0) (local.get $ptr)) (i32.store (i32.const 4) (local.get $len))
  (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
(func $graph (result i32) (i32.load (i32.const 80)))
(func $context (result i32) (i32.load (i32.const 84)))
"""


def escaped(data):
    return "".join(f"\\{b:02x}" for b in data)


def words(*values):
    return escaped(b"".join(int(v & 0xffffffff).to_bytes(4, "little") for v in values))


def call(function, *args):
    """A call as an expression; an argument is a number or an expression."""
    texts = [a if isinstance(a, str) else f"(i32.const {a})" for a in args]
    return f"(call ${function} {' '.join(texts)})"


def module(body, data=(), memory='(memory (export "memory") 1)'):
    segments = "".join(f'(data (i32.const {at}) "{text}")' for at, text in data)
    return (f'(module {IMPORTS} {memory} {segments} {HELPERS}'
            f' (func (export "_start") (call $exit {body})))')


def opened(model, *statements, result=OK):
    """A body after load_by_name and init_execution_context, and its data."""
    before = [call("load_by_name", NAME, len(model), GRAPH),
              call("init_execution_context", "(call $graph)", CONTEXT)]
    result = result if isinstance(result, str) else f"(i32.const {result})"
    must = " ".join(f"(call $must {s})" for s in before)
    text = f"(block (result i32) {must} {' '.join(statements)} {result})"
    return text, [(NAME, escaped(model.encode()))]


def tensor(at, kind, array, data_at):
    """Data segments of one tensor record with its dimensions and bytes."""
    shape = array.shape
    return [(at, words(at + 32, len(shape), TYPES[kind] | 0x5a5a5a00, data_at, array.nbytes)),
            (at + 32, words(*shape)), (data_at, escaped(array.tobytes()))]


def run(tmp_path, text, *options, models=()):
    path = tmp_path / "guest.wat"
    path.write_text(text)
    return gb.run(*gb.model(*models), *options, path)


def errno(out, number, cause=None):
    assert out.json["exit_status"] == number, repr(out)
    assert out.code == ("ok" if number == 0 else "guest-exit"), repr(out)
    if cause:
        assert out.error["cause"]["code"] == cause, repr(out)


def must(*calls):
    return " ".join(f"(call $must {c})" for c in calls)
