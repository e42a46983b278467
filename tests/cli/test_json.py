# SPDX-License-Identifier: Apache-2.0
"""Every field of every JSON object, and the exit status beside it."""
import re

import pytest

import gb
import wat

HEX64 = re.compile(r"sha256:[0-9a-f]{64}")
TYPES = {"f16", "f32", "f64", "bf16", "u8", "i32", "i64"}


# ---- run (gb.run checks the outer shape each time) ----


def check_usage(usage):
    for key in gb.USAGE_KEYS:
        assert usage[key] is None or (isinstance(usage[key], int) and usage[key] >= 0), usage
    assert usage["wall_us"] > 0 and usage["instantiate_us"] >= 0


def test_an_agent():
    out = gb.run(gb.GUESTS / "echo.wasm", 'text "quoted" \n\u00e9\u4e2d\U0001f9e4')
    assert out.json["ok"] is True
    assert out.json["result"] == 'text "quoted" \n\u00e9\u4e2d\U0001f9e4'
    assert out.json["exit_status"] is None
    assert (out.json["stdout"], out.json["stderr"]) == ("", "")
    assert out.status == 0 and out.stderr == ""
    check_usage(out.json["usage"])
    assert out.json["usage"]["fuel"] is None
    assert out.json["usage"]["inference_calls"] == 0
    assert out.json["usage"]["memory_peak_bytes"] >= 65536


def test_an_agent_without_argument_gets_the_empty_string():
    assert gb.run(gb.GUESTS / "echo.wasm").json["result"] == ""


def test_an_agent_reads_all_of_stdin_for_a_dash():
    out = gb.run(gb.GUESTS / "echo.wasm", "-", input=b"line 1\nline 2\n")
    assert out.json["result"] == "line 1\nline 2\n"


def test_an_argument_past_its_limit():
    out = gb.run(gb.GUESTS / "echo.wasm", "-", input=b"x" * (2 << 20))
    assert out.code in ("hostcall-limit", "invalid-argument"), repr(out)


def test_an_argument_that_is_not_utf8():
    out = gb.run(gb.GUESTS / "echo.wasm", "-", input=b"\xff\xfe")
    assert out.code == "invalid-argument" and out.status == 101, repr(out)


def test_an_agent_that_returns_err():
    out = gb.run(gb.GUESTS / "agent.wasm", "1 2 3")
    assert out.code == "guest-error" and out.status == 1
    assert out.error["value"] == "found 3 pixels: expected 64 values from 0 to 16 (8 rows of 8)"
    assert out.json["exit_status"] is None


def test_a_command():
    out = gb.run(gb.GUESTS / "hello-p1.wasm", "a", "b c", "--json")
    assert out.json["ok"] is True and out.json["result"] is None and out.json["exit_status"] == 0
    assert "b c" in out.json["stdout"] and "--json" in out.json["stdout"], repr(out)
    assert out.json["usage"]["stdout_bytes"] == len(out.json["stdout"])
    assert out.json["usage"]["stderr_bytes"] == 0
    assert out.json["usage"]["stdout_dropped_bytes"] == 0


@pytest.mark.parametrize("guest", ["hello.wasm", "hello-p1.wasm"])
def test_a_command_that_writes_to_stderr(guest):
    out = gb.run(gb.GUESTS / guest, "stderr", "warned")
    assert "warned" in out.json["stderr"], repr(out)
    assert out.json["usage"]["stderr_bytes"] == len(out.json["stderr"].encode())
    assert out.stderr == ""


@pytest.mark.parametrize("status", [1, 2, 3, 101, 125])
def test_a_status_of_the_guest_is_passed_on(status):
    out = gb.run(gb.GUESTS / "hello-p1.wasm", "exit", str(status))
    assert out.code == "guest-exit", repr(out)
    assert out.status == status == out.json["exit_status"], repr(out)


@pytest.mark.parametrize("status", [126, 127, 255])
def test_a_status_that_wasi_does_not_have_is_a_trap(status):
    out = gb.run(gb.GUESTS / "hello-p1.wasm", "exit", str(status))
    assert out.code == "guest-trap" and out.status == 103, repr(out)


