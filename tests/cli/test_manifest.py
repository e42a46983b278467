# SPDX-License-Identifier: Apache-2.0
"""`glovebox check` and `glovebox config`: bad manifests against golden texts, good ones by value.

golden/manifest/*.txt holds cases: a line `# title`, the manifest up to `---`, what check writes to
stderr up to an empty line. To write the texts anew: GLOVEBOX_GOLDEN_WRITE=1, then read the diff.
"""
import json
import os
import pathlib
import re

import pytest

import gb
import wat

HERE = pathlib.Path(__file__).parent / "golden" / "manifest"
SAMPLES = gb.ROOT / "tests" / "manifests"


def cases_of(path):
    for block in re.split(r"\n\n(?=# )", path.read_text().strip("\n")):
        head, _, expected = (block + "\n").partition("---\n")
        title, _, manifest = head.partition("\n")
        yield title.removeprefix("# "), manifest, expected.strip("\n")


def cases():
    return [pytest.param(path.stem, manifest, expected, id=f"{path.stem}: {title}")
            for path in sorted(HERE.glob("*.txt")) for title, manifest, expected in cases_of(path)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("manifest")
    (path / "echo.wasm").write_bytes((gb.GUESTS / "echo.wasm").read_bytes())
    (path / "text.wasm").write_bytes(b"This is no program.\n")
    (path / "unknown.wat").write_text(wat.agent(wat.interface("acme:tools/search@1.2.3", "find")))
    return path


def check(folder, text, *options):
    (folder / "m.toml").write_text(text)
    return gb.glovebox("check", *options, "m.toml", cwd=folder)


def known(text):
    return re.sub(r"sha256:(?!0{64}|a{64}|b{64})[0-9a-f]{64}", "sha256:{DIGEST}", text)


@pytest.mark.skipif(not os.environ.get("GLOVEBOX_GOLDEN_WRITE"), reason="writes the golden texts")
def test_write_golden(folder):
    for path in HERE.glob("*.txt"):
        blocks = [f"# {title}\n{manifest}---\n{known(check(folder, manifest).stderr)}"
                  for title, manifest, _ in cases_of(path)]
        path.write_text("\n".join(blocks))


@pytest.mark.parametrize("kind, manifest, expected", cases())
def test_bad_manifest(folder, kind, manifest, expected):
    out = check(folder, manifest)
    assert known(out.stderr.rstrip("\n")) == expected, repr(out)
    errors = [line for line in expected.splitlines() if line.startswith("error: ")]
    assert errors and out.status in (101, 104), repr(out)
    assert out.stdout == f"m.toml: wrong, {len(errors)} errors\n"


def test_every_finding_has_a_hint_and_a_place():
    seen = 0
    for case in cases():
        lines = case.values[2].splitlines()
        for at, line in enumerate(lines):
            if line.startswith(("error: ", "warning: ")):
                seen += 1
                assert lines[at + 1].startswith("hint: "), f"{case.id}: {line}"
                assert re.match(r"(error|warning): [a-z-]+: m\.toml(:\d+:\d+)?: ", line), case.id
    assert seen > 100
