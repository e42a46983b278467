# SPDX-License-Identifier: Apache-2.0
"""What a guest sees of wasi:nn, in both call styles: nn-probe against the small test models."""
import re

import numpy
import pytest

import gb
import native

STYLES = ["1028", "0819", "0625"]
SUM2 = ["tensor a f32 1,4 f:1,2,3,4", "tensor b f32 1,4 f:10,20,30,40"]
RELU3 = ["load relu3", "tensor x f32 3 f:-1,0,2.5"]


def outputs(out):
    assert out.code == "ok", repr(out)
    return native.tensors(out.json["result"])


def read(style, *names):
    """Statements that compute and print the named outputs."""
    return ["compute", "print"] if style == "1028" else ["compute"] + [f"get {n}" for n in names]


def failure(out, code, wasi):
    """A failed wasi:nn call that the guest passes on: guest-error, ours as the cause."""
    assert out.code == "guest-error", repr(out)
    assert out.status == 1, repr(out)
    assert out.error["cause"]["code"] == code, repr(out)
    value = out.error["value"]
    assert value.startswith(f"{wasi}: "), repr(out)
    assert out.error["cause"]["message"] in value, repr(out)
    return value


# ---- values ----


TYPES = [
    ("in_f16", "f16", (1, 3), [1.5, -2.0, 0.25]),
    ("in_f32", "f32", (2, 2), [1.0, -0.0, 3.25, 1e30]),
    ("in_f64", "f64", (1, 2, 2), [1.0, 1e300, -2.5, 0.1]),
    ("in_bf16", "bf16", (4,), None),
    ("in_u8", "u8", (5,), [0, 1, 127, 128, 255]),
    ("in_i32", "i32", (1, 2, 1), [-2147483648, 2147483647]),
    ("in_i64", "i64", (3,), [-9223372036854775808, 0, 9223372036854775807]),
]


def type_bytes(kind, values):
    if kind == "bf16":
        return bytes.fromhex("803f00c0ff7f0000")
    return numpy.array(values, native.NUMPY[kind]).tobytes()


@pytest.mark.parametrize("style", STYLES)
def test_every_type_comes_back_unchanged(style):
    statements = ["load types"]
    for name, kind, shape, values in TYPES:
        dims = ",".join(map(str, shape))
        statements.append(f"tensor {name} {kind} {dims} hex:{type_bytes(kind, values).hex()}")
    names = [name.replace("in_", "out_") for name, *_ in TYPES]
    found = outputs(gb.probe(statements + read(style, *names), models=["types"], style=style))
    for name, kind, shape, values in TYPES:
        twice = (2 * shape[0], *shape[1:])
        assert found[name.replace("in_", "out_")] == (kind, twice, 2 * type_bytes(kind, values))
    assert len(found) == len(TYPES)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_named_inputs_in_any_order(style, order):
    statements = ["load sum2", *[SUM2[i] for i in order]] + read(style, "sum", "diff")
    found = outputs(gb.probe(statements, models=["sum2"], style=style))
    total, difference = found["sum"], found["diff"]
    assert total == ("f32", (1, 4), numpy.array([11, 22, 33, 44], "f4").tobytes())
    assert difference == ("f32", (1, 4), numpy.array([-9, -18, -27, -36], "f4").tobytes())


def test_outputs_come_in_the_models_order():
    out = gb.probe(["load sum2", *SUM2, "compute", "print"], models=["sum2"])
    assert [line.split()[0] for line in out.json["result"].splitlines()] == ["sum", "diff"]


@pytest.mark.parametrize("style", STYLES)
def test_a_scalar_has_no_dimensions(style):
    statements = ["load scalar", "tensor x f32 scalar f:21"] + read(style, "y")
    found = outputs(gb.probe(statements, models=["scalar"], style=style))
    assert found["y"] == ("f32", (), numpy.float32(42).tobytes())


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("n", [0, 1, 5])
def test_a_shape_known_only_after_the_run(style, n):
    values = numpy.arange(n, dtype="f4")  # the first is zero, so one place fewer
    statements = ["load dynout", f"tensor x f32 {n} {native.hex_of(values)}"]
    statements += read(style, "places")
    found = outputs(gb.probe(statements, models=["dynout"], style=style))
    expected = native.run("dynout", {"x": values})["places"]
    assert found["places"] == ("i64", expected.shape, expected.tobytes())