def test_a_component_command_that_fails():
    out = gb.run(gb.GUESTS / "hello.wasm", "exit", "1")
    assert out.code == "guest-exit" and out.status == 1, repr(out)
    assert out.json["exit_status"] == 1, repr(out)


BYTES = """
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\10\\00\\00\\00\\04\\00\\00\\00")
  (data (i32.const 16) "a\\ff\\00z")
  (func (export "_start")
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
"""


def test_output_that_is_not_utf8_comes_as_base64(tmp_path):
    (tmp_path / "bytes.wat").write_text(BYTES)
    out = gb.run(tmp_path / "bytes.wat")
    assert out.json["stdout_base64"] == "Yf8Aeg==", repr(out)
    assert "stdout" not in out.json and out.json["stderr"] == ""
    assert gb.glovebox("run", tmp_path / "bytes.wat").stdout_bytes == b"a\xff\0z"


def test_output_dropped_past_its_limit_is_counted():
    out = gb.run("--output-limit", "1KiB", "--on-overflow", "drop", "--deadline", "200ms",
                 gb.GUESTS / "flood-p1.wasm")
    assert out.code == "deadline-exceeded", repr(out)
    assert len(out.json["stdout"]) == 1024, repr(out)
    assert out.json["usage"]["stdout_dropped_bytes"] > 0


def test_output_up_to_its_limit_is_kept():
    out = gb.run("--output-limit", "1KiB", gb.GUESTS / "flood-p1.wasm")
    assert out.code == "output-limit" and out.status == 102, repr(out)
    assert len(out.json["stdout"]) == 1024, repr(out)


def test_fuel_is_reported_where_it_is_measured():
    fuel = gb.run("--fuel", "1000000000", gb.GUESTS / "echo.wasm", "x").json["usage"]["fuel"]
    assert isinstance(fuel, int) and 0 < fuel < 1_000_000_000
    again = gb.run("--fuel", "1000000000", gb.GUESTS / "echo.wasm", "x").json["usage"]["fuel"]
    assert again == fuel, "the same call takes the same fuel"


def test_repeat():
    out = gb.run("--repeat", "7", "--jobs", "3", gb.GUESTS / "echo.wasm", "x")
    repeat = out.json["repeat"]
    assert set(repeat) == {"calls", "ok", "codes", "mean_us", "p50_us", "p99_us", "max_us"}
    assert repeat["calls"] == repeat["ok"] == 7 and repeat["codes"] == {}
    assert 0 <= repeat["p50_us"] <= repeat["p99_us"] <= repeat["max_us"]
    assert 0 < repeat["mean_us"] <= repeat["max_us"]
    assert "result" not in out.json and out.status == 0


def test_repeat_with_failures_has_the_status_of_the_first():
    out = gb.run("--repeat", "3", gb.GUESTS / "agent.wasm", "nothing")
    assert out.json["ok"] is False and out.status == 1, repr(out)
    assert out.json["repeat"]["codes"] == {"guest-error": 3} and out.json["repeat"]["ok"] == 0


def test_repeat_as_text():
    out = gb.glovebox("run", "--repeat", "3", gb.GUESTS / "echo.wasm", "x")
    line = out.stderr.splitlines()[-1]
    assert re.fullmatch(r"repeat: 3 calls, 3 ok, mean \d+ us, p50 \d+ us, p99 \d+ us, max \d+ us",
                        line), repr(out)


def test_usage_as_text():
    out = gb.glovebox("run", "--usage", gb.GUESTS / "echo.wasm", "x")
    assert out.stdout == "x\n" and len(out.stderr.splitlines()) == 1, repr(out)
    assert out.stderr.startswith("usage: "), repr(out)


def test_one_newline_is_added_where_there_is_none():
    assert gb.glovebox("run", gb.GUESTS / "echo.wasm", "x\n").stdout == "x\n"
    assert gb.glovebox("run", gb.GUESTS / "echo.wasm", "x").stdout == "x\n"


