# SPDX-License-Identifier: Apache-2.0
"""ONNX's standard node tests through a guest: all whose inputs and outputs wasi:nn can carry.

Each answer must be byte for byte that of a direct run of the same engine with the same settings,
and within the suite's tolerance of the suite's own expectation, except where the engine itself
misses it (MISSED). What the engine refuses must be refused with the engine's words, or before it by
our validator (REFUSED); what the engine takes may not be refused. Some twenty models share a
process. In short every 14th model, with --long all of them.
"""
import collections
import concurrent.futures
import ctypes
import re
import warnings

import ml_dtypes
import numpy
import onnx
import onnx.numpy_helper
import onnxruntime
import pytest
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.runner import Runner

import gb

BATCH = 20  # models in a process, a worker each
TEXT_BYTES_MAX = 1 << 20  # of an argument, and of an answer
KINDS = {onnx.TensorProto.FLOAT16: "f16", onnx.TensorProto.FLOAT: "f32",
         onnx.TensorProto.DOUBLE: "f64", onnx.TensorProto.BFLOAT16: "bf16",
         onnx.TensorProto.UINT8: "u8", onnx.TensorProto.INT32: "i32",
         onnx.TensorProto.INT64: "i64"}
NUMPY = {"f16": "<f2", "f32": "<f4", "f64": "<f8", "bf16": ml_dtypes.bfloat16, "u8": "u1",
         "i32": "<i4", "i64": "<i8"}
# Drawn anew in every run, so only shapes are compared.
RANDOM = ("test_bernoulli", "test_training_dropout")
# Where the engine's own result is outside the suite's tolerance.
MISSED = (
    "test_attention_4d_causal_fp16", "test_attention_4d_with_past_and_present_qk_matmul_bias_",
    "test_dft", "test_stft", "test_maxunpool_export_with_output_shape",
    "test_resize_downsample_scales_cubic_align_corners",
    "test_resize_downsample_scales_linear_align_corners")
# What our validator says of models that the engine would refuse too.
REFUSED = {r"operator set \d+ of .* is newer than the engine's": "newer operator set",
           r"the operator .* is of the domain .*; only ONNX's own": "foreign domain"}


def kind(port):
    return KINDS.get(port.type.tensor_type.elem_type) if port.type.HasField(
        "tensor_type") else None


def carried(case):
    ports = [*case.model.graph.input, *case.model.graph.output]
    return all(kind(port) for port in ports)


@pytest.fixture(scope="module")
def suite():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the suite computes infinities on purpose
        found = [c for c in collect_testcases(None) if c.model is not None]
    return sorted(found, key=lambda c: c.name)


@pytest.fixture(scope="module")
def cases(suite):
    found = [c for c in suite if carried(c)]
    assert len(found) > 1000
    return found[::gb.count(14, 1)]


class Tensor:
    """What both sides are reduced to: type, shape and bytes."""

    def __init__(self, kind_, shape, data):
        self.kind, self.shape, self.data = kind_, tuple(shape), data

    def __eq__(self, other):
        return (self.kind, self.shape, self.data) == (other.kind, other.shape, other.data)

    def __repr__(self):
        return f"{self.kind}{list(self.shape)} {self.data[:64].hex()}"

    def array(self):
        return numpy.frombuffer(self.data, NUMPY[self.kind]).reshape(self.shape)


def as_array(value):
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return numpy.asarray(value)


def as_tensor(port, value):
    array = as_array(value)
    assert array.dtype == numpy.dtype(NUMPY[kind(port)]), f"{port.name}: {array.dtype}"
    return Tensor(kind(port), array.shape, array.tobytes())


def feeds(case):
    inputs, _ = case.data_sets[0]
    assert len(inputs) == len(case.model.graph.input), case.name
    return [(p.name, as_tensor(p, v)) for p, v in zip(case.model.graph.input, inputs)]


# ---- the engine, directly ----


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.add_session_config_entry(
        "optimization.constant_folding_max_output_size_in_bytes", "67108864")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def ort_value(tensor):
    element = next(k for k, v in KINDS.items() if v == tensor.kind)
    array = tensor.array()
    if tensor.kind == "bf16":
        array = array.view(numpy.uint16)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(
        numpy.ascontiguousarray(array).reshape(tensor.shape), element)


def of_ort_value(port, value):
    shape = value.shape()
    count = int(numpy.prod(shape, dtype=numpy.int64))
    size = count * numpy.dtype(NUMPY[kind(port)]).itemsize
    return Tensor(kind(port), shape, ctypes.string_at(value.data_ptr(), size) if size else b"")


def native(case):
    """Outputs in the model's order, or the engine's words."""
    values = {name: ort_value(tensor) for name, tensor in feeds(case)}
    try:
        found = session(case.model.SerializeToString()).run_with_ort_values(None, values)
    except Exception as error:  # the engine has a class of its own for each kind of refusal
        return str(error)
    return [of_ort_value(p, v) for p, v in zip(case.model.graph.output, found)]


# ---- the engine, through a guest ----


def statements(index, case):
    lines = [f"try fail ==={index}", f"try load m{index}", "try ctx"]
    for name, tensor in feeds(case) if all(map(kind, case.model.graph.input)) else ():
        dims = ",".join(map(str, tensor.shape)) or "scalar"
        lines.append(f"try tensor {name} {tensor.kind} {dims} hex:{tensor.data.hex()}")
    return [*lines, "try compute", "try print", "try dropoutputs", "try dropinputs", "try dropctx",
            "try dropgraph"]


