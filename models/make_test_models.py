#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes models/test/*.onnx: small well-formed models, each for one property the tests need.

All work is derived at run time from a tiny input (by Expand), so the files stay small and the
engine cannot fold the work away when it loads them. No random numbers: a second run writes the
same bytes. `--check` compares with what is there; `--run` runs each model and prints the time.
"""
import argparse
import ctypes
import os
import pathlib
import sys
import time

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read by ONNX Runtime when it is first imported

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT
MATMUL_SIDE = 4096
SLOW_NODES = 240
SLOW_SHAPE = [512, 800]


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def int64s(name, numbers):
    return numpy_helper.from_array(np.array(numbers, dtype=np.int64), name=name)


def finish(name, nodes, inputs, outputs, constants=()):
    """Puts a graph into a model of the opset and IR version that all our models use."""
    graph = helper.make_graph(nodes, name, inputs, outputs, initializer=list(constants))
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
        producer_name="glovebox models/make_test_models.py",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def matmul():
    """One MatMul node of 137 GFLOP: the engine looks at its stop flag only between nodes, so this
    call cannot be stopped softly. y = 4096 * x * x."""
    nodes = [
        helper.make_node("Expand", ["x", "shape"], ["square"]),
        helper.make_node("MatMul", ["square", "square"], ["product"]),
        helper.make_node("ReduceMax", ["product"], ["largest"], keepdims=0),
        helper.make_node("Reshape", ["largest", "one"], ["y"]),
    ]
    constants = [int64s("shape", [MATMUL_SIDE, MATMUL_SIDE]), int64s("one", [1])]
    return finish("matmul", nodes, [value("x", FLOAT, [1])], [value("y", FLOAT, [1])], constants)


def slow200():
    """About 200 ms on one core in nodes of about 1 ms, so a soft stop takes effect quickly.
    Cos is a single-threaded kernel: the time is the same whatever the size of the thread pool, and
    two calls overlap on two cores. Repeated cosines converge to d = 0.7390851; y = x + d.
    The largest value is taken, not the mean, because all are equal and a sum would round."""
    nodes = [helper.make_node("Expand", ["x", "shape"], ["cos_0"])]
    for i in range(SLOW_NODES):
        nodes.append(helper.make_node("Cos", [f"cos_{i}"], [f"cos_{i + 1}"]))
    nodes += [
        helper.make_node("ReduceMax", [f"cos_{SLOW_NODES}"], ["cosine"], keepdims=0),
        helper.make_node("Add", ["x", "cosine"], ["y"]),
    ]
    constants = [int64s("shape", SLOW_SHAPE)]
    return finish("slow200", nodes, [value("x", FLOAT, [1])], [value("y", FLOAT, [1])], constants)


def image():
    """A 588 KiB input and a 12-byte output: the mean of each colour plane."""
    nodes = [helper.make_node("ReduceMean", ["image"], ["means"], axes=[2, 3], keepdims=0)]
    inputs = [value("image", FLOAT, [1, 3, 224, 224])]
    return finish("image", nodes, inputs, [value("means", FLOAT, [1, 3])])


def relu(name, shape):
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    return finish(name, nodes, [value("x", FLOAT, shape)], [value("y", FLOAT, shape)])


def types():
    """Every tensor type that wasi:nn has, some dimensions fixed and some named. Each output is its
    input joined to itself along dimension 0, so it is byte for byte the input's data twice: exact
    for every type, NaN payloads included."""
    ports = [
        ("f16", TensorProto.FLOAT16, ["rows", 3], ["rows_twice", 3]),
        ("f32", TensorProto.FLOAT, [2, "width"], [4, "width"]),
        ("f64", TensorProto.DOUBLE, [1, 2, 2], [2, 2, 2]),
        ("bf16", TensorProto.BFLOAT16, [4], [8]),
        ("u8", TensorProto.UINT8, ["length"], ["length_twice"]),
        ("i32", TensorProto.INT32, [1, "height", "depth"], [2, "height", "depth"]),
        ("i64", TensorProto.INT64, [3], [6]),
    ]
    nodes = [helper.make_node("Concat", [f"in_{n}"] * 2, [f"out_{n}"], axis=0) for n, *_ in ports]
    inputs = [value(f"in_{n}", kind, shape) for n, kind, shape, _ in ports]
    outputs = [value(f"out_{n}", kind, shape) for n, kind, _, shape in ports]
    return finish("types", nodes, inputs, outputs)


def dynout():
    """The number of columns of the output is known only after the run: the places of the non-zero
    values, int64 [1, count]."""
    nodes = [helper.make_node("NonZero", ["x"], ["places"])]
    outputs = [value("places", TensorProto.INT64, [1, "count"])]
    return finish("dynout", nodes, [value("x", FLOAT, ["n"])], outputs)


def sum2():
    """Two named inputs and two named outputs; the difference tells which input was which."""
    nodes = [
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("Sub", ["a", "b"], ["diff"]),
    ]
    inputs = [value(n, FLOAT, ["batch", 4]) for n in ("a", "b")]
    return finish("sum2", nodes, inputs, [value(n, FLOAT, ["batch", 4]) for n in ("sum", "diff")])


def scalar():
    """Rank 0 in and out: a tensor with no dimensions holds one value. y = 2x."""
    nodes = [helper.make_node("Add", ["x", "x"], ["y"])]
    return finish("scalar", nodes, [value("x", FLOAT, [])], [value("y", FLOAT, [])])


def flags():
    """A bool input: well-formed, but a type that wasi:nn cannot carry."""
    nodes = [helper.make_node("Not", ["x"], ["y"])]
    kind = TensorProto.BOOL
    return finish("flags", nodes, [value("x", kind, ["n"])], [value("y", kind, ["n"])])


MODELS = {
    "matmul": matmul,
    "slow200": slow200,
    "image": image,
    "relu3": lambda: relu("relu3", [3]),
    "types": types,
    "big64": lambda: relu("big64", ["n"]),
    "dynout": dynout,
    "sum2": sum2,
    "scalar": scalar,
    "flags": flags,
}


def check_slow(run):
    expected = np.float32(0.5) + np.float32(0.7390851)
    assert abs(run({"x": np.array([0.5], np.float32)})[0][0] - expected) < 1e-5


def check_types(run):
    import ml_dtypes

    kinds = {
        "f16": np.float16, "f32": np.float32, "f64": np.float64, "bf16": ml_dtypes.bfloat16,
        "u8": np.uint8, "i32": np.int32, "i64": np.int64,
    }
    shapes = {
        "f16": (2, 3), "f32": (2, 5), "f64": (1, 2, 2), "bf16": (4,), "u8": (7,),
        "i32": (1, 2, 3), "i64": (3,),
    }
    feeds = {
        f"in_{n}": (np.arange(np.prod(shapes[n])).reshape(shapes[n]) + 1).astype(kinds[n])
        for n in kinds
    }
    for name, out in zip(kinds, run(feeds)):
        data = feeds[f"in_{name}"]
        assert out.shape == (2 * data.shape[0], *data.shape[1:]), name
        assert out.tobytes() == data.tobytes() * 2, name


def check_relu(run, count):
    x = np.arange(count, dtype=np.float32) - np.float32(count // 2)
    assert np.array_equal(run({"x": x})[0], np.maximum(x, 0))


def check_sum2(run):
    a, b = np.full((2, 4), 5, np.float32), np.full((2, 4), 3, np.float32)
    total, difference = run({"a": a, "b": b})
    assert np.all(total == 8) and np.all(difference == 2)


def check_image(run):
    planes = np.stack([np.full((224, 224), c, np.float32) for c in (1, 2, 4)])[None]
    assert np.allclose(run({"image": planes})[0], [[1, 2, 4]])


def check_one(run, **feeds_and_answer):
    answer = feeds_and_answer.pop("answer")
    out = run({k: np.array(*v) for k, v in feeds_and_answer.items()})[0]
    assert np.allclose(out, answer) and out.shape == np.shape(answer), (out, answer)


CHECKS = {
    "matmul": lambda run: check_one(run, x=([0.5], np.float32), answer=[1024.0]),
    "slow200": check_slow,
    "image": check_image,
    "relu3": lambda run: check_relu(run, 3),
    "types": check_types,
    "big64": lambda run: check_relu(run, 1 << 24),
    "dynout": lambda run: check_one(run, x=([0, 3, 0, -1], np.float32), answer=[[1, 3]]),
    "sum2": check_sum2,
    "scalar": lambda run: check_one(run, x=(1.5, np.float32), answer=3.0),
    "flags": lambda run: check_one(run, x=([True, False], np.bool_), answer=[False, True]),
}


def open_session(path):
    """One thread, so that the times printed are those of one core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )


