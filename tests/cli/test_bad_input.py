# SPDX-License-Identifier: Apache-2.0
"""Programs and models that are not what they say: a typed error each, no crash, no long wait."""
import random

import pytest

import gb
import wat

SEED = 20_262
REFUSED = {"wasm-invalid", "component-invalid", "import-missing", "grant-missing", "unsupported",
           "program-too-large"}
MODEL_S = 2.0


def run_bytes(tmp_path, content, *options):
    path = tmp_path / "guest.wasm"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return gb.run("--deadline", "1s", *options, path)


def refused(out, *codes):
    assert out.code in codes, repr(out)
    assert out.status == gb.exit_statuses()[out.code], repr(out)
    assert out.json["exit_status"] is None, repr(out)
    return gb.messages(out.error)


# ---- programs ----


@pytest.mark.parametrize("content", [
    b"", b"\0", b"\0asm", b"\0asm\1\0\0", b"\0asm\2\0\0\0", b"\0asm\x0d\0\1\0\xff",
    b"\x7fELF\2\1\1", b"PK\3\4", b"#!/bin/sh\n", b"(module", b"(component (import", b"()",
    b"hello\n", b"\xff\xfe\0\0", b"(module) trailing", b"\0" * 4096, b"(" * 100_000,
], ids=lambda c: repr(c[:16]))
def test_what_is_no_program(tmp_path, content):
    native = content.startswith(b"\x7fELF")
    refused(run_bytes(tmp_path, content),
            *(["artifact-untrusted"] if native else ["wasm-invalid", "component-invalid"]))


def test_random_bytes_after_the_magic(tmp_path):
    rng = random.Random(SEED)
    for turn in range(gb.count(20, 1000)):
        head = [b"", b"\0asm\1\0\0\0", b"\0asm\x0d\0\1\0"][turn % 3]
        out = run_bytes(tmp_path, head + rng.randbytes(rng.randrange(1, 400)))
        refused(out, "wasm-invalid", "component-invalid")
        assert out.wall_s < gb.slack_s(1), repr(out)


