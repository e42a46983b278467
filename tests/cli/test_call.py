# SPDX-License-Identifier: Apache-2.0
"""`run --call NAME --args JSON`: every WIT type both ways, places of wrong values, names, bytes."""
import base64
import json
import os
import random
import struct

import pytest

import gb

GUEST = gb.GUESTS / "values.wasm"
PACKAGE = "glovebox-test:values"
GREETER = f"{PACKAGE}/greeter"

CORE = """
(module
  (global $ready (mut i32) (i32.const 0))
  (func (export "_initialize") (global.set $ready (i32.add (global.get $ready) (i32.const 7))))
  (func (export "ready") (result i32) (global.get $ready))
  (func (export "numbers") (param i32 i64 f32 f64) (result i32 i64 f32 f64)
    (local.get 0) (local.get 1) (local.get 2) (local.get 3))
  (func (export "nothing"))
  (func (export "vector") (param v128)))
"""


def call(name, args, *options, guest=GUEST, **kwargs):
    text = args if isinstance(args, str) else json.dumps(args)
    if len(text) > 100_000:
        return gb.run(*options, "--call", name, "--args", "-", guest, input=text.encode(), **kwargs)
    return gb.run(*options, "--call", name, "--args", text, guest, **kwargs)


def value(name, args, *options, **kwargs):
    out = call(name, args, *options, **kwargs)
    assert out.json["ok"], repr(out)
    assert out.status == 0 and out.json["exit_status"] is None
    return out.json["result"]


def message(name, args, *options, code="invalid-argument", status=101, **kwargs):
    out = call(name, args, *options, **kwargs)
    assert out.code == code, repr(out)
    assert out.status == status, repr(out)
    return out.error["message"]


def b64(data):
    return {"base64": base64.b64encode(data).decode()}


DEEP = {"name": "é\n\"\\ \u0000\U0001f980",
        "points": [{"x": 0.1, "y": 1e20}, {"x": -0.0, "y": 0.5}],
        "kind": {"at": [-5, 7]}, "outcome": {"err": "dark-green"}, "modes": ["write", "run-fast"],
        "pair": [255, ["", "b"]]}

SAME = [
    ("bool", [True, False]),
    ("s8", [-128, 127]), ("u8", [0, 255]), ("s16", [-32768, 32767]), ("u16", [65535]),
    ("s32", [-2**31, 2**31 - 1]), ("u32", [2**32 - 1]),
    ("s64", [-2**63, 2**63 - 1, 2**53 + 1]), ("u64", [2**64 - 1, 2**63]),
    ("f32", [0.1, 1.5, 3.4028235e38, 1e-45, 16777216.0, "NaN", "Infinity", "-Infinity"]),
    ("f64", [0.1, 5e-324, 1.7976931348623157e308, 1 / 3, "NaN", "-Infinity"]),
    ("char", ["a", "é", "\U0001f980", "\u0000"]),
    ("string", ["", "ünï\"\\\n\u0000\u007f\U0001f980"]),
    ("bytes", [b64(b""), b64(b"\x00\xff\x10"), b64(bytes(range(256)))]),
    ("list", [[], [1, 2, 3]]), ("strings", [[], ["a", ""]]),
    ("point", [{"x": 0.25, "y": -1.0}]), ("tuple", [[7, "seven", True]]),
    ("color", ["red", "dark-green", "blue"]),
    ("modes", [[], ["read"], ["read", "write", "run-fast"]]),
    ("shape", ["nothing", {"circle": 1.5}, {"named": "x"}, {"at": [1, -1]}]),
    ("option", [None, "here"]),
    ("nested", [None, {"some": None}, {"some": 5}]),
    ("results", [[{"ok": 1}, {"err": "no"}]]), ("bare", [[{"ok": None}, {"err": None}]]),
    ("deep", [DEEP, dict(DEEP, kind=None, outcome={"ok": b64(b"abc")}, modes=[], points=[])]),
]


@pytest.mark.parametrize("name,values", SAME, ids=[name for name, _ in SAME])
def test_every_type_comes_back_as_it_went(name, values):
    for v in values:
        assert value(f"echo-{name}", [v]) == v
    assert value(f"{PACKAGE}/echo@1.0.0#echo-{name}", {"v": values[0]}) == values[0]


