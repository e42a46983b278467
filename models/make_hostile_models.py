#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes model files that must be refused into a directory, and prints what each must end with.

One line per file: `NAME<TAB>CODE`, where CODE is
  model-invalid    not a well-formed ONNX model: broken protobuf, or structure that contradicts
                   itself
  model-rejected   well-formed, but it asks for something that we refuse
  model-too-large  larger than the host loads
Files that share a trick but differ in the code are the point: an honest reason is part of the
contract. The protobuf is encoded here, by hand, because the usual library refuses to write most of
this; so the script needs nothing but Python. Fixed seed: the same files every time, but for the
one that holds the directory's absolute path. `--folding` adds models that grow only when an
engine folds constants; they need arithmetic, not only reading, to recognise.
"""
import argparse
import os
import pathlib
import random
import struct
import sys

INVALID, REJECTED, TOO_LARGE = "model-invalid", "model-rejected", "model-too-large"
MIB = 1 << 20
FLOAT, INT64, BOOL, DOUBLE = 1, 7, 9, 11
SECRET = b"outside the model directory...!!"  # as many bytes as the eight floats that name it


# --- protobuf -----------------------------------------------------------------------------------


def varint(number):
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def num(field, number):
    return varint(field << 3) + varint(number)


def data(field, payload):
    if isinstance(payload, str):
        payload = payload.encode()
    return varint(field << 3 | 2) + varint(len(payload)) + payload


class Nest:
    """Wraps a message many times from the inside out in linear time."""

    def __init__(self, core):
        self.parts, self.size = [core], len(core)

    def wrap(self, field, before=b""):
        """The message so far becomes the last field of a new one, after `before`."""
        head = before + varint(field << 3 | 2) + varint(self.size)
        self.parts.append(head)
        self.size += len(head)

    def bytes(self):
        return b"".join(reversed(self.parts))


# --- ONNX ---------------------------------------------------------------------------------------


def shape(dims):
    return b"".join(
        data(1, num(1, d) if isinstance(d, int) else data(2, d) if d else b"") for d in dims
    )


def port(name, dims=("n",), kind=FLOAT):
    return data(1, name) + data(2, data(1, num(1, kind) + data(2, shape(dims))))


def tensor(name, dims, kind=FLOAT, raw=None, extra=b""):
    out = b"".join(num(1, d) for d in dims) + num(2, kind) + data(8, name)
    return out + (data(9, raw) if raw is not None else b"") + extra


def external(location, **entries):
    """Says that a tensor's bytes are in another file."""
    pairs = {"location": location, **entries}
    return b"".join(data(13, data(1, k) + data(2, v)) for k, v in pairs.items()) + num(14, 1)


def attribute(name, kind, body):
    return data(5, data(1, name) + num(20, kind) + body)


def node(op, inputs, outputs, attributes=b"", domain=""):
    out = b"".join(data(1, i) for i in inputs) + b"".join(data(2, o) for o in outputs)
    return out + data(4, op) + attributes + (data(7, domain) if domain else b"")


RELU = node("Relu", ["x"], ["y"])
ADD_W = node("Add", ["x", "w"], ["y"])


def graph(nodes=(RELU,), initializers=(), inputs=None, outputs=None, extra=b""):
    inputs = [port("x")] if inputs is None else inputs
    outputs = [port("y")] if outputs is None else outputs
    out = b"".join(data(1, n) for n in nodes) + data(2, "g")
    out += b"".join(data(5, t) for t in initializers)
    out += b"".join(data(11, i) for i in inputs) + b"".join(data(12, o) for o in outputs)
    return out + extra


def opset(version=17, domain=""):
    return data(8, (data(1, domain) if domain else b"") + num(2, version))


def model(graph_bytes=None, opsets=None, extra=b"", ir_version=8):
    graph_bytes = graph() if graph_bytes is None else graph_bytes
    opsets = opset() if opsets is None else opsets
    return num(1, ir_version) + data(7, graph_bytes) + opsets + extra


def with_weight(weight, **more):
    return model(graph([ADD_W], [weight], **more))