def test_an_input_reads_back_as_given():
    out = gb.probe([*RELU3, "show"], models=["relu3"])
    assert outputs(out)["x"] == ("f32", (3,), numpy.array([-1, 0, 2.5], "f4").tobytes())


SAME = [
    ("relu3", {"x": numpy.array([-1.5, 0.0, numpy.pi], "f4")}),
    ("sum2", {"a": numpy.linspace(-1, 1, 8, dtype="f4").reshape(2, 4),
              "b": numpy.full((2, 4), 1 / 3, "f4")}),
    ("digits", {"input": (numpy.arange(3 * 64, dtype="f4") % 17).reshape(3, 64)}),
    ("dynout", {"x": numpy.array([0, 1, 0, -1, 7], "f4")}),
    ("slow200", {"x": numpy.array([0.123], "f4")}),
    # Too long for an argument as hex: the guest's fill makes the same on both sides.
    ("image", {"image": numpy.arange(3 * 224 * 224, dtype="f4").reshape(1, 3, 224, 224)}),
]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name, inputs", SAME, ids=[name for name, _ in SAME])
def test_the_same_bytes_as_a_direct_run(style, name, inputs):
    expected = native.run(name, inputs)
    statements = [f"load {name}"]
    for key, array in inputs.items():
        fill = "seq" if name == "image" else native.hex_of(array)
        statements.append(f"tensor {key} f32 {native.dims_of(array)} {fill}")
    found = outputs(gb.probe(statements + read(style, *expected), models=[name], style=style))
    assert {k: (v[1], v[2]) for k, v in found.items()} == {
        k: (v.shape, v.tobytes()) for k, v in expected.items()}


@pytest.mark.parametrize("mib", [1, 8])
def test_large_tensors(mib):
    n = mib << 18
    statements = ["load big64", f"tensor x f32 {n} seq", "compute"]
    out = gb.probe(statements, "--memory", "256MiB", "--budget", "1GiB", models=["big64"])
    assert out.code == "ok", repr(out)
    assert out.json["usage"]["inference_calls"] == 1
    assert out.json["usage"]["ledger_peak_bytes"] >= 2 * (mib << 20), repr(out)


def test_a_context_computes_again_and_again():
    loop = ["load relu3", "ctx", "repeat 200", "tensor x f32 3 ones", "compute", "dropoutputs"]
    out = gb.probe(loop, models=["relu3"])
    assert out.code == "ok", repr(out)
    assert out.json["usage"]["inference_calls"] == 200


def test_two_models_side_by_side():
    statements = [*RELU3, "compute", "print", "load scalar", "tensor x f32 scalar f:1", "compute",
                  "print"]
    out = gb.probe(statements, models=["relu3", "scalar"])
    assert out.json["result"].splitlines() == [
        "y f32 3 " + numpy.array([0, 0, 2.5], "<f4").tobytes().hex(),
        "y f32 scalar " + numpy.float32(2).tobytes().hex()], repr(out)


def test_dropping_things_in_the_wrong_order_is_allowed():
    """The context keeps the graph, outputs keep their bytes."""
    statements = [*RELU3, "ctx", "dropgraph", "compute", "dropctx", "print"]
    assert outputs(gb.probe(statements, models=["relu3"]))["y"][1] == (3,)


# ---- refusals: both sides are named, before anything runs ----


@pytest.mark.parametrize("style", STYLES)
def test_a_missing_input(style):
    out = gb.probe(["load sum2", SUM2[0], "compute"], models=["sum2"], style=style)
    assert '"b"' in failure(out, "input-shape", "invalid-argument")
    assert out.json["usage"]["inference_calls"] == 0


@pytest.mark.parametrize("style", STYLES)
def test_an_input_that_the_model_does_not_have(style):
    out = gb.probe(["load relu3", "tensor z f32 3 ones", "compute"], models=["relu3"], style=style)
    failure(out, "input-shape", "invalid-argument")
    said = gb.messages(out.error)
    assert '"z"' in said and '"x"' in said and "f32[3]" in said, repr(out)