def test_other_ways_to_write_a_value():
    assert value("echo-u64", ["18446744073709551615"]) == 2**64 - 1
    assert value("echo-s64", ["-9223372036854775808"]) == -2**63
    assert value("echo-u8", ["7"]) == 7
    assert value("echo-bytes", [[0, 255, "16"]]) == b64(b"\x00\xff\x10")
    assert value("echo-f64", [3]) == 3.0
    assert value("echo-f32", [0.1000000001]) == 0.1


def test_floats_are_printed_with_the_fewest_digits():
    rng = random.Random(7)
    out = gb.glovebox("run", "--call", "echo-f32", "--args", "[0.1]", GUEST)
    assert out.stdout == "0.1\n"
    for _ in range(gb.count(20, 500)):
        bits = rng.getrandbits(32)
        number = struct.unpack("f", struct.pack("I", bits))[0]
        if number != number or number in (float("inf"), float("-inf")):
            continue
        text = gb.glovebox("run", "--call", "echo-f32", "--args", f"[{number!r}]", GUEST).stdout
        assert struct.pack("f", float(text)) == struct.pack("I", bits)
        digits = text.lower().split("e")[0].strip("0.-\n").replace(".", "")
        assert len(digits) <= 9 or "e" not in text


def test_results_at_the_top_are_unwrapped():
    assert value("check", [100]) == 100
    out = call("check", [101])
    assert (out.code, out.status) == ("guest-error", gb.exit_statuses()["guest-error"])
    assert out.error["value"] == "more than a hundred"
    assert value("check-shape", ["nothing"]) is None
    assert call("check-shape", [{"named": "é"}]).error["value"] == {"named": "é"}
    assert value("nothing", []) is None
    assert value("tag", [b64(b"hi"), "k"]) == b64(b"k=hi")
    assert call("tag", [b64(b"hi"), ""]).error["value"] == "no name"


def test_the_greeter():
    person = {"first": "Ada", "last": "Lovelace"}
    for name in (f"{GREETER}#greet", f"{GREETER}@1.0.0#greet"):
        assert value(name, [person]) == "Hello, Ada Lovelace!"
        assert value(name, {"person": person}) == "Hello, Ada Lovelace!"
    out = gb.glovebox("run", "--call", f"{GREETER}#greet", "--args", json.dumps([person]), GUEST)
    assert (out.status, out.stdout, out.stderr) == (0, '"Hello, Ada Lovelace!"\n', "")
    assert value("add", {"b": 2, "a": 1}) == 3