def test_a_usage_error_gives_the_same_object():
    out = gb.run("--no-such-option", gb.GUESTS / "echo.wasm")
    assert out.code == "usage-error" and out.status == 2, repr(out)
    assert "--no-such-option" in out.error["message"], repr(out)


def test_a_program_that_is_missing_gives_the_same_object(tmp_path):
    out = gb.run(tmp_path / "none.wasm")
    assert out.code == "not-found" and out.status == 101, repr(out)
    assert out.json["stdout"] == "" and out.json["exit_status"] is None


@pytest.mark.parametrize("options, argument, code", [
    (["--deadline", "100ms"], "spin", "deadline-exceeded"), ([], "membomb", "memory-limit"),
    ([], "recurse", "stack-overflow"), (["--fuel", "10000"], "spin", "fuel-exhausted"),
])
def test_limits_exit_with_102(options, argument, code):
    out = gb.run(*options, gb.GUESTS / f"{argument}.wasm")
    assert out.code == code and out.status == 102, repr(out)
    assert out.error["hint"], repr(out)
    check_usage(out.json["usage"])


def test_a_cause_has_the_same_shape():
    out = gb.run(gb.GUESTS / "membomb.wasm")
    assert gb.chain(out.error) == ["memory-limit", "guest-trap"], repr(out)


def test_environment_and_preopens():
    env = gb.environment(GLOVEBOX_TEST_SECRET="x", INHERITED="seen")
    out = gb.run("--env", "GIVEN=a=b", "--env", "INHERITED", gb.GUESTS / "hello-p1.wasm", env=env)
    assert "GIVEN=a=b" in out.json["stdout"] and "INHERITED=seen" in out.json["stdout"], repr(out)
    assert "SECRET" not in out.json["stdout"] and "PATH=" not in out.json["stdout"]


@pytest.mark.parametrize("guest", ["cat.wasm", "cat-p1.wasm"])
def test_folders_are_read_only_unless_said(tmp_path, guest):
    (tmp_path / "f").write_text("content")
    path = gb.GUESTS / guest
    assert gb.run("--dir", f"{tmp_path}::/d", path, "/d/f").json["stdout"] == "content"
    assert gb.run("--dir", f"/d:{tmp_path}", path, "/d/f").json["stdout"] == "content"
    assert gb.run("--dir", str(tmp_path), path, f"{tmp_path}/f").json["stdout"] == "content"
    assert gb.run(path, "/d/f").code == "guest-exit"
    assert gb.run("--dir", f"{tmp_path}::/d", path, "-w", "/d/new", "text").code == "guest-exit"
    assert not (tmp_path / "new").exists()
    assert gb.run("--dir", f"{tmp_path}::/d::rw", path, "-w", "/d/new", "text").code == "ok"
    assert (tmp_path / "new").read_text() == "text"
    assert gb.run("--dir", f"{tmp_path}::/d::rw", path, "/d/../../etc/passwd").code == "guest-exit"


def test_stdin_is_closed_unless_granted():
    guest = gb.GUESTS / "hello-p1.wasm"
    assert "typed" in gb.run("--stdin", guest, "stdin", input=b"typed\n").json["stdout"]
    assert "typed" not in gb.run(guest, "stdin", input=b"typed\n").json["stdout"]


def test_what_belongs_to_the_guest_is_not_ours():
    out = gb.glovebox("run", gb.GUESTS / "hello-p1.wasm", "--deadline", "nonsense", "--help")
    assert out.status == 0 and "nonsense" in out.stdout and "--help" in out.stdout, repr(out)


# ---- models ----


def check_model(model):
    required = {"name", "backend", "digest", "bytes", "state", "warm_us", "inputs", "outputs"}
    assert required <= set(model), model
    assert set(model) <= required | {"reason", "findings", "layout", "opset"}, model
    assert model["state"] in ("ready", "rejected")
    assert ("reason" in model) == (model["state"] == "rejected"), model
    assert HEX64.fullmatch(model["digest"]), model
    assert model["backend"] == "onnx" and model["bytes"] > 0
    for port in model["inputs"] + model["outputs"]:
        assert set(port) == {"name", "type", "shape"} and port["name"], port
        assert all(isinstance(d, (int, str)) and d != "" for d in port["shape"]), port


