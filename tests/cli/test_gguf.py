# SPDX-License-Identifier: Apache-2.0
"""Language models: files are walked before any engine sees them, and described by what they say."""
import subprocess
import sys

import pytest

import gb


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder of files, and for each its code and a part of the message."""
    folder = tmp_path_factory.mktemp("gguf")
    out = subprocess.run([sys.executable, gb.MODELS / "make_gguf_models.py", folder],
                         capture_output=True, text=True, check=True, timeout=120)
    return folder, {name: (code, part) for name, code, part in
                    (line.split("\t") for line in out.stdout.splitlines())}


@pytest.fixture(scope="module")
def listed(files):
    out = gb.glovebox("models", "--json", "--models", files[0], timeout=180)
    assert out.status == 0, repr(out)
    return {m["name"]: m for m in out.json["models"]}


def test_there_are_enough_of_them(files):
    codes = [code for code, _ in files[1].values()]
    assert codes.count("ok") >= 12
    assert codes.count("model-invalid") >= 60 and codes.count("model-rejected") >= 30


def test_each_file_is_refused_for_its_own_reason(files, listed):
    wrong = {}
    assert set(listed) == set(files[1])
    for name, (code, part) in files[1].items():
        model, reason = listed[name], listed[name]["reason"]
        code = "backend-missing" if code == "ok" else code
        if (model["state"] != "rejected" or model["backend"] != "ggml" or reason["code"] != code
                or part not in reason["message"]):
            wrong[name] = f"{reason}; expected {code}: {part}"
    assert wrong == {}


def test_every_reason_is_one_for_people(listed):
    for name, model in listed.items():
        gb.check_error_object(model["reason"])
        text = gb.messages(model["reason"])
        assert all(c.isprintable() or c == "\n" for c in text), f"{name}: {text!r}"
        assert model["reason"]["hint"] and len(text) < 1000, f"{name}: {text!r}"


def test_only_a_sound_file_is_described(files, listed):
    for name, (code, _) in files[1].items():
        assert ("gguf" in listed[name]) == (code == "ok"), name


def test_inspect_shows_what_it_is(files):
    out = gb.glovebox("inspect", "--json", files[0] / "good_llama.gguf")
    assert out.status == 0 and out.json["findings"] == [], repr(out)
    assert out.json["kind"] == "model" and out.json["state"] == "rejected"
    assert out.json["reason"]["code"] == "backend-missing"
    assert out.json["gguf"] == {
        "architecture": "llama", "title": "Nobody 0.02M", "quantisation": "Q8_0",
        "weights_type": "Q8_0", "tokenizer": "llama", "version": 3, "parameters": 864,
        "context_length": 128, "embedding_length": 32, "blocks": 2, "heads": 4, "kv_heads": 2,
        "vocabulary": 8, "tensors": 7, "tensor_bytes": out.json["gguf"]["tensor_bytes"],
        "header_bytes": out.json["bytes"] - out.json["gguf"]["tensor_bytes"],
        "chat_template_bytes": 50}


def test_inspect_in_words(files):
    out = gb.glovebox("inspect", files[0] / "good_tail.gguf")
    lines = out.stdout.splitlines()
    assert out.status == 0, repr(out)
    assert lines[0].startswith("good_tail  ggml  rejected  "), repr(out)
    assert lines[2:5] == [
        '  llm     llama  864 parameters  Q8_0  weights 1.2 KiB  "Nobody 0.02M"',
        "  sizes   context 128  embedding 32  blocks 2  heads 4 (keys and values 2)",
        "  tokens  8  tokenizer llama  with a chat template"], repr(out)
    assert lines[-1].startswith("  finding 81 bytes follow the last tensor"), repr(out)


def test_no_file_takes_long(files):
    names = sorted(files[1])
    for name in names if gb.LONG else names[::12]:
        out = gb.glovebox("inspect", "--json", files[0] / f"{name}.gguf")
        assert out.status == 0 and out.json["state"] == "rejected", repr(out)
        assert out.wall_s < gb.slack_s(2), repr(out)


def test_a_guest_that_opens_one_is_told_why(files):
    for name, code in (("good_llama", "backend-missing"), ("bad_token_twice", "model-invalid"),
                       ("bad_split_first", "model-rejected")):
        out = gb.run("--model", f"{name}={files[0]}/{name}.gguf", gb.GUESTS / "slow.wasm", name)
        assert gb.chain(out.error) == ["guest-error", code], repr(out)


def test_a_file_of_gguf_under_another_name(files, tmp_path):
    """The content speaks where the name does not."""
    (tmp_path / "m.bin").write_bytes((files[0] / "good_llama.gguf").read_bytes())
    out = gb.glovebox("inspect", "--json", tmp_path / "m.bin")
    assert out.json["gguf"]["architecture"] == "llama", repr(out)
