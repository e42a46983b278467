# SPDX-License-Identifier: Apache-2.0
"""The reference: the same engine, called directly, without Glovebox."""
import functools

import numpy
import onnxruntime

import gb

NUMPY = {"f16": numpy.float16, "f32": numpy.float32, "f64": numpy.float64, "u8": numpy.uint8,
         "i32": numpy.int32, "i64": numpy.int64}
BYTES = {"f16": 2, "bf16": 2, "f32": 4, "f64": 8, "u8": 1, "i32": 4, "i64": 8}


@functools.lru_cache(maxsize=None)
def session(name):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    folder = gb.MODELS if name == "digits" else gb.TEST_MODELS
    return onnxruntime.InferenceSession(str(folder / f"{name}.onnx"), options,
                                        providers=["CPUExecutionProvider"])


def run(name, inputs):
    """Outputs by name as arrays."""
    s = session(name)
    return dict(zip([o.name for o in s.get_outputs()], s.run(None, inputs)))


def tensors(text):
    """What nn-probe prints, NAME TYPE DIMS HEX per line, as {name: (type, dims, bytes)}."""
    found = {}
    for line in text.splitlines():
        name, kind, dims, *data = line.split(" ")
        shape = () if dims == "scalar" else tuple(int(d) for d in dims.split(","))
        assert name not in found, text
        found[name] = (kind, shape, bytes.fromhex(data[0] if data else ""))
    return found


def hex_of(array):
    return "hex:" + numpy.ascontiguousarray(array).tobytes().hex()


def dims_of(array):
    return ",".join(str(d) for d in array.shape) or "scalar"