WRONG = [
    (f"{GREETER}#greet", [{"first": "A", "last": 3}], "args[0].last: expected string, got number"),
    (f"{GREETER}#greet", {"person": {"first": None, "last": "B"}},
     "args.person.first: expected string, got null"),
    (f"{GREETER}#greet", [{"first": "A"}], 'args[0]: missing "last"'),
    (f"{GREETER}#greet", '[{"first":"A","first":"B","last":"C"}]', 'args[0]: duplicate "first"'),
    (f"{GREETER}#greet", [{"first": "A", "last": "B", "x": 1}], 'args[0]: there is no "x"'),
    (f"{GREETER}#greet", [], "args: expected 1 value, got 0"),
    (f"{GREETER}#greet", "3", "args: expected an array or an object, got number"),
    (f"{GREETER}#greet", {"who": 1}, 'args: there is no "who"'),
    (f"{GREETER}#greet", {}, 'args: missing "person"'),
    ("add", [1, 2, 3], "args: expected 2 values, got 3"),
    ("add", '{"a":1,"b":2,"a":3}', 'args: duplicate "a"'),
    ("echo-u8", [256], "args[0]: expected u8 (0 to 255), got another number"),
    ("echo-s8", [-129], "args[0]: expected s8 (-128 to 127), got another number"),
    ("echo-u64", ["18446744073709551616"],
     "args[0]: expected u64 (0 to 18446744073709551615), got another string"),
    ("echo-u32", [1.5], "args[0]: expected u32 (0 to 4294967295), got another number"),
    ("echo-u32", ["0x10"], "args[0]: expected u32 (0 to 4294967295), got another string"),
    ("echo-u32", [True], "args[0]: expected u32, got boolean"),
    ("echo-f32", [1e39], "args[0]: the number is too large for f32"),
    ("echo-f64", ["nan"], "args[0]: expected f64, got string"),
    ("echo-char", ["ab"], "args[0]: expected char, a string of one character"),
    ("echo-char", [""], "args[0]: expected char, a string of one character"),
    ("echo-bytes", [{"base64": "AAE"}], "args[0]: the text is not base64"),
    ("echo-bytes", [{"base64": "AAF="}], "args[0]: the text is not base64"),
    ("echo-bytes", [[1, 256]], "args[0][1]: expected u8 (0 to 255), got another number"),
    ("echo-list", [[1, "x"]], "args[0][1]: expected u32 (0 to 4294967295), got another string"),
    ("echo-tuple", [[1, "x"]], "args[0]: expected a tuple of 3 values, got 2"),
    ("echo-tuple", [[1, "x", 0]], "args[0][2]: expected bool, got number"),
    ("echo-color", ["green"], 'args[0]: there is no case "green"'),
    ("echo-modes", [["read", "read"]], 'args[0]: duplicate "read"'),
    ("echo-modes", [["fly"]], 'args[0]: there is no flag "fly"'),
    ("echo-shape", ["circle"], 'args[0]: a value is missing in the case "circle"'),
    ("echo-shape", [{"nothing": 1}], 'args[0]: no value belongs to the case "nothing"'),
    ("echo-shape", [{"at": [1, "x"]}],
     "args[0].at[1]: expected s32 (-2147483648 to 2147483647), got another string"),
    ("echo-nested", [5], 'args[0]: expected a nested option: null or {"some":…}'),
    ("echo-results", [[{"ok": 1}, {"no": 1}]],
     'args[0][1]: expected result: {"ok":…} or {"err":…}'),
    ("echo-deep", [dict(DEEP, pair=[1, ["a", 2]])],
     "args[0].pair[1][1]: expected string, got number"),
    ("echo-deep", [dict(DEEP, points=[{"x": 1, "y": "z"}])],
     "args[0].points[0].y: expected f32, got string"),
]


@pytest.mark.parametrize("name,args,text", WRONG, ids=[str(i) for i in range(len(WRONG))])
def test_a_wrong_value_names_its_place(name, args, text):
    assert message(name, args) == text


def test_what_is_no_json():
    assert message("add", "[1,").startswith("args: not JSON: ")
    assert message("add", "[" * 50_000).startswith("args: ")
    assert message("echo-string", b'["\xff"]'.decode("latin-1").encode("latin-1").decode(
        "utf-8", "surrogateescape")).startswith("args: not JSON: ")


def test_names_that_are_ambiguous_or_unknown():
    out = call("greet", ["x"])
    assert out.code == "invalid-argument"
    for name in ("greeter@1.0.0#greet", "stranger@1.0.0#greet"):
        assert name in out.error["hint"]
    out = call("gret", ["x"])
    assert (out.code, out.status) == ("not-found", 101) and "echo-bool" in out.error["hint"]
    assert call(f"{GREETER}@2.0.0#greet", ["x"]).code == "not-found"
    assert call("greeter#greet", ["x"]).code == "not-found"


def test_options_that_do_not_fit():
    out = gb.run("--args", "[]", GUEST)
    assert (out.code, out.status) == ("usage-error", 2)
    out = gb.run("--call", "add", "--args", "[1,2]", GUEST, "more")
    assert (out.code, out.status) == ("usage-error", 2)
    out = gb.run("--call", "add", "--args", "-", "--stdin", GUEST)
    assert (out.code, out.status) == ("usage-error", 2)


def test_a_trap_is_a_trap():
    out = call("trap", [[]])
    assert (out.code, out.status) == ("guest-trap", 103)


def test_calls_repeat():
    out = gb.run("--repeat", "20", "--jobs", "4", "--call", "check", "--args", "[200]", GUEST)
    assert gb.counts(out) == {"guest-error": 20}


# ---- bytes ----