def with_constant(body):
    """A Constant node whose tensor is `body`."""
    constant = node("Constant", [], ["w"], attribute("value", 4, data(5, body)))
    return model(graph([constant, ADD_W]))


def int64s(name, numbers):
    return tensor(name, [len(numbers)], INT64, struct.pack(f"<{len(numbers)}q", *numbers))


# --- broken protobuf, contradictory structure ---------------------------------------------------


def broken_bytes():
    good = model()
    rng = random.Random(20)
    return {
        "empty": b"",
        "one_byte": b"\x08",
        "random_bytes": bytes(rng.randrange(256) for _ in range(4096)),
        "text": b"this is not a model\n" * 8,
        "zeros": bytes(4096),
        "trailing_zero": good + b"\0",
        "length_past_end": num(1, 8) + varint(7 << 3 | 2) + varint(1 << 40) + graph(),
        "length_max": num(1, 8) + varint(7 << 3 | 2) + varint((1 << 64) - 1) + graph(),
        "length_sign_bit": num(1, 8) + varint(7 << 3 | 2) + varint(1 << 63) + graph(),
        "inner_length_past_end": model(varint(1 << 3 | 2) + varint(len(good)) + RELU),
        "varint_eleven_bytes": b"\x08" + b"\xff" * 10 + b"\x01" + good,
        "varint_unfinished": good + b"\x28\xff\xff",
        "key_above_32_bits": varint((1 << 35) | 8) + b"\x01" + good,
        "field_zero": b"\x02\x01x" + good,
        "wire_type_seven": b"\x0f" + good,
        "wire_type_wrong": num(1, 8) + num(7, 1) + opset(),
        "groups_deep": good + varint(99 << 3 | 3) * 10_000 + varint(99 << 3 | 4) * 10_000,
        "group_unclosed": good + varint(99 << 3 | 3),
    }


def broken_structure():
    eight = bytes(32)
    return {
        "no_graph": num(1, 8) + opset(),
        "graph_twice": model(extra=data(7, graph())),
        "no_opset": num(1, 8) + data(7, graph()),
        "no_inputs_no_outputs": model(graph(inputs=[], outputs=[])),
        "no_outputs": model(graph(outputs=[])),
        "empty_graph": model(b""),
        "duplicate_inputs": model(graph(inputs=[port("x"), port("x")])),
        "duplicate_outputs": model(graph(outputs=[port("y"), port("y")])),
        "duplicate_initializers": model(
            graph([ADD_W], [tensor("w", [8], raw=eight), tensor("w", [8], raw=eight)])
        ),
        "input_unnamed": model(graph(inputs=[port("")])),
        "input_untyped": model(graph(inputs=[data(1, "x")])),
        "input_type_unknown": model(graph(inputs=[port("x", kind=99)])),
        "input_dims_negative": model(graph(inputs=[port("x", [-3])])),
        "dims_negative": with_weight(tensor("w", [-8], raw=eight)),
        "dims_negative_twice": with_weight(tensor("w", [-4, -2], raw=eight)),
        "dims_overflow": with_weight(tensor("w", [1 << 32, 1 << 32], raw=b"")),
        "dims_overflow_bytes": with_weight(tensor("w", [1 << 62], raw=b"")),
        "dims_overflow_wraps": with_weight(tensor("w", [(1 << 61) + 8, 8], raw=eight * 8)),
        "raw_too_short": with_weight(tensor("w", [8], raw=eight[:31])),
        "raw_too_long": with_weight(tensor("w", [8], raw=eight + b"\0")),
        "raw_missing": with_weight(tensor("w", [128 * MIB])),
        "floats_too_few": with_weight(tensor("w", [8], extra=data(4, eight[:28]))),
        "raw_and_floats": with_weight(tensor("w", [8], raw=eight, extra=data(4, eight))),
        "constant_raw_too_short": with_constant(tensor("", [8], raw=eight[:4])),
        "tensor_type_unknown": with_weight(tensor("w", [8], 99, raw=eight)),
        "name_not_utf8": model(graph(inputs=[port("x"), port(b"a\xff\xfeb")])),
        "name_surrogate": model(graph(inputs=[port("x"), port(b"a\xed\xa0\x80b")])),
        "name_overlong_utf8": model(graph(inputs=[port("x"), port(b"a\xc0\x80b")])),
    }