@pytest.mark.parametrize("name", ["hello-p1.wasm", "agent.wasm"])
def test_truncated_programs(tmp_path, name):
    whole = (gb.GUESTS / name).read_bytes()
    for at in range(9, len(whole) - 1, len(whole) // gb.count(8, 200)):
        refused(run_bytes(tmp_path, whole[:at]), "wasm-invalid", "component-invalid")


@pytest.mark.parametrize("name", ["hello-p1.wasm", "echo.wasm"])
def test_programs_with_a_flipped_bit(tmp_path, name):
    """Some still run: whatever they do then ends with a code of the list too (gb.run checks)."""
    rng = random.Random(SEED)
    whole = (gb.GUESTS / name).read_bytes()
    for _ in range(gb.count(15, 500)):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        out = run_bytes(tmp_path, bytes(damaged))
        assert out.status >= 0, repr(out)
        assert out.code == "ok" or out.error["code"] not in ("internal", "io"), repr(out)


def test_a_program_that_is_too_large(tmp_path):
    path = tmp_path / "large.wasm"
    with open(path, "wb") as file:
        file.write(b"\0asm\1\0\0\0")
        file.truncate(33 << 20)
    out = gb.run(path)
    assert "32" in refused(out, "program-too-large"), repr(out)


@pytest.mark.parametrize("what, code", [
    ("nothing.wasm", "not-found"), (".", "invalid-argument io wasm-invalid"),
    ("nothing/at/all.wasm", "not-found"), ("locked.wasm", "permission-denied"),
])
def test_a_program_that_cannot_be_read(tmp_path, what, code):
    if what == "locked.wasm":
        (tmp_path / what).write_bytes(b"\0asm\1\0\0\0")
        (tmp_path / what).chmod(0)
        try:
            (tmp_path / what).read_bytes()
            pytest.skip("this user reads every file")
        except PermissionError:
            pass
    out = gb.run(tmp_path / what)
    assert out.code in code.split() and out.status in (100, 101), repr(out)
    assert str(tmp_path / what) in out.error["message"], repr(out)


def test_a_program_from_a_device():
    out = gb.run("/dev/null")
    refused(out, "wasm-invalid", "invalid-argument", "io")


@pytest.mark.parametrize("text", [
    "(module)", '(module (memory (export "memory") 1))', "(component)",
    '(module (func (export "run")))', '(module (func (export "_start") (param i32)))',
    '(component (component (export "run" (component))))',
])
def test_nothing_to_run(tmp_path, text):
    said = refused(run_bytes(tmp_path, text), "component-invalid", "wasm-invalid")
    assert "run" in said or "_start" in said, said


def test_a_run_of_another_type(tmp_path):
    text = """
(component
  (core module $m (func (export "run") (param i32) (result i32) (local.get 0)))
  (core instance $i (instantiate $m))
  (alias core export $i "run" (core func $run))
  (func (export "run") (param "n" u32) (result u32) (canon lift (core func $run))))
"""
    said = refused(run_bytes(tmp_path, text), "component-invalid")
    assert "string" in said, said


# ---- imports ----


@pytest.mark.parametrize("module, name", [
    ("env", "system"), ("wasi_snapshot_preview1", "fd_teleport"), ("wasi_unstable", "fd_write"),
    ("wasi_snapshot_preview2", "fd_write"), ("", ""), ("env", "\\u{1b}[2J"),
])
def test_a_module_that_imports_what_we_lack(tmp_path, module, name):
    text = wat.command(f'(import "{module}" "{name}" (func))')
    said = refused(run_bytes(tmp_path, text), "import-missing")
    assert module in said, said
    assert "\x1b" not in said, "a guest's control bytes reach the terminal"


def test_a_module_that_imports_a_function_under_another_type(tmp_path):
    text = wat.command('(import "wasi_snapshot_preview1" "fd_write" (func (param f64)))')
    assert "fd_write" in refused(run_bytes(tmp_path, text), "import-missing")


def test_a_module_that_imports_memory(tmp_path):
    text = '(module (import "env" "memory" (memory 1)) (func (export "_start")))'
    assert "env" in refused(run_bytes(tmp_path, text), "import-missing")


def test_an_unknown_interface(tmp_path):
    text = wat.agent(wat.interface("acme:tools/search@1.2.3", "find"))
    said = refused(run_bytes(tmp_path, text), "import-missing")
    assert "acme:tools/search" in said and "1.2.3" in said, said


@pytest.mark.parametrize("version", ["0.3.0", "9.0.0", "0.2.0-rc-2023-11-10"])
def test_a_version_of_wasi_that_we_lack(tmp_path, version):
    text = wat.agent(wat.interface(f"wasi:cli/environment@{version}"))
    said = refused(run_bytes(tmp_path, text), "import-missing")
    assert version in said and "0.2." in said, f"the version that we have is not named: {said}"


def test_every_0_2_version_of_wasi_links(tmp_path):
    for version in ("0.2.0", "0.2.1", "0.2.3", "0.2.6"):
        text = wat.agent(wat.interface(f"wasi:cli/environment@{version}"))
        assert run_bytes(tmp_path, text).code == "ok"


@pytest.mark.parametrize("version", ["0.2.0-rc-2025-01-01", "0.2.0", "0.1.0"])
def test_a_version_of_wasi_nn_that_we_lack(tmp_path, version):
    text = wat.agent(wat.interface(f"wasi:nn/graph@{version}"))
    said = refused(run_bytes(tmp_path, text), "import-missing")
    assert version in said and "0.2.0-rc-2024-10-28" in said, said


def test_the_older_calls_of_wasi_nn_under_the_newer_version(tmp_path):
    text = wat.agent(wat.older_nn_calls("0.2.0-rc-2024-10-28"))
    said = refused(run_bytes(tmp_path, text), "import-missing")
    assert "set-input" in said and "0.2.0-rc-2024-08-19" in said, said
    text = wat.agent(wat.older_nn_calls("0.2.0-rc-2024-08-19"))
    assert run_bytes(tmp_path, text).code == "ok"


@pytest.mark.parametrize("name, grant", [
    ("wasi:http/outgoing-handler@0.2.0", "http"), ("wasi:keyvalue/store@0.2.0-draft2", "kv"),
    ("wasi:sockets/tcp-create-socket@0.2.0", "sockets"),
])
def test_an_interface_that_needs_a_grant(tmp_path, name, grant):
    text = wat.agent(wat.interface(name))
    said = refused(run_bytes(tmp_path, text), "grant-missing")
    assert f"--grant {grant}" in said and name.partition("@")[0] in said, said


@pytest.mark.parametrize("name, grant", [
    ("wasi:sockets/tcp@0.2.0", "sockets"), ("wasi:keyvalue/store@0.2.0-draft2", "kv"),
])
def test_a_grant_that_is_not_built_yet(tmp_path, name, grant):
    out = run_bytes(tmp_path, wat.agent(wat.interface(name)), "--grant", grant)
    refused(out, "unsupported")


def test_an_unknown_grant():
    out = gb.run("--grant", "everything", gb.GUESTS / "echo.wasm")
    assert out.code == "usage-error" and out.status == 2, repr(out)
    assert "nn-load" in gb.messages(out.error), repr(out)


# ---- models ----


def listed(directory, *options):
    out = gb.glovebox("models", "--json", "--models", directory, *options, timeout=180)
    assert out.status in (0, 104), repr(out)
    return out, {m["name"]: m for m in out.json["models"]}


def test_hostile_models_are_listed_as_rejected(hostile_models):
    directory, expected = hostile_models
    out, models = listed(directory)
    assert set(models) == set(expected)
    wrong = {}
    for name, code in expected.items():
        state, reason = models[name]["state"], models[name].get("reason")
        if state != "rejected" or reason["code"] != code:
            wrong[name] = f"{state}, {reason}; expected {code}"
    assert wrong == {}
    assert out.wall_s < gb.slack_s(MODEL_S * len(expected) / 10), repr(out)


def test_the_reason_of_a_rejection_is_one_for_people(hostile_models):
    directory, expected = hostile_models
    _, models = listed(directory)
    for name in expected:
        gb.check_error_object(models[name]["reason"])
        text = gb.messages(models[name]["reason"])
        assert "outside the model directory" not in text, "it read the secret"
        assert all(c.isprintable() or c == "\n" for c in text), f"{name}: {text!r}"
        assert len(text) < 2000, f"{name}: {len(text)} characters"


def test_no_hostile_model_takes_long(hostile_models):
    directory, expected = hostile_models
    names = sorted(expected)
    for name in names if gb.LONG else names[::4]:
        out = gb.glovebox("inspect", "--json", directory / f"{name}.onnx")
        assert out.status >= 0, repr(out)
        assert out.wall_s < gb.slack_s(MODEL_S), repr(out)


def test_a_rejected_model_stops_neither_the_registry_nor_the_others(hostile_models, tmp_path):
    directory, _ = hostile_models
    (tmp_path / "bad.onnx").write_bytes((directory / "external_parent.onnx").read_bytes())
    (tmp_path / "relu3.onnx").write_bytes((gb.TEST_MODELS / "relu3.onnx").read_bytes())
    out = gb.run("--models", tmp_path, gb.GUESTS / "slow.wasm", "relu3 x f32 3")
    assert out.code == "ok", repr(out)
    out = gb.run("--models", tmp_path, gb.GUESTS / "slow.wasm", "bad")
    assert gb.chain(out.error) == ["guest-error", "model-rejected"], repr(out)
    assert out.error["value"].startswith("invalid-encoding: "), repr(out)


@pytest.mark.parametrize("content, code", [
    (b"", "model-invalid"), (b"hello\n", "model-invalid"), (b"GGUF", "model-invalid"),
    (b"\0" * 1000, "model-invalid"), (b"\x08\x08", "model-invalid"),
])
def test_a_file_that_is_no_model(tmp_path, content, code):
    (tmp_path / "m.onnx").write_bytes(content)
    _, models = listed(tmp_path)
    assert models["m"]["state"] == "rejected"
    assert models["m"]["reason"]["code"] == code, models
    out = gb.run("--models", tmp_path, gb.GUESTS / "slow.wasm", "m")
    assert gb.chain(out.error) == ["guest-error", code], repr(out)


def test_a_damaged_model_of_ours(tmp_path):
    """What still passes is loaded in the jail: whatever the engine does is an answer."""
    rng = random.Random(SEED)
    whole = (gb.MODELS / "digits.onnx").read_bytes()
    names = []
    for turn in range(gb.count(12, 300)):
        damaged = bytearray(whole)
        for _ in range(1 + turn % 4):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        names.append(f"damaged{turn:03}")
        (tmp_path / f"{names[-1]}.onnx").write_bytes(damaged)
    _, models = listed(tmp_path)
    assert sorted(models) == names
    for model in models.values():
        assert model["state"] in ("ready", "rejected"), model
        if model["state"] == "rejected":
            assert model["reason"]["code"].startswith(("model-", "backend-")), model


def test_two_models_of_one_stem(tmp_path):
    content = (gb.TEST_MODELS / "relu3.onnx").read_bytes()
    (tmp_path / "same.onnx").write_bytes(content)
    (tmp_path / "same.gguf").write_bytes(b"GGUF")
    out = gb.run("--models", tmp_path, gb.GUESTS / "slow.wasm", "same x f32 3")
    said = refused(out, "model-duplicate")
    assert "same.onnx" in said and "same.gguf" in said, said
    out = gb.glovebox("models", "--json", "--models", tmp_path)
    assert out.code == "model-duplicate" and out.status == 104, repr(out)


def test_one_name_given_twice():
    again = f"relu3={gb.TEST_MODELS}/relu3.onnx"
    out = gb.run(*gb.model("relu3"), "--model", again, gb.GUESTS / "echo.wasm")
    refused(out, "model-duplicate")


def test_a_model_file_that_is_missing(tmp_path):
    out = gb.run("--model", f"m={tmp_path}/none.onnx", gb.GUESTS / "echo.wasm")
    assert str(tmp_path / "none.onnx") in refused(out, "not-found")


def test_a_model_directory_that_is_missing(tmp_path):
    out = gb.run("--models", tmp_path / "none", gb.GUESTS / "echo.wasm")
    assert str(tmp_path / "none") in refused(out, "not-found")


@pytest.mark.parametrize("preload", ["m:ggml:cpu:PATH", "m:GGUF:CPU:PATH", "m:openvino:cpu:PATH",
                                     "m:onnx:gpu:PATH"])
def test_a_backend_that_is_not_built_in(preload):
    path = str(gb.TEST_MODELS / "relu3.onnx")
    out = gb.run("--nn-preload", preload.replace("PATH", path), gb.GUESTS / "slow.wasm",
                 "m x f32 3")
    assert "backend-missing" in gb.chain(out.error), repr(out)


@pytest.mark.parametrize("preload", ["m:onnx:cpu:PATH", "m:ONNX:AUTO:PATH",
                                     "m:autodetect:cpu:PATH"])
def test_the_preload_form_that_other_runtimes_take(preload):
    path = str(gb.TEST_MODELS / "relu3.onnx")
    out = gb.run("--nn-preload", preload.replace("PATH", path), gb.GUESTS / "slow.wasm",
                 "m x f32 3")
    assert out.code == "ok", repr(out)


# ---- sidecars ----


def with_sidecar(folder, text):
    (folder / "relu3.onnx").write_bytes((gb.TEST_MODELS / "relu3.onnx").read_bytes())
    (folder / "relu3.toml").write_text(text)
    return listed(folder)[1]["relu3"]


def test_a_digest_that_does_not_match(tmp_path):
    model = with_sidecar(tmp_path, f'digest = "sha256:{"0" * 64}"\n')
    assert model["state"] == "rejected" and model["reason"]["code"] == "digest-mismatch", model
    assert model["digest"] in gb.messages(model["reason"]), model


@pytest.mark.parametrize("text", ["digest = 3\n", "nonsense\n", 'digst = "x"\n', "threads = -1\n"])
def test_a_sidecar_that_is_wrong(tmp_path, text):
    model = with_sidecar(tmp_path, text)
    assert model["state"] == "rejected" and model["reason"]["code"] == "manifest-invalid", model
    assert "relu3.toml" in gb.messages(model["reason"]), model