def test_an_extra_input():
    out = gb.probe([*RELU3, "tensor z f32 3 ones", "compute"], models=["relu3"])
    assert '"z"' in failure(out, "input-shape", "invalid-argument")


def test_an_input_given_twice():
    out = gb.probe([*RELU3, RELU3[1], "compute"], models=["relu3"])
    assert "twice" in failure(out, "input-shape", "invalid-argument")


def test_the_older_style_lets_a_later_input_win():
    statements = [*RELU3, "tensor x f32 3 f:7,8,9", "compute", "get y"]
    found = outputs(gb.probe(statements, models=["relu3"], style="0819"))
    assert found["y"][2] == numpy.array([7, 8, 9], "f4").tobytes()


@pytest.mark.parametrize("style", STYLES)
def test_a_wrong_type_names_both_sides(style):
    out = gb.probe(["load relu3", "tensor x i64 3 ones", "compute"], models=["relu3"], style=style)
    said = failure(out, "input-type", "invalid-argument")
    assert "i64[3]" in said and "f32[3]" in said and '"x"' in said and '"relu3"' in said, said
    assert out.json["usage"]["inference_calls"] == 0


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("dims", ["4", "3,1", "1,3", "scalar"])
def test_a_wrong_shape_names_both_sides(style, dims):
    out = gb.probe(["load relu3", f"tensor x f32 {dims} ones", "compute"], models=["relu3"],
                   style=style)
    said = failure(out, "input-shape", "invalid-argument")
    given = "f32" if dims == "scalar" else f"f32[{dims}]"
    assert "f32[3]" in said and given in said, said


def test_dimensions_of_one_name_must_agree():
    statements = ["load sum2", "tensor a f32 2,4 ones", "tensor b f32 3,4 ones", "compute"]
    said = failure(gb.probe(statements, models=["sum2"]), "input-shape", "invalid-argument")
    assert '"batch"' in said and "2" in said and "3" in said, said


def test_the_layout_note_of_the_models_owner_is_shown():
    out = gb.probe(["load digits", "tensor input f32 1,63 ones", "compute"], models=["digits"])
    failure(out, "input-shape", "invalid-argument")
    layout = re.search(r'layout *= *"(.*)"', (gb.MODELS / "digits.toml").read_text()).group(1)
    assert layout in gb.messages(out.error), repr(out)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("fill", ["short", "long"])
def test_bytes_that_do_not_fit_the_dimensions(style, fill):
    out = gb.probe(["load relu3", f"tensor x f32 3 {fill}", "compute"], models=["relu3"],
                   style=style)
    said = failure(out, "input-shape", "invalid-argument")
    assert "12" in said and ("11" if fill == "short" else "13") in said, said


@pytest.mark.parametrize("dims", ["1,1,1,1,1,1,1,1,1", ",".join(["1"] * 16),
                                  "65536,65536,65536,65536", "4294967295,4294967295"])
def test_absurd_dimensions(dims):
    """More dimensions than anybody needs, or sizes that overflow; twelve honest bytes of data."""
    out = gb.probe(["load relu3", f"tensor x f32 {dims} hex:{'00' * 12}", "compute"],
                   models=["relu3"])
    failure(out, "input-shape", "invalid-argument")


@pytest.mark.parametrize("style", STYLES)
def test_a_refused_input_does_not_spoil_the_context(style):
    again = "tensor x f32 3 f:1,2,3"
    bad = ["try tensor x f32 4 ones", "try compute"]
    statements = ["load relu3", "ctx", *bad, again] + read(style, "y")
    out = gb.probe(statements, models=["relu3"], style=style)
    lines = out.json["result"].splitlines()
    assert lines[0].startswith("error invalid-argument"), repr(out)
    assert lines[-1].startswith("y f32 3 "), repr(out)


def test_an_output_that_the_model_does_not_have():
    out = gb.probe([*RELU3, "compute", "get nosuch"], models=["relu3"], style="0819")
    said = failure(out, "invalid-argument", "invalid-argument")
    assert '"nosuch"' in said and '"y"' in gb.messages(out.error), repr(out)


def test_an_output_before_compute():
    out = gb.probe([*RELU3, "get y"], models=["relu3"], style="0819")
    failure(out, "invalid-argument", "invalid-argument")