def truncated(digits, step):
    """The real model cut short: in the graph, before the operator set, before the last byte."""
    out = {f"cut_at_{n:05}": digits[:n] for n in range(step, len(digits), step)}
    out["cut_last_byte"] = digits[:-1]
    out["cut_before_opset"] = digits[: digits.rindex(opset_of(digits))]
    return out


def opset_of(digits):
    for candidate in (data(8, data(1, "") + num(2, 17)), data(8, num(2, 17))):
        if digits.endswith(candidate):
            return candidate
    sys.exit("digits.onnx does not end with its operator set: adapt opset_of()")


# --- well-formed, refused -----------------------------------------------------------------------


def external_data(directory):
    """The files named here exist, so a loader that follows any of these reads the secret."""
    up = "../" * 16 + "etc/passwd"
    back = f"../{directory.name}/outside/secret.bin"
    marker = "*/_ORT_MEM_ADDR_/*"

    def weight(location, **more):
        return tensor("w", [8], extra=external(location, **more))

    branch = graph([node("Identity", ["w"], ["t"])], [weight("plain.bin")], [], [port("t", [8])])
    other = graph([node("Identity", ["x"], ["e"])], [], [], [port("e")])
    branches = attribute("then_branch", 5, data(6, branch))
    branches += attribute("else_branch", 5, data(6, other))
    # A message field given twice is merged: the second part makes the first external.
    parts = data(5, tensor("", [8])) + data(5, external("plain.bin"))
    merged = node("Constant", [], ["w"], attribute("value", 4, parts))
    listed = node("Relu", ["x"], ["y"], attribute("hidden", 9, data(10, weight("plain.bin"))))
    late_flag = tensor("w", [8], raw=SECRET, extra=num(14, 0) + external("plain.bin"))
    wrapped = external("plain.bin")[: -len(num(14, 1))] + num(14, (1 << 32) + 1)
    overlong_key = external("plain.bin")[: -len(num(14, 1))] + b"\xf0\x00\x01"
    return {
        "external_plain": with_weight(weight("plain.bin")),
        "external_parent": with_weight(weight(up, length="32")),
        "external_parent_and_back": with_weight(weight(back)),
        "external_absolute": with_weight(weight(str(directory / "outside" / "secret.bin"))),
        "external_symlink": with_weight(weight("symlink.bin")),
        "external_symlink_folder": with_weight(weight("folder/secret.bin")),
        "external_hardlink": with_weight(weight("hardlink.bin")),
        "external_proc": with_weight(weight("/proc/self/environ", length="32")),
        "external_no_entries": with_weight(tensor("w", [8], extra=num(14, 1))),
        "external_offset_huge": with_weight(weight("plain.bin", offset=str(1 << 62), length="32")),
        "external_flag_last_wins": with_weight(late_flag),
        "external_flag_wraps": with_weight(tensor("w", [8], extra=wrapped)),
        "external_flag_overlong_key": with_weight(tensor("w", [8], extra=overlong_key)),
        "external_in_constant": with_constant(tensor("", [8], extra=external("plain.bin"))),
        "external_in_constant_merged": model(graph([merged, ADD_W])),
        "external_in_tensor_list": model(graph([listed])),
        "external_in_branch": model(
            graph([node("If", ["c"], ["y"], branches)], [], [port("x"), port("c", [], BOOL)])
        ),
        "memory_address": with_weight(weight(marker, offset="4194304", length="32")),
        "memory_address_in_constant": with_constant(
            tensor("", [8], extra=external(marker, offset="4194304", length="32"))
        ),
    }


def bomb(shape_tensor, value=b"", kind=FLOAT):
    fill = node("ConstantOfShape", ["s"], ["y"], value)
    return model(graph([fill], [shape_tensor], [], [port("y", kind=kind)]))