ROOM = ("--memory", "256MiB", "--budget", "1GiB")


def test_64_mib_of_bytes_cross_both_ways():
    data = random.Random(1).randbytes(64 << 20)
    assert value("echo-bytes", [b64(data)], *ROOM) == b64(data)
    assert value("sum", [b64(data)], *ROOM) == sum(data)


def test_bytes_out_of_nothing_and_in_pairs():
    assert value("fill", [3 << 20, 65]) == b64(b"A" * (3 << 20))
    assert value("maybe", [b64(b"")]) is None
    assert value("maybe", [b64(b"x" * 5_000_000)]) == b64(b"x" * 5_000_000)
    assert value("both", [b64(b"x" * 3_000_000), b64(b"y")]) == b64(b"x" * 3_000_000 + b"y")


def test_bytes_inside_of_other_values_have_their_bound():
    point = {"x": 1, "y": 2}
    assert value("boxed", [b64(b"x" * 100_000), point])[0] == b64(b"x" * 100_000)
    out = call("boxed", [b64(b"x" * (4 << 20)), point])
    assert (out.code, out.status) == ("hostcall-limit", 102)


def test_an_answer_counts_against_the_budget():
    out = call("fill", [24 << 20, 1], "--memory", "64MiB", "--budget", "32MiB")
    assert (out.code, out.status) == ("budget-exceeded", 102)


def test_arguments_count_against_the_budget():
    text = json.dumps([b64(b"x" * (8 << 20))])
    out = call("sum", text, "--budget", "16MiB")
    assert (out.code, out.status) == ("budget-exceeded", 102), repr(out)
    assert "for arguments do not fit" in out.error["message"], repr(out)
    assert call("sum", text, "--budget", "128MiB").json["result"] == 120 * (8 << 20)


# ---- core modules ----


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    path = tmp_path_factory.mktemp("core") / "core.wat"
    path.write_text(CORE)
    return path


def test_core_modules_and_reactors(core):
    assert value("ready", [], guest=core) == 7
    assert value("_initialize", [], guest=core) is None
    assert value("nothing", "", guest=core) is None
    numbers = [-2**31, 2**63 - 1, 0.1, 1 / 3]
    assert value("numbers", numbers, guest=core) == numbers
    assert message("numbers", {"a": 1}, guest=core) == "args: expected an array, got object"
    assert message("vector", [1], code="unsupported", guest=core)
    out = call("nope", [], guest=core)
    assert out.code == "not-found" and "ready" in out.error["hint"]


def test_resources_cannot_cross(tmp_path):
    path = tmp_path / "resource.wat"
    path.write_text("""
(component
  (core module $m (func (export "take") (param i32)))
  (core instance $i (instantiate $m))
  (type $r' (resource (rep i32)))
  (export $r "thing" (type $r'))
  (func (export "take") (param "x" (own $r)) (canon lift (core func $i "take"))))
""")
    assert "take" in message("take", [1], code="unsupported", guest=path)


def test_types_that_explode_are_refused(tmp_path):
    """A type that doubles forty times is small in the file and endless when written out."""
    types = "(type $t0 (tuple u8 u8))" + "".join(
        f"(type $t{i} (tuple $t{i-1} $t{i-1}))" for i in range(1, 20))
    path = tmp_path / "bomb.wat"
    path.write_text(f"""
(component
  (core module $m (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))
    (func (export "f") (param i32)))
  (core instance $i (instantiate $m))
  {types}
  (func (export "f") (param "x" $t19)
    (canon lift (core func $i "f") (memory (core memory $i "memory"))
      (realloc (core func $i "realloc")))))
""")
    out = call("f", [1], guest=path)
    assert out.code in ("component-invalid", "wasm-invalid"), repr(out)
    assert out.wall_s < gb.slack_s(10)


def test_terminals_and_raw_bytes(tmp_path):
    out = gb.glovebox("run", "--call", "echo-string", "--args", json.dumps(["\u001b[31m\u009bx"]),
                      GUEST)
    assert out.status == 0 and "\x1b" not in out.stdout
    assert json.loads(out.stdout) == "\u001b[31m\u009bx"
    assert os.path.exists(GUEST)