def test_models():
    out = gb.glovebox("models", "--json", "--models", gb.TEST_MODELS)
    assert out.status == 0 and set(out.json) >= {"models"}, repr(out)
    models = {m["name"]: m for m in out.json["models"]}
    assert sorted(models) == sorted(p.stem for p in gb.TEST_MODELS.glob("*.onnx"))
    for model in models.values():
        check_model(model)
        assert model["state"] == "ready", model
        if model["name"] != "flags":  # its type cannot be carried, so it cannot be warmed
            assert isinstance(model["warm_us"], int) and model["warm_us"] > 0, model
        assert model["bytes"] == (gb.TEST_MODELS / f"{model['name']}.onnx").stat().st_size
    assert models["sum2"]["inputs"] == [
        {"name": "a", "type": "f32", "shape": ["batch", 4]},
        {"name": "b", "type": "f32", "shape": ["batch", 4]}]
    assert models["scalar"]["inputs"] == [{"name": "x", "type": "f32", "shape": []}]
    assert models["dynout"]["outputs"] == [
        {"name": "places", "type": "i64", "shape": [1, "count"]}]
    assert {p["type"] for p in models["types"]["inputs"]} == TYPES
    assert models["matmul"]["warm_us"] > models["relu3"]["warm_us"]


def test_a_digest_is_that_of_the_file():
    import hashlib
    out = gb.glovebox("models", "--json", *gb.model("digits"))
    model = {m["name"]: m for m in out.json["models"]}["digits"]
    content = (gb.MODELS / "digits.onnx").read_bytes()
    assert model["digest"] == "sha256:" + hashlib.sha256(content).hexdigest()


def test_models_of_an_empty_folder(tmp_path):
    out = gb.glovebox("models", "--json", "--models", tmp_path)
    assert out.json["models"] == [] and out.status == 0, repr(out)


def test_models_as_text():
    out = gb.glovebox("models", "--models", gb.MODELS)
    assert out.status == 0 and "digits" in out.stdout and "f32[batch,64]" in out.stdout, repr(out)


def test_the_models_folder_of_the_environment(tmp_path):
    (tmp_path / "named.onnx").write_bytes((gb.TEST_MODELS / "relu3.onnx").read_bytes())
    out = gb.glovebox("models", "--json", env=gb.environment(MODEL_DIR=tmp_path))
    assert [m["name"] for m in out.json["models"]] == ["named"], repr(out)
    out = gb.glovebox("models", "--json", "--models", gb.MODELS,
                      env=gb.environment(MODEL_DIR=tmp_path))
    assert [m["name"] for m in out.json["models"]] == ["digits"], repr(out)


# ---- inspect ----


def check_inspection(value):
    assert {"kind", "imports", "exports"} <= set(value), value
    for item in value["imports"]:
        assert {"name", "version", "satisfied"} <= set(item), item
        assert isinstance(item["satisfied"], bool), item
        assert "grant" not in item or isinstance(item["grant"], str), item
    for item in value["exports"]:
        assert {"name", "type"} <= set(item) and item["name"] and item["type"], item


def test_inspect_an_agent():
    out = gb.glovebox("inspect", "--json", gb.GUESTS / "agent.wasm")
    assert out.status == 0, repr(out)
    check_inspection(out.json)
    assert out.json["kind"] == "component"
    imports = {i["name"]: i for i in out.json["imports"]}
    for name in ("graph", "inference", "tensor", "errors"):
        assert imports[f"wasi:nn/{name}"]["version"] == "0.2.0-rc-2024-10-28", repr(out)
        assert imports[f"wasi:nn/{name}"]["satisfied"] is True
    exports = {e["name"]: e["type"] for e in out.json["exports"]}
    assert "string" in exports["run"] and "result<string, string>" in exports["run"], repr(out)


def test_inspect_a_module():
    out = gb.glovebox("inspect", "--json", gb.GUESTS / "hello-p1.wasm")
    check_inspection(out.json)
    assert out.json["kind"] == "module" and out.status == 0
    assert all(i["satisfied"] for i in out.json["imports"]), repr(out)
    assert any("fd_write" in i["name"] for i in out.json["imports"]), repr(out)
    assert "_start" in {e["name"] for e in out.json["exports"]}