def bombs():
    many = 128 * MIB
    # 36 MiB if counted as floats, 72 MiB as what it is.
    double_value = attribute("value", 4, data(5, tensor("", [1], DOUBLE, struct.pack("<d", 0))))
    shape_node = node("Constant", [], ["s"], attribute("value", 4, data(5, int64s("", [many]))))
    ints_node = node("Constant", [], ["s"], attribute("value_ints", 7, num(8, many)))
    fill = node("ConstantOfShape", ["s"], ["y"])
    packed = tensor("s", [1], INT64, extra=data(7, varint(many)))
    unpacked = tensor("s", [1], INT64, extra=num(7, many))
    # The smallest form: short names, no names where none are needed.
    tiny = num(1, 8) + data(
        7,
        data(1, data(1, "s") + data(2, "y") + data(4, "ConstantOfShape"))
        + data(5, num(1, 1) + num(2, INT64) + num(7, many) + data(8, "s"))
        + data(12, data(1, "y") + data(2, data(1, num(1, FLOAT)))),
    ) + data(8, num(2, 9))
    return {
        "bomb_tiny": tiny,
        "bomb_initializer": bomb(int64s("s", [many])),
        "bomb_two_dims": bomb(int64s("s", [8192, 16384])),
        "bomb_dims_overflow": bomb(int64s("s", [1 << 32, 1 << 32])),
        "bomb_packed": bomb(packed),
        "bomb_unpacked": bomb(unpacked),
        "bomb_doubles": bomb(int64s("s", [9 * MIB]), double_value, DOUBLE),
        "bomb_constant_node": model(graph([shape_node, fill], inputs=[])),
        "bomb_constant_ints": model(graph([ints_node, fill], inputs=[])),
    }


def if_tower(depth):
    """`depth` If nodes, each in the branch of the one before; all names differ, as ONNX demands."""
    core = graph([node("Identity", ["x"], ["y0"])], [], [], [port("y0")])
    tower = Nest(core)
    for level in range(1, depth + 1):
        other = graph([node("Identity", ["x"], [f"e{level}"])], [], [], [port(f"e{level}")])
        tower.wrap(6, data(1, "then_branch") + num(20, 5))
        tower.wrap(5, node("If", ["c"], [f"y{level}"], attribute("else_branch", 5, data(6, other))))
        before = data(2, "g") + data(12, port(f"y{level}"))
        if level == depth:
            before += data(11, port("x")) + data(11, port("c", [], BOOL))
        tower.wrap(1, before)
    tower.wrap(7, num(1, 8) + opset())
    return tower.bytes()


def type_tower(depth):
    """An input whose type is a sequence of sequences of … tensors."""
    tower = Nest(data(1, num(1, FLOAT) + data(2, shape(["n"]))))
    for _ in range(depth):
        tower.wrap(1)
        tower.wrap(4)
    tower.wrap(2, data(1, "s"))
    return model(graph(inputs=[port("x"), tower.bytes()]))


def relu_chain(count):
    nodes = [node("Relu", [f"v{i}"], [f"v{i + 1}"]) for i in range(count)]
    return model(graph(nodes, [], [port("v0")], [port(f"v{count}")]))


def refused():
    function = (
        data(1, "F") + data(4, "x") + data(5, "y") + data(7, RELU) + data(9, num(2, 17))
        + data(10, "our.functions")
    )
    call = node("F", ["x"], ["y"], domain="our.functions")
    custom = node("Steal", ["x"], ["y"], domain="com.example")
    context = node("EPContext", ["x"], ["y"], attribute("embed_mode", 2, num(3, 0))
                   + attribute("ep_cache_context", 3, data(4, "../engine.bin")), "com.microsoft")
    sparse = data(1, tensor("w", [1], raw=bytes(4))) + data(2, int64s("", [3])) + num(3, 8)
    sparse_attribute = node("Constant", [], ["w"], attribute("sparse_value", 11, data(22, sparse)))
    long_name = "n" * MIB
    return {
        "custom_domain": model(graph([custom]), opset() + opset(1, "com.example")),
        "custom_domain_no_import": model(graph([custom])),
        "function": model(graph([call]), opset() + opset(1, "our.functions"), data(25, function)),
        "function_unused": model(extra=data(25, function)),
        "ep_context": model(graph([context]), opset() + opset(1, "com.microsoft")),
        "sparse_initializer": model(graph([ADD_W], extra=data(15, sparse))),
        "sparse_constant": model(graph([sparse_attribute, ADD_W])),
        "if_45_deep": if_tower(45),
        "if_10000_deep": if_tower(10_000),
        "type_10000_deep": type_tower(10_000),
        "nodes_100000": relu_chain(100_000),
        "rank_100000": model(graph(inputs=[port("x"), port("r", [1] * 100_000)])),
        "name_1mib_input": model(graph(inputs=[port("x"), port(long_name)])),
        "name_1mib_node": model(graph([node("Relu", ["x"], [long_name]), RELU])),
        "name_control_bytes": model(graph(inputs=[port("x"), port("a\x1b[2J\r\nb")])),
        "name_nul": model(graph(inputs=[port("x"), port("a\0b")])),
        "opset_999": model(opsets=opset(999)),
        "opset_zero": model(opsets=opset(0)),
        "opset_negative": model(opsets=opset(-1)),
        "ir_version_999": model(ir_version=999),
    }


