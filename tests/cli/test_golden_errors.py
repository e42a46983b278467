# SPDX-License-Identifier: Apache-2.0
"""The words of errors: message and hint, each written by hand before the program said them.

A file of golden/errors holds cases:
  # what it shows
  $ the command line, as a shell reads it
  = its exit status
  error: CODE: message
  hint: …
  cause: CODE: message
Placeholders: {TMP} a folder with the files of `material`, {ROOT} the repository, {GUESTS} the
folder of guests, {N} a number, {*} anything within a line. Standard error must be just these lines.
"""
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

import gb
import wat

HERE = pathlib.Path(__file__).parent / "golden" / "errors"


def cases():
    found = []
    for path in sorted(HERE.glob("*.txt")):
        for block in path.read_text().split("\n\n"):
            lines = [line for line in block.splitlines() if line]
            if not lines or all(line.startswith("#") for line in lines):
                continue
            title = lines[0].removeprefix("# ")
            assert lines[0].startswith("# ") and lines[1].startswith("$ glovebox "), block
            assert lines[2].startswith("= "), block
            found.append(pytest.param(lines[1][len("$ glovebox "):], int(lines[2][2:]), lines[3:],
                                      id=f"{path.stem}: {title}"))
    return found


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden")
    hello = (gb.GUESTS / "hello-p1.wasm").read_bytes()
    (folder / "empty.wasm").write_bytes(b"")
    (folder / "text.wasm").write_bytes(b"This is no program.\n")
    (folder / "cut.wasm").write_bytes(hello[:len(hello) // 2])
    (folder / "nothing.wat").write_text("(module)")
    (folder / "env.wat").write_text(wat.command('(import "env" "system" (func))'))
    (folder / "unknown.wat").write_text(
        wat.agent(wat.interface("acme:tools/search@1.2.3", "find")))
    (folder / "future.wat").write_text(
        wat.agent(wat.interface("wasi:nn/graph@0.2.0-rc-2031-01-01")))
    (folder / "older.wat").write_text(wat.agent(wat.older_nn_calls("0.2.0-rc-2024-10-28")))
    (folder / "http.wat").write_text(wat.agent(wat.interface("wasi:http/outgoing-handler@0.2.0")))
    (folder / "kv.wat").write_text(wat.agent(wat.interface("wasi:keyvalue/store@0.2.0-draft2")))
    (folder / "trap.wat").write_text(wat.command(body="(unreachable)"))
    (folder / "text.so").write_text("This is no library.\n")
    (folder / "none").mkdir()
    two = folder / "two"
    two.mkdir()
    (two / "same.onnx").write_bytes((gb.TEST_MODELS / "relu3.onnx").read_bytes())
    (two / "same.gguf").write_bytes(b"GGUF")
    subprocess.run([sys.executable, gb.MODELS / "make_gguf_models.py", "--bytes-max", "65536",
                    folder / "gguf"], check=True, stdout=subprocess.DEVNULL, timeout=60)
    return folder


def filled(text, folder):
    for name, value in (("{TMP}", folder), ("{ROOT}", gb.ROOT), ("{GUESTS}", gb.GUESTS)):
        text = text.replace(name, str(value))
    return text


def pattern(lines, folder):
    text = filled("\n".join(lines), folder)
    parts = re.split(r"(\{\*\}|\{N\})", text)
    known = {"{*}": ".*", "{N}": r"\d[\d,.]*"}
    return "".join(known.get(p) or re.escape(p) for p in parts)


@pytest.mark.parametrize("line, status, expected", cases())
def test_error_text(material, line, status, expected):
    out = gb.glovebox(*shlex.split(filled(line, material)))
    wanted = "\n".join(expected)
    assert re.fullmatch(pattern(expected, material), out.stderr.rstrip("\n")), (
        f"\n--- expected\n{wanted}\n--- got\n{out.stderr}{out!r}")
    assert out.status == status, repr(out)


def test_every_error_text_has_a_hint():
    """But for a trap: only the guest's author knows."""
    for case in cases():
        lines = case.values[2]
        assert lines[0].startswith("error: "), case.id
        if not lines[0].startswith("error: guest-trap"):
            assert any(line.startswith("hint: ") for line in lines), case.id