def test_inspect_a_component_that_answers_http():
    out = gb.glovebox("inspect", "--json", gb.GUESTS / "egress-http.wasm")
    check_inspection(out.json)
    assert out.status == 0 and out.json["entry"] == "wasi:http/incoming-handler", repr(out)
    found = {i["name"]: i for i in out.json["imports"]}
    assert found["wasi:http/types"]["satisfied"] is True
    assert found["wasi:http/outgoing-handler"]["satisfied"] is False
    assert found["wasi:http/outgoing-handler"]["grant"] == "http"
    handle = {e["name"]: e["type"] for e in out.json["exports"]}
    assert "wasi:http/incoming-handler@0.2.0#handle" in handle, repr(out)


def test_inspect_shows_what_is_missing_and_what_needs_a_grant(tmp_path):
    imports = wat.interface("acme:tools/search@1.2.3", "find") + wat.interface(
        "wasi:http/outgoing-handler@0.2.0")
    (tmp_path / "wants.wat").write_text(wat.agent(imports))
    out = gb.glovebox("inspect", "--json", tmp_path / "wants.wat")
    assert out.status == 0, repr(out)
    check_inspection(out.json)
    found = {i["name"]: i for i in out.json["imports"]}
    assert found["acme:tools/search"]["satisfied"] is False
    assert found["acme:tools/search"]["version"] == "1.2.3"
    assert found["wasi:http/outgoing-handler"]["satisfied"] is False
    assert found["wasi:http/outgoing-handler"]["grant"] == "http"


def test_inspect_a_model():
    out = gb.glovebox("inspect", "--json", gb.MODELS / "digits.onnx")
    assert out.status == 0 and isinstance(out.json["findings"], list), repr(out)
    check_model({k: v for k, v in out.json.items() if k != "kind"})
    assert out.json["inputs"] == [{"name": "input", "type": "f32", "shape": ["batch", 64]}]


def test_inspect_what_is_neither(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"neither")
    out = gb.glovebox("inspect", "--json", tmp_path / "x.bin")
    assert out.json["ok"] is False and out.status in (101, 104), repr(out)
    gb.check_error_object(out.json["error"])


# ---- doctor, version ----


def test_doctor():
    out = gb.glovebox("doctor", "--json")
    assert isinstance(out.json["ok"], bool) and out.status == (0 if out.json["ok"] else 104)
    names = [c["name"] for c in out.json["checks"]]
    assert len(names) == len(set(names)) and len(names) >= 5, repr(out)
    for check in out.json["checks"]:
        assert {"name", "ok", "required", "detail"} <= set(check) <= {
            "name", "ok", "required", "detail", "hint"}, check
        assert isinstance(check["ok"], bool) and isinstance(check["required"], bool), check
        assert check["detail"], check
    assert out.json["ok"] == all(c["ok"] for c in out.json["checks"] if c["required"])
    said = str(out.json["checks"]).lower()
    for word in ("onnx", "worker", "jail", "landlock", "seccomp"):
        assert word in said, f"doctor does not speak of {word}{out!r}"


def test_doctor_as_text():
    out = gb.glovebox("doctor")
    assert out.status in (0, 104) and "onnx" in out.stdout.lower(), repr(out)


def test_version():
    out = gb.glovebox("version", "--json")
    assert out.status == 0, repr(out)
    said = str(out.json).lower()
    for library in ("glovebox", "wasmtime", "onnx", "yyjson"):
        assert library in said, repr(out)
    assert re.search(r"48\.0\.\d+", said), "the version of Wasmtime"
    text = gb.glovebox("version").stdout
    assert re.match(r"glovebox \d+\.\d+\.\d+", text), text


@pytest.mark.parametrize("verb", ["run", "inspect", "models", "doctor", "version"])
def test_every_verb_has_help(verb):
    out = gb.glovebox(verb, "--help")
    assert out.status == 0 and f"glovebox {verb}" in out.stdout, repr(out)
    assert out.stderr == ""