def folding_bombs():
    """Nothing here is large until constants are folded: 512 MiB each."""
    one = tensor("one", [1], raw=struct.pack("<f", 1))
    scalar = [tensor(n, [], raw=struct.pack("<f", v)) for n, v in
              (("from", 0), ("to", 128 * MIB), ("by", 1))]
    doubling = [node("Concat", [f"d{i}"] * 2, [f"d{i + 1}"], attribute("axis", 2, num(3, 0)))
                for i in range(27)]
    side = node("Mul", ["a", "a"], ["s"])
    return {
        "fold_expand": model(graph([node("Expand", ["one", "s"], ["y"])],
                                   [one, int64s("s", [128 * MIB])], [])),
        "fold_tile": model(graph([node("Tile", ["one", "s"], ["y"])],
                                 [one, int64s("s", [128 * MIB])], [])),
        "fold_range": model(graph([node("Range", ["from", "to", "by"], ["y"])], scalar, [])),
        "fold_concat": model(graph(doubling, [tensor("d0", [1], raw=bytes(4))], [],
                                   [port("d27")])),
        "fold_shape_product": model(graph([side, node("ConstantOfShape", ["s"], ["y"])],
                                          [int64s("a", [11_586])], [])),
    }


# --- files --------------------------------------------------------------------------------------


def place_secret(directory):
    """The file that external data points at, and every kind of way to it."""
    outside = directory / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "secret.bin").write_bytes(SECRET)
    (directory / "plain.bin").write_bytes(SECRET)
    links = [directory / n for n in ("symlink.bin", "hardlink.bin", "folder")]
    for link in links:
        link.unlink(missing_ok=True)
    links[0].symlink_to("outside/secret.bin")
    os.link(outside / "secret.bin", links[1])
    links[2].symlink_to("outside")


def write_oversize(path):
    """A well-formed model past 2 GiB: its documentation is a hole in the file."""
    head = model() + varint(6 << 3 | 2) + varint(2048 * MIB)
    with open(path, "wb") as file:
        file.write(head)
        file.truncate(len(head) + 2048 * MIB)


def main():
    parser = argparse.ArgumentParser(description="write hostile models and the code of each")
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--step", type=int, default=997, help="bytes between cuts of digits.onnx")
    parser.add_argument("--folding", action="store_true", help="also bombs that need folding")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    directory = options.directory.resolve()
    place_secret(directory)
    digits = (pathlib.Path(__file__).parent / "digits.onnx").read_bytes()

    table = [
        (INVALID, broken_bytes()),
        (INVALID, broken_structure()),
        (INVALID, truncated(digits, max(options.step, 1))),
        (REJECTED, external_data(directory)),
        (REJECTED, bombs()),
        (REJECTED, refused()),
        (REJECTED, folding_bombs() if options.folding else {}),
    ]
    for code, files in table:
        for name, content in files.items():
            (directory / f"{name}.onnx").write_bytes(content)
            print(f"{name}\t{code}")
    write_oversize(directory / "file_above_2gib.onnx")
    print(f"file_above_2gib\t{TOO_LARGE}")


if __name__ == "__main__":
    main()
