# SPDX-License-Identifier: Apache-2.0
"""The programs of examples/, compiled against the library beside the program under test."""
import os
import subprocess

import pytest

import gb

# Beside the program under test; sanitized builds have no shared library: then the release's.
PLACES = (gb.BINARY.parent / "lib", gb.BINARY.parents[1] / "lib", gb.ROOT / "build" / "lib")


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    library = next((p for p in PLACES if (p / "libglovebox.so").exists()), None)
    assert library, "there is no libglovebox.so"

    def build(name):
        program = folder / name
        if not program.exists():
            subprocess.run(
                [os.environ.get("CC", "cc"), "-std=c11", "-D_DEFAULT_SOURCE", "-Wall", "-Wextra",
                 "-Wshadow", "-Wconversion", "-Werror", "-O2", f"-I{gb.ROOT}/include",
                 f"{gb.ROOT}/examples/{name}.c", "-o", str(program), f"-L{library}", "-lglovebox",
                 f"-Wl,-rpath,{library}"], check=True)
        return program

    def run(name, *args):
        compiler = os.environ.get("GLOVEBOX_COMPILER", gb.BINARY.parent / "glovebox-compiler")
        return gb.command([build(name), *args], env=gb.environment(GLOVEBOX_COMPILER=compiler),
                          stdin=subprocess.DEVNULL)
    return run


def test_embed_in_40_lines(example):
    assert len((gb.ROOT / "examples" / "embed.c").read_text().splitlines()) <= 40
    out = example("embed", gb.GUESTS / "echo.wasm", "hello")
    assert (out.status, out.stdout, out.stderr) == (0, "hello\n", ""), repr(out)
    out = example("embed", "nowhere.wasm")
    assert out.status == 101 and out.stderr.startswith("error: not-found: "), repr(out)


def test_a_custom_interface(example):
    out = example("custom_interface", gb.GUESTS / "metered.wasm", "", "bytes", "nope")
    assert out.status == 0, repr(out)
    assert out.stdout.splitlines() == [
        "requests 3 counted", "bytes 0 measured",
        'error: the agent answered with the error "no such metric"',
        "metric requests: total 9, last 0", "metric bytes: total 0, last 4"]


def test_a_custom_interface_without_its_grant(example):
    out = example("custom_interface", gb.GUESTS / "metered.wasm", "--no-grant")
    assert out.status == 101, repr(out)
    assert out.stderr == (
        'error: grant-missing: the program imports "acme:metrics/metrics@1.0.0", which needs the '
        'grant "acme:metrics/metrics@1.0.0"\n')


def test_a_host_function_that_fails_traps_the_guest_with_its_error(example):
    out = example("custom_interface", gb.GUESTS / "metered.wasm", "x" * 1001, "")
    assert out.stdout.splitlines()[:3] == [
        "error: the host's function \"gauge\" of \"acme:metrics/metrics@1.0.0\" failed",
        "cause: invalid-argument: a gauge goes up to 1000",
        "requests 6 counted"], repr(out)


@pytest.mark.parametrize("imports,text", [
    ('(export "counter" (func (param "name" string) (param "value" u32)))',
     'as func(name: string, value: u32); this host has func(name: string, value: u64)'),
    ('(export "count" (func))',
     '"count" of "acme:metrics/metrics@1.0.0", which this host does not have'),
])
def test_another_type_is_said_before_anything_runs(example, tmp_path, imports, text):
    path = tmp_path / "other.wat"
    path.write_text(f'(component (import "acme:metrics/metrics@1.0.0" (instance {imports})))')
    out = example("custom_interface", path, "x")
    assert out.status == 101 and "error: import-missing: " in out.stderr, repr(out)
    assert text in out.stderr, repr(out)


def test_another_version_is_said(example, tmp_path):
    path = tmp_path / "other.wat"
    path.write_text('(component (import "acme:metrics/metrics@2.0.0" (instance)))')
    out = example("custom_interface", path, "x")
    assert "error: import-missing: " in out.stderr
    assert "this host has acme:metrics/metrics@1.0.0" in out.stderr


def test_1000_calls_on_one_thread(example):
    out = example("epoll_1000", gb.GUESTS / "echo.wasm", "hi")
    assert (out.status, out.stdout) == (0, "1000 calls, 1000 ok\n"), repr(out)


def test_a_tenant_over_budget(example):
    out = example("over_budget", gb.GUESTS / "membomb.wasm")
    assert out.status == 0 and out.stdout.endswith("3 of 3 calls went over the budget\n"), repr(out)
