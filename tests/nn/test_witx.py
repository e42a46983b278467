# SPDX-License-Identifier: Apache-2.0
"""wasi_ephemeral_nn, the core ABI: real models through modules in the text format. A body leaves an
errno, which becomes the guest's exit status."""
import numpy
import pytest

import gb
import native
import wat
from witx import (BUFFER, CONTEXT, GRAPH, IMPORTS, INVALID, MISSING, NAME, NOT_FOUND, OK, PAGE,
                  TOO_LARGE, UNSUPPORTED, WRITTEN, call, errno, module, must, opened, run, tensor,
                  words)


# ---- what works ----


def test_the_sample_agent_says_what_the_component_says():
    picture = "0 0 5 13 9 1 0 0 0 0 13 15 10 15 5 0 0 3 15 2 0 11 8 0 0 4 12 0 0 8 8 0 " \
              "0 5 8 0 0 9 8 0 0 4 11 0 1 12 7 0 0 2 14 5 10 12 0 0 0 0 6 13 10 0 0 0"
    component = gb.run(*gb.model("digits"), gb.GUESTS / "agent.wasm", picture)
    core = gb.run(*gb.model("digits"), gb.GUESTS / "agent-core.wasm", picture)
    assert core.code == "ok", repr(core)
    assert core.json["stdout"] == component.json["result"] + "\n", repr(core)
    assert core.json["usage"]["inference_calls"] == 1


def test_the_same_bytes_as_a_direct_run(tmp_path):
    inputs = {"a": numpy.linspace(-1, 1, 8, dtype="f4").reshape(2, 4),
              "b": numpy.full((2, 4), 1 / 3, "f4")}
    expected = native.run("sum2", inputs)
    body, data = opened("sum2", must(
        call("set_input", "(call $context)", 1, 512), call("set_input", "(call $context)", 0, 256),
        call("compute", "(call $context)"),
        call("get_output", "(call $context)", 0, BUFFER, 64, WRITTEN),
        call("get_output", "(call $context)", 1, BUFFER + 32, 32, WRITTEN)),
        f"(call $print (i32.const {BUFFER}) (i32.const 64))")
    data += tensor(256, "f32", inputs["a"], 2048) + tensor(512, "f32", inputs["b"], 4096)
    out = run(tmp_path, module(body, data), models=["sum2"])
    errno(out, OK)
    assert gb.stdout_of(out.json) == expected["sum"].tobytes() + expected["diff"].tobytes()


@pytest.mark.parametrize("kind, numpy_type", [
    ("f16", "f2"), ("f32", "f4"), ("f64", "f8"), ("u8", "u1"), ("i32", "i4"), ("i64", "i8")])
def test_types_by_the_numbers_of_this_abi(tmp_path, kind, numpy_type):
    array = numpy.arange(6).astype(numpy_type)
    ports = ["f16", "f32", "f64", "bf16", "u8", "i32", "i64"]
    body, data = opened("types", result=call(
        "set_input", "(call $context)", ports.index(kind), 256))
    # A rank that does not fit: the cause names the type that the host understood.
    data += tensor(256, kind, array.reshape((1,) * 9 + (6,)), 2048)
    out = run(tmp_path, module(body, data), models=["types"])
    errno(out, INVALID, "input-shape")
    assert f"{kind}[1,1,1,1,1,1,1,1,1,6]" in out.error["cause"]["message"], repr(out)


def test_bf16_has_no_number(tmp_path):
    body, data = opened("types", result=call("set_input", "(call $context)", 3, 256))
    data += [(256, words(288, 1, 6, 2048, 8)), (288, words(4))]
    errno(run(tmp_path, module(body, data), models=["types"]), INVALID, "invalid-argument")


def test_memory_that_moves_between_calls(tmp_path):
    """The host looks memory up anew: it grows between set_input, compute and get_output."""
    array = numpy.array([-1, 0, 2.5], "f4")
    grow = "(drop (memory.grow (i32.const 100)))"
    last = PAGE * 201 - 12
    body, data = opened(
        "relu3", must(call("set_input", "(call $context)", 0, 256)), grow,
        must(call("compute", "(call $context)")), grow,
        must(call("get_output", "(call $context)", 0, last, 12, WRITTEN)),
        f"(call $print (i32.const {last}) (i32.const 12))")
    out = run(tmp_path, module(body, data + tensor(256, "f32", array, 2048)), models=["relu3"])
    errno(out, OK)
    assert gb.stdout_of(out.json) == numpy.array([0, 0, 2.5], "f4").tobytes()