def to_array(out):
    """numpy has no bfloat16, so such an output is read as it lies in memory."""
    if out.data_type() != "tensor(bfloat16)":
        return out.numpy()
    shape = out.shape()
    raw = ctypes.string_at(out.data_ptr(), 2 * int(np.prod(shape)))
    return np.frombuffer(raw, np.uint16).reshape(shape)


def run_all(directory):
    """Runs each file twice against a known answer and prints what the second run took."""
    import onnxruntime

    for name, check in CHECKS.items():
        session = open_session(directory / f"{name}.onnx")
        elapsed_ms = []

        def run(feeds):
            # OrtValue and not plain arrays: numpy has no bfloat16 of its own.
            values = {
                port.name: onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(
                    feeds[port.name].view(np.uint16), TensorProto.BFLOAT16
                )
                if port.type == "tensor(bfloat16)"
                else onnxruntime.OrtValue.ortvalue_from_numpy(feeds[port.name])
                for port in session.get_inputs()
            }
            names = [port.name for port in session.get_outputs()]
            start = time.perf_counter()
            outputs = session.run_with_ort_values(names, values)
            elapsed_ms.append((time.perf_counter() - start) * 1e3)
            return [to_array(out) for out in outputs]

        check(run)
        check(run)
        size = (directory / f"{name}.onnx").stat().st_size
        print(f"{name}: {size} bytes, {elapsed_ms[-1]:.2f} ms, answer right")


def main():
    parser = argparse.ArgumentParser(description="write (or check, or run) the test models")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "test")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    parser.add_argument("--run", action="store_true", help="run each file and check its answer")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    different = []
    for name, build in MODELS.items():
        path = options.out / f"{name}.onnx"
        data = build().SerializeToString(deterministic=True)
        if not options.check:
            path.write_bytes(data)
        elif not path.exists() or path.read_bytes() != data:
            different.append(path.name)
    if different:
        sys.exit("differs from what the script writes: " + ", ".join(different))
    if options.run:
        run_all(options.out)


if __name__ == "__main__":
    main()
