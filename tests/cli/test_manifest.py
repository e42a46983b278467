# SPDX-License-Identifier: Apache-2.0
"""`glovebox check` and `glovebox config`: bad manifests against golden texts, good ones by value.

golden/manifest/*.txt holds cases: a line `# title`, the manifest up to `---`, what check writes to
stderr up to an empty line. To write the texts anew: GLOVEBOX_GOLDEN_WRITE=1, then read the diff.
"""
import json
import os
import pathlib
import re
import tomllib

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


# ---- what is right ----


HTTP = "wasi:http/incoming-handler"


@pytest.mark.parametrize("name, kind, entry, later", [
    ("glovebox", "glovebox", "agent", "variables"),
    ("spin", "spin", HTTP, "allowed-outbound-hosts"),
    ("minimal", "glovebox", HTTP, None)])
def test_samples_are_right(name, kind, entry, later):
    """But for what no server does yet, which check says as serve would."""
    out = gb.glovebox("check", "--json", SAMPLES / f"{name}.toml")
    value = out.json
    assert out.status == (101 if later else 0) and value["ok"] is not bool(later), repr(out)
    assert [e["code"] for e in value["errors"]] == (["unsupported"] if later else []), repr(out)
    assert not later or f" sets {later}, " in value["errors"][0]["message"], repr(out)
    assert value["kind"] == kind and value["left_out"] == 0
    for component in value["components"]:
        assert component["entry"] == entry and component["digest"].startswith("sha256:")
        assert component["bytes"] > 8
    text = gb.glovebox("check", SAMPLES / f"{name}.toml")
    assert (": wrong, 1 errors" if later else ": ok, 1 components") in text.stdout, repr(text)


def test_programs_are_manifests():
    out = gb.glovebox("check", "--json", gb.GUESTS / "echo.wasm")
    assert out.status == 0 and out.json["kind"] == "program", repr(out)
    assert out.json["routes"] == [
        {"path": "/...", "methods": [], "answers": "main", "kind": "auto"}]
    http = gb.glovebox("check", gb.GUESTS / "hello-http.wasm")
    assert http.status == 0 and http.stderr == "", repr(http)
    command = gb.glovebox("check", gb.GUESTS / "hello.wasm")
    assert command.status == 101 and "exports neither" in command.stderr, repr(command)


def test_errors_as_json(folder):
    out = check(folder, "[host]\nloops = true\n[limit]\n", "--json")
    value = out.json
    assert out.status == 101 and value["ok"] is False
    assert [e["code"] for e in value["errors"]] == ["manifest-invalid"] * 2
    for error in value["errors"] + value["warnings"]:
        gb.check_error_object(error)
        assert error["hint"]


def test_the_exit_status_is_that_of_the_first_error(folder):
    model = gb.TEST_MODELS / "relu3.onnx"
    (folder / "bad.onnx").write_bytes(model.read_bytes()[:40])
    out = check(folder, '[model.m]\nsource = "bad.onnx"\n')
    assert out.status == 104 and "model-invalid" in out.stderr, repr(out)
    missing = gb.glovebox("check", folder / "none.toml")
    assert missing.status == 101 and missing.stderr.startswith("error: not-found: "), repr(missing)
    directory = gb.glovebox("check", folder)
    assert directory.status == 101 and "is a directory" in directory.stderr, repr(directory)
    (folder / "long.toml").write_text("#" * (1 << 20) + "\n")
    long = gb.glovebox("check", folder / "long.toml")
    assert long.status == 101 and "hint: Give a file of at most 1 MiB" in long.stderr, repr(long)
    no_file = gb.glovebox("check", "--json")
    assert no_file.status == 2 and no_file.code == "usage-error"


def test_a_component_and_its_models_by_digest(folder):
    digest = gb.glovebox("check", "--json", gb.GUESTS / "echo.wasm").json["components"][0]["digest"]
    (folder / "m").mkdir(exist_ok=True)
    (folder / "m" / "relu.onnx").write_bytes((gb.TEST_MODELS / "relu3.onnx").read_bytes())
    text = (f'[host]\nmodels = "m"\n[component.a]\nsource = "echo.wasm"\ndigest = "{digest}"\n'
            'models = ["relu"]\n[[route]]\npath = "/"\ncomponent = "a"\n')
    assert check(folder, text).status == 0
    other = check(folder, text.replace('"relu"', '"relu@sha256:' + "0" * 64 + '"'))
    assert other.status == 101 and "digest-mismatch" in other.stderr, repr(other)
    unknown = check(folder, text.replace('"relu"', '"rely"'))
    assert unknown.status == 104 and "model-not-found" in unknown.stderr, repr(unknown)


def test_a_missing_grant_names_the_line_to_type(folder):
    (folder / "http.wat").write_text(wat.agent(wat.interface("wasi:http/outgoing-handler@0.2.0")))
    text = '[component.a]\nsource = "http.wat"\n[[route]]\npath = "/"\ncomponent = "a"\n'
    out = check(folder, text)
    assert out.status == 101 and "error: grant-missing: m.toml:1:12" in out.stderr, repr(out)
    assert 'hint: Write grants = ["http"] in [component.a].' in out.stderr, repr(out)


def test_routes_that_come_before_others_are_listed(folder):
    text = ('[tenant.t]\nhosts = ["a"]\n[component.a]\nsource = "echo.wasm"\n'
            '[[route]]\npath = "/a/..."\ncomponent = "a"\n'
            '[[route]]\npath = "/a/b"\ncomponent = "a"\n'
            '[[route]]\npath = "/a/b/c"\ncomponent = "a"\ntenant = "t"\n')
    out = check(folder, text, "--json")
    assert out.status == 0 and out.json["warnings"] == [], repr(out)
    assert sorted((s["path"], s["takes_from"]) for s in out.json["shadows"]) == [
        ("/a/b", "/a/..."), ("/a/b/c", "/a/...")]
    assert "  /a/b comes before /a/...\n" in check(folder, text).stdout