def test_a_call_waits_no_longer_than_its_deadline(tmp_path):
    body, data = opened("slow200", must(call("set_input", "(call $context)", 0, 256),
                                        call("compute", "(call $context)")))
    data += tensor(256, "f32", numpy.array([0.5], "f4"), 2048)
    text = module(body, data).replace(
        "(call $must (call $compute (call $context)))",
        "(loop $again (call $must (call $compute (call $context))) (br $again))")
    out = run(tmp_path, text, "--deadline", "300ms", models=["slow200"])
    assert out.code == "deadline-exceeded", repr(out)
    assert out.json["usage"]["wall_us"] < 1e6 * (0.3 + gb.slack_s(0.05)), repr(out)


# ---- misuse: an errno for the guest, the whole error for the operator ----

READY = [call("set_input", "(call $context)", 0, 256), call("compute", "(call $context)")]
OUT = ("get_output", "(call $context)", 0)
MISUSE = {
    "name-unknown": (call("load_by_name", NAME, 3, GRAPH), NOT_FOUND, "model-not-found"),
    "name-empty": (call("load_by_name", NAME, 0, GRAPH), NOT_FOUND, "model-not-found"),
    "name-null": (call("load_by_name", 0, 5, GRAPH), INVALID, "invalid-argument"),
    "name-past-end": (call("load_by_name", PAGE - 4, 5, GRAPH), INVALID, "invalid-argument"),
    "name-length-all-bits": (call("load_by_name", NAME, -1, GRAPH), INVALID, "invalid-argument"),
    "graph-place-null": (call("load_by_name", NAME, 5, 0), INVALID, "invalid-argument"),
    "graph-place-past-end": (call("load_by_name", NAME, 5, PAGE - 3), INVALID, "invalid-argument"),
    "load-not-granted": (call("load", 512, 1, 1, 0, GRAPH), UNSUPPORTED, "grant-missing"),
    "load-encoding": (call("load", 512, 1, 7, 0, GRAPH), INVALID, "invalid-argument"),
    "load-target": (call("load", 512, 1, 1, 3, GRAPH), INVALID, "invalid-argument"),
    "load-builders-past-end": (call("load", PAGE - 7, 1, 1, 0, GRAPH), INVALID, None),
    "load-builders-length-wraps": (call("load", 512, 0x20000001, 1, 0, GRAPH), INVALID, None),
    "load-bytes-past-end": (call("load", 520, 1, 1, 0, GRAPH), INVALID, "invalid-argument"),
    "graph-handle-wrong": (call("init_execution_context", 999, CONTEXT), INVALID, None),
    "graph-handle-is-a-context": (
        call("init_execution_context", "(call $context)", CONTEXT), INVALID, "invalid-argument"),
    "context-place-null": (call("init_execution_context", "(call $graph)", 0), INVALID, None),
    "context-wrong": (call("set_input", 999, 0, 256), INVALID, "invalid-argument"),
    "context-is-a-graph": (call("compute", "(call $graph)"), INVALID, "invalid-argument"),
    "context-zero": (call("compute", 0), INVALID, "invalid-argument"),
    "compute-without-inputs": (call("compute", "(call $context)"), INVALID, "input-shape"),
    "index-past-the-last": (call("set_input", "(call $context)", 1, 256), INVALID, "input-shape"),
    "index-all-bits": (call("set_input", "(call $context)", -1, 256), INVALID, "input-shape"),
    "tensor-null": (call("set_input", "(call $context)", 0, 0), INVALID, "invalid-argument"),
    "tensor-past-end": (call("set_input", "(call $context)", 0, PAGE - 19), INVALID, None),
    "output-before-compute": (call(*OUT, BUFFER, 12, WRITTEN), INVALID, "invalid-argument"),
}
TENSORS = {  # dims, dims_len, type, data, data_len
    "dims-length-wraps": (288, 0x40000001, 1, 2048, 12, "invalid-argument"),
    "dims-past-end": (PAGE - 3, 1, 1, 2048, 12, "invalid-argument"),
    "dims-null": (0, 1, 1, 2048, 12, "invalid-argument"),
    "dims-too-many": (288, 17, 1, 2048, 12, "input-shape"),
    "type-unknown": (288, 1, 7, 2048, 12, "invalid-argument"),
    "type-all-bits": (288, 1, 255, 2048, 12, "invalid-argument"),
    "type-not-the-models": (288, 1, 4, 2048, 12, "input-type"),
    "data-past-end": (288, 1, 1, PAGE - 11, 12, "invalid-argument"),
    "data-length-all-bits": (288, 1, 1, 2048, -1, "invalid-argument"),
    "data-null": (288, 1, 1, 0, 12, "invalid-argument"),
    "data-short": (288, 1, 1, 2048, 11, "input-shape"),
    "data-none": (288, 1, 1, 2048, 0, "input-shape"),
    "dims-product-overflows": (304, 4, 1, 2048, 0, "input-shape"),
}
OUTPUTS = {
    "max-0": ((BUFFER, 0, WRITTEN), TOO_LARGE),
    "max-one-short": ((BUFFER, 11, WRITTEN), TOO_LARGE),
    "null-and-max-0": ((0, 0, WRITTEN), TOO_LARGE),
    "null": ((0, 12, WRITTEN), INVALID),
    "written-null": ((BUFFER, 12, 0), INVALID),
    "written-past-end": ((BUFFER, 12, PAGE - 3), INVALID),
    "buffer-past-end": ((PAGE - 11, 12, WRITTEN), INVALID),
    "max-all-bits": ((BUFFER, -1, WRITTEN), INVALID),
    "written-within-the-buffer": ((BUFFER, 12, BUFFER + 11), INVALID),
    "written-reaches-into-the-buffer": ((BUFFER, 12, BUFFER - 3), INVALID),
    "fits": ((BUFFER, 12, BUFFER + 12), OK),
}