def test_a_type_that_wasi_nn_cannot_carry():
    out = gb.probe(["load flags", "tensor x u8 3 ones", "compute"], models=["flags"])
    assert out.code == "guest-error", repr(out)
    assert out.error["cause"]["code"] in ("unsupported", "input-type"), repr(out)


@pytest.mark.parametrize("style", STYLES)
def test_an_unknown_model(style):
    out = gb.probe(["load nosuch"], models=["relu3"], style=style)
    assert '"nosuch"' in failure(out, "model-not-found", "not-found")
    assert "relu3" in gb.messages(out.error), f"nobody learns what there is{out!r}"


def test_a_model_that_is_not_granted_looks_unknown():
    def refusal(name, *options):
        out = gb.probe([f"load {name}"], *options, models=["relu3", "scalar"])
        failure(out, "model-not-found", "not-found")
        return gb.messages(out.error).replace(name, "NAME")
    allow = ("--allow-model", "relu3")
    assert refusal("scalar", *allow) == refusal("nosuch", *allow)
    assert "scalar" not in refusal("nosuch", *allow)


@pytest.mark.parametrize("name", ["../models/relu3", "/etc/passwd", "relu3.onnx", "RELU3", "-",
                                  "."])
def test_a_name_is_no_path(name):
    failure(gb.probe([f"load {name}"], models=["relu3"]), "model-not-found", "not-found")


def test_loading_from_bytes_needs_its_grant():
    out = gb.probe(["loadbytes 08"], models=["relu3"])
    said = failure(out, "grant-missing", "security")
    assert "nn-load" in said, said


def test_an_error_that_the_guest_handles_is_no_error():
    out = gb.probe(["try load nosuch", *RELU3, "compute"], models=["relu3"])
    assert out.code == "ok", repr(out)
    assert out.json["result"].startswith("error not-found: "), repr(out)


def test_a_trap_after_a_failed_host_call_names_it():
    out = gb.probe(["try load nosuch", "trap"], models=["relu3"])
    assert out.code == "guest-trap" and out.status == 103, repr(out)
    assert "model-not-found" in gb.chain(out.error), repr(out)


def test_a_trap_without_one_has_no_such_cause():
    out = gb.probe([*RELU3, "compute", "trap"], models=["relu3"])
    assert gb.chain(out.error) == ["guest-trap"], repr(out)


# ---- limits ----


def test_a_tensor_past_the_budget():
    statements = ["load big64", f"tensor x f32 {8 << 18} zeros", "compute"]
    out = gb.probe(statements, "--budget", "12MiB", "--memory", "64MiB", models=["big64"])
    assert "budget-exceeded" in gb.chain(out.error), repr(out)
    assert out.json["usage"]["ledger_peak_bytes"] <= 12 << 20, repr(out)


def test_results_are_charged_too():
    """The input fits the budget, with guest memory; the output of the same size does not."""
    statements = ["load big64", f"tensor x f32 {4 << 18} zeros", "compute"]
    out = gb.probe(statements, "--budget", "15MiB", "--memory", "64MiB", models=["big64"])
    assert "budget-exceeded" in gb.chain(out.error), repr(out)
    assert gb.probe(statements, "--budget", "64MiB", models=["big64"]).code == "ok"


def test_handles_are_limited():
    statements = ["load relu3", "repeat 60", "tensor x f32 3 ones"]
    out = gb.probe(statements, "--handles", "32", models=["relu3"])
    assert out.code == "handle-limit" and out.status == 102, repr(out)
    out = gb.probe(["load relu3", "repeat 2000", "load relu3", "ctx"], models=["relu3"])
    assert out.code == "handle-limit", repr(out)


def test_dropped_handles_come_back():
    statements = ["repeat 100", "load relu3", "ctx", "dropctx", "dropgraph"]
    out = gb.probe(statements, "--handles", "8", models=["relu3"])
    assert out.code == "ok", repr(out)


# ---- accounts ----


def test_usage_counts_inferences():
    out = gb.probe(["load slow200", "tensor x f32 1 ones", "compute"], models=["slow200"])
    usage = out.json["usage"]
    assert usage["inference_calls"] == 1
    assert 30_000 < usage["inference_us"] <= usage["wall_us"]
    assert usage["memory_peak_bytes"] >= 65536
