# SPDX-License-Identifier: Apache-2.0
"""The sample agent in Python: names the handwritten digit in an 8x8 picture."""
import struct

import wit_world
from componentize_py_types import Err
from wit_world.imports import graph, tensor

PIXELS = 64


def parse_pixels(text):
    try:
        pixels = [float(word) for word in text.replace(",", " ").split()]
    except ValueError as error:
        raise Err(str(error)) from None
    if len(pixels) != PIXELS or not all(0 <= p <= 16 for p in pixels):
        raise Err(f"found {len(pixels)} pixels: expected 64 values from 0 to 16 (8 rows of 8)")
    return pixels


class WitWorld(wit_world.WitWorld):
    def run(self, arg: str) -> str:
        data = struct.pack(f"<{PIXELS}f", *parse_pixels(arg))
        try:
            context = graph.load_by_name("digits").init_execution_context()
            tensor_in = tensor.Tensor([1, PIXELS], tensor.TensorType.FP32, data)
            outputs = dict(context.compute([("input", tensor_in)]))
        except Err as error:  # wasi:nn's error: say what the host says
            raise Err(error.value.data()) from None
        scores = struct.unpack("<10f", outputs["probabilities"].data())
        shown = " ".join(f"{score:.3f}" for score in scores)
        return f"class={scores.index(max(scores))} scores=[{shown}]"