def good_input():
    return tensor(256, "f32", numpy.array([-1, 0, 2.5], "f4"), 2048) + [
        (304, words(65536, 65536, 65536, 65536)), (512, words(2048, 16, 2048, PAGE))]


@pytest.mark.parametrize("case", MISUSE)
def test_misuse(tmp_path, case):
    expression, number, cause = MISUSE[case]
    body, data = opened("relu3", result=expression)
    out = run(tmp_path, module(body, data + good_input()), models=["relu3"])
    errno(out, number, cause)
    assert out.json["usage"]["inference_calls"] == 0


@pytest.mark.parametrize("case", TENSORS)
def test_tensors_that_are_none(tmp_path, case):
    *record, cause = TENSORS[case]
    body, data = opened("relu3", result=call("set_input", "(call $context)", 0, 400))
    data += good_input() + [(400, words(*record))]
    errno(run(tmp_path, module(body, data), models=["relu3"]), INVALID, cause)


@pytest.mark.parametrize("case", OUTPUTS)
def test_buffers_for_outputs(tmp_path, case):
    args, number = OUTPUTS[case]
    body, data = opened("relu3", must(*READY), result=call(*OUT, *args))
    errno(run(tmp_path, module(body, data + good_input()), models=["relu3"]), number,
          None if number == OK else "model-too-large" if number == TOO_LARGE
          else "invalid-argument")


def missing(memory):
    """Traps unless the errno says that there is no memory (WASI cannot even exit then)."""
    return (f'(module {IMPORTS} {memory} (func (export "_start") (if (i32.ne'
            f' {call("load_by_name", NAME, 5, GRAPH)} (i32.const {MISSING})) (then unreachable))))')


def test_no_memory_export(tmp_path):
    errno(run(tmp_path, missing("(memory 1)"), models=["relu3"]), OK)


def test_something_else_called_memory(tmp_path):
    memory = '(memory 1) (global (export "memory") i32 (i32.const 0))'
    errno(run(tmp_path, missing(memory), models=["relu3"]), OK)


@pytest.mark.parametrize("statement", [
    call("load_by_name", NAME, 5, GRAPH), call("init_execution_context", "(call $graph)", CONTEXT)])
def test_a_million_graphs_or_contexts(tmp_path, statement):
    loop = (f"(loop $l (call $must {statement}) (i32.store (i32.const 8) (i32.add (i32.const 1)"
            " (i32.load (i32.const 8)))) (br_if $l (i32.lt_u (i32.load (i32.const 8))"
            " (i32.const 1000000))))")
    body, data = opened("relu3", loop)
    out = run(tmp_path, module(body, data), models=["relu3"])
    assert out.code == "handle-limit", repr(out)


def test_functions_of_other_hosts(tmp_path):
    text = wat.command('(import "wasi_ephemeral_nn" "unload" (func (param i32) (result i32)))')
    out = run(tmp_path, text)
    assert out.code == "import-missing", repr(out)
    assert "unload" in out.error["message"] and "six functions" in out.error["hint"], repr(out)


def test_a_function_of_another_type(tmp_path):
    text = wat.command('(import "wasi_ephemeral_nn" "compute" (func (param i64) (result i32)))')
    out = run(tmp_path, text)
    assert out.code == "import-missing", repr(out)
    assert "compute" in out.error["message"], repr(out)


def test_many_calls_in_one_host(tmp_path):
    body, data = opened("relu3", must(*READY, call(*OUT, BUFFER, 12, WRITTEN)))
    calls = gb.count(200, 10000)
    out = run(tmp_path, module(body, data + good_input()), "--repeat", calls, "--jobs", 8,
              models=["relu3"])
    assert gb.counts(out) == {"ok": calls}, repr(out)