def answer_bytes(case):
    """About what the guest will answer, from what the suite expects."""
    return 200 + sum(100 + 2 * as_array(v).nbytes for v in case.data_sets[0][1])


def in_batches(cases):
    batches, argument, answer = [], 0, 0
    for index, case in enumerate(cases):
        needs = len(";".join(statements(index, case))) + 1
        gives = answer_bytes(case)
        if (not batches or len(batches[-1]) == BATCH or argument + needs > TEXT_BYTES_MAX
                or answer + gives > TEXT_BYTES_MAX):
            batches.append([])
            argument = answer = 0
        batches[-1].append((index, case))
        argument, answer = argument + needs, answer + gives
    return batches


def sections(text):
    """The answer cut where `fail ===N` was printed: N → lines."""
    found = {}
    for line in text.splitlines():
        if line.startswith("error ==="):
            lines = found.setdefault(int(line.removeprefix("error ===")), [])
        else:
            lines.append(line)
    return found


def outputs(lines):
    found = []
    for line in lines:
        name, kind_, dims, *data = line.split(" ")
        shape = () if dims == "scalar" else tuple(map(int, dims.split(",")))
        found.append((name, Tensor(kind_, shape, bytes.fromhex(data[0] if data else ""))))
    return found


def through_a_guest(batch, folder):
    """Index → lines of the answer, for one batch in one process."""
    folder.mkdir()
    script = []
    for index, case in batch:
        (folder / f"m{index}.onnx").write_bytes(case.model.SerializeToString())
        script += statements(index, case)
    out = gb.run("--models", folder, "--deadline", "60s", "--budget", "1GiB",
                 gb.GUESTS / "nn-probe.wasm", "-", input=";".join(script).encode(), timeout=180)
    assert out.code == "ok", repr(out)
    return sections(out.json["result"])


# ---- the judgement ----


def check_expectation(case, found):
    """Does it meet the suite's expectation? The words of the difference if not."""
    expected = [as_array(value) for value in case.data_sets[0][1]]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Runner.assert_similar_outputs(expected, [t.array() for t in found], case.rtol,
                                          case.atol)
    except AssertionError as error:
        return " ".join(str(error).split())[:200]
    return None


def refusal(lines, words):
    """Why there is no answer, where the engine alone refuses as well; None: not as it should be."""
    errors = [line for line in lines if line.startswith("error ")]
    for pattern, reason in REFUSED.items():
        if errors and re.search(pattern, errors[0]):
            return reason
    said = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", words)[:60]
    return "not taken by the engine" if errors and said in errors[0] else None


def judge(case, lines, value):
    """(reason, failure): why there is no equal answer, or what is wrong; both None: it is equal."""
    if isinstance(value, str):
        reason = refusal(lines, value)
        return reason, None if reason else f"{lines}, but the engine says {value}"
    if any(line.startswith("error ") for line in lines):
        return None, lines[0]
    found = outputs(lines)
    names = [port.name for port in case.model.graph.output]
    if [name for name, _ in found] != names:
        return None, f"{[name for name, _ in found]} instead of {names}"
    found = [tensor for _, tensor in found]
    if case.name.startswith(RANDOM):
        return None, None if [t.shape for t in found] == [t.shape for t in value] else "shapes"
    if found != value:
        return None, f"{found} instead of {value}"
    difference = check_expectation(case, found)
    if difference and case.name.startswith(MISSED):
        return "missed by the engine", None
    return None, difference


@pytest.mark.heavy
def test_every_model_that_can_be_carried(cases, tmp_path, capsys):
    batches = in_batches(cases)
    folders = [tmp_path / f"batch{i}" for i in range(len(batches))]
    reasons, failures = collections.Counter(), []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for batch, answers in zip(batches, pool.map(through_a_guest, batches, folders)):
            assert set(answers) == {index for index, _ in batch}
            for index, case in batch:
                reason, failure = judge(case, answers[index], native(case))
                reasons += collections.Counter([reason] if reason else [])
                failures += [f"{case.name}: {failure}"] if failure else []
    others = sum(reasons.values())
    equal = len(cases) - others - len(failures)
    said = ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items()))
    words = (f"{len(cases)} models: {equal} equal, {others} refused ({said}),"
             f" {len(failures)} wrong")
    gb.record("ONNX node tests", words)
    with capsys.disabled():
        print(f"\nONNX node tests: {words}")
    assert not failures, "\n".join(failures)
    assert equal >= gb.count(70, 1150)


def test_the_others_load_or_are_refused_and_end_nothing(suite, tmp_path):
    """Types that wasi:nn lacks: inputs that cannot be set, outputs that cannot be read."""
    others = [c for c in suite if not carried(c)][::gb.count(20, 1)]
    assert len(others) >= gb.count(20, 400)
    for start in range(0, len(others), BATCH):
        batch = list(enumerate(others[start:start + BATCH], start))
        for index, lines in through_a_guest(batch, tmp_path / f"from{start}").items():
            said = lines[0].split(":")[0] if lines else "nothing"
            assert not said.startswith("error ") or said.removeprefix("error ") in (
                "invalid-argument", "invalid-encoding", "unsupported-operation"), lines
            assert said != "nothing", others[index].name