def test_what_the_table_of_routes_refuses_is_refused_here(folder):
    text = ('[component.a]\nsource = "echo.wasm"\n[[route]]\npath = "/%61"\ncomponent = "a"\n'
            '[[route]]\npath = "/a"\ncomponent = "a"\n')
    out = check(folder, text)
    assert out.status == 101 and "take the same requests" in out.stderr, repr(out)


def settings(*args, **kwargs):
    out = gb.glovebox("config", "--json", *args, **kwargs)
    assert out.status == 0, repr(out)
    return {s["key"]: s for s in out.json["settings"]}


def test_config_says_where_each_value_came_from():
    found = settings(SAMPLES / "glovebox.toml")
    assert found["host.listen"]["value"] == '"127.0.0.1:0"'
    assert (found["host.listen"]["origin"], found["host.listen"]["at"]) == ("file", "4:1")
    assert found["host.http.header-bytes"]["value"] == '"16KiB"'
    assert found["host.loops"] == {"key": "host.loops", "value": "0", "origin": "default",
                                   "at": None, "from": None}
    assert found["tenant.acme.limits.deadline"]["value"] == '"2s"'
    assert "tenant.acme.limits.memory" not in found
    assert found["tenant.acme.budgets.kv-bytes"]["origin"] == "default"
    text = gb.glovebox("config", SAMPLES / "glovebox.toml")
    assert 'limits.memory = "32MiB"  # ' in text.stdout, repr(text)
    assert 'limits.handles = 1024  # default\n' in text.stdout, repr(text)


def test_config_never_shows_secrets(folder):
    (folder / "secret").write_text("file-hush\n")
    (folder / "m.toml").write_text(
        '[component.a]\nsource = "echo.wasm"\nenv = { A = { env = "GB_SECRET" }, B = "plain" }\n'
        'variables = { c = { file = "secret" } }\n')
    out = gb.glovebox("config", "m.toml", cwd=folder, env=gb.environment(GB_SECRET="env-hush"))
    assert out.status == 0 and "hush" not in out.stdout + out.stderr, repr(out)
    assert "component.a.env.A = (secret)  # $GB_SECRET, m.toml:3:9\n" in out.stdout, repr(out)
    assert "component.a.variables.c = (secret)  # secret, m.toml:4:15\n" in out.stdout, repr(out)
    bare = gb.glovebox("check", "m.toml", cwd=folder)
    assert 'has no "GB_SECRET"' in bare.stderr, repr(bare)
    assert bare.stderr.count("error: ") == 1 and " sets variables, " in bare.stderr, repr(bare)
    spin = gb.glovebox("config", SAMPLES / "spin.toml",
                       env=gb.environment(SPIN_VARIABLE_TOKEN="env-hush"))
    assert spin.status == 0 and "hush" not in spin.stdout, repr(spin)
    assert "component.hello.variables.auth = (secret)" in spin.stdout, repr(spin)


def test_config_of_a_wrong_manifest_is_its_first_error(folder):
    (folder / "m.toml").write_text("[host]\nloops = true\nlanes = true\n")
    out = gb.glovebox("config", "m.toml", cwd=folder)
    assert out.status == 101 and out.stderr.startswith("error: manifest-invalid: m.toml:2:1: ")
    assert "(1 more; `glovebox check` lists them.)" in out.stderr, repr(out)


def test_paths_are_taken_from_the_manifest(folder):
    (folder / "deep").mkdir(exist_ok=True)
    (folder / "deep" / "m.toml").write_text(
        '[component.a]\nsource = "../echo.wasm"\n[[route]]\npath = "/"\ncomponent = "a"\n')
    link = folder / "link.toml"
    link.unlink(missing_ok=True)
    link.symlink_to(folder / "m.toml")
    (folder / "m.toml").write_text('[[route]]\npath = "/"\nstatic = { body = "x" }\n')
    assert gb.glovebox("check", folder / "deep" / "m.toml").status == 0
    assert gb.glovebox("check", "deep/m.toml", cwd=folder).status == 0
    assert gb.glovebox("check", link).status == 0


# ---- the schema for editors ----


def fits(value, schema, root):
    """Enough of JSON Schema for the one that we write."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        return any(fits(value, s, root) for s in schema["anyOf"])
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    if "type" in schema and not isinstance(value, kinds[schema["type"]]):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if isinstance(value, str):
        return re.search(schema.get("pattern", ""), value) is not None
    if isinstance(value, dict):
        known, more = schema.get("properties", {}), schema.get("additionalProperties", True)
        return all(k in value for k in schema.get("required", [])) and all(
            fits(v, known[k], root) if k in known else more and fits(v, more, root)
            for k, v in value.items())
    if isinstance(value, list):
        return all(fits(v, schema["items"], root) for v in value)
    return schema.get("minimum", value) <= value <= schema.get("maximum", value)


def test_the_schema_agrees_about_keys_and_types(folder):
    schema = json.loads((gb.ROOT / "docs" / "manifest.schema.json").read_text())
    for name in ("glovebox", "minimal"):
        assert fits(tomllib.loads((SAMPLES / f"{name}.toml").read_text()), schema, schema)
    refused = 0
    for case in cases():
        kind, manifest, expected = case.values
        try:
            value = tomllib.loads(manifest)
        except tomllib.TOMLDecodeError:
            continue
        if kind == "glovebox" and re.search("unknown key|; it takes ", expected):
            assert not fits(value, schema, schema), case.id
            refused += 1
    assert refused > 10
