# SPDX-License-Identifier: Apache-2.0
"""What the program needs is missing, wrong or scarce: a typed error that names it."""
import os
import resource
import subprocess

import pytest

import gb

RELU3 = ("load relu3", "tensor x f32 3 ones", "compute")


def refused(out, code, *names):
    """The run failed with this code, or the guest was told and passed it on."""
    assert code in gb.chain(out.error), repr(out)
    assert out.status in (1, gb.exit_statuses()[code]), repr(out)
    said = gb.messages(out.error)
    for name in names:
        assert str(name) in said, f"{name} is not named{out!r}"


@pytest.mark.parametrize("how", ["option", "environment"])
def test_no_worker_program(tmp_path, how):
    path = tmp_path / "no-such-worker"
    options = ["--worker", path] if how == "option" else []
    env = gb.environment(GLOVEBOX_WORKER=path if how == "environment" else None)
    out = gb.probe(RELU3, *options, models=["relu3"], env=env)
    refused(out, "backend-missing", path)
    assert gb.run(gb.GUESTS / "echo.wasm", "hi", *[]).json["result"] == "hi"


def test_a_worker_program_that_is_something_else():
    out = gb.probe(RELU3, "--worker", "/bin/true", models=["relu3"])
    assert {"backend-lost", "backend-missing", "backend-incompatible"} & set(gb.chain(out.error))
    assert "/bin/true" in gb.messages(out.error) or "worker" in gb.messages(out.error), repr(out)
    assert out.wall_s < 10


def test_a_worker_program_that_cannot_be_executed(tmp_path):
    path = tmp_path / "worker"
    path.write_text("not a program")
    out = gb.probe(RELU3, "--worker", path, models=["relu3"])
    refused(out, "backend-missing", path)


def test_a_guest_without_inference_needs_no_worker(tmp_path):
    out = gb.run("--worker", tmp_path / "no-such-worker", gb.GUESTS / "echo.wasm", "hi")
    assert out.code == "ok", repr(out)


@pytest.mark.parametrize("how", ["option", "environment"])
def test_no_engine_library(tmp_path, how):
    path = tmp_path / "libonnxruntime.so.1"
    options = ["--ort-lib", path] if how == "option" else []
    env = gb.environment(GLOVEBOX_ORT_LIB=path if how == "environment" else None)
    out = gb.probe(RELU3, *options, models=["relu3"], env=env)
    refused(out, "backend-missing", path)


def test_an_engine_library_that_is_text(tmp_path):
    path = tmp_path / "libonnxruntime.so.1"
    path.write_text("This is no library.\n")
    out = gb.probe(RELU3, "--ort-lib", path, models=["relu3"])
    chain = gb.chain(out.error)
    assert "backend-incompatible" in chain or "backend-missing" in chain, repr(out)
    assert str(path) in gb.messages(out.error), repr(out)


NO_API = """
struct base { const void *(*api)(unsigned); const char *(*version)(void); };
static const void *api(unsigned version) { (void)version; return 0; }
static const char *version(void) { return "1.2.3"; }
static const struct base table = {api, version};
const struct base *OrtGetApiBase(void);
const struct base *OrtGetApiBase(void) { return &table; }
"""


def shared_library(folder, source):
    (folder / "engine.c").write_text(source)
    path = folder / "libonnxruntime.so.1"
    out = gb.command(["gcc", "-shared", "-fPIC", "-o", path, folder / "engine.c"])
    assert out.status == 0, repr(out)
    return path


def test_an_engine_library_that_is_too_old(tmp_path):
    path = shared_library(tmp_path, NO_API)
    out = gb.probe(RELU3, "--ort-lib", path, models=["relu3"])
    refused(out, "backend-incompatible", "1.2.3")


def test_a_library_that_is_no_engine(tmp_path):
    path = shared_library(tmp_path, "int something_else;\n")
    out = gb.probe(RELU3, "--ort-lib", path, models=["relu3"])
    refused(out, "backend-incompatible", path)


def test_an_engine_library_that_crashes_when_loaded(tmp_path):
    crash = "#include <stdlib.h>\n__attribute__((constructor)) static void now(void) { abort(); }\n"
    path = shared_library(tmp_path, crash)
    out = gb.probe(RELU3, "--ort-lib", path, models=["relu3"])
    assert {"backend-lost", "backend-failed"} & set(gb.chain(out.error)), repr(out)
    assert out.wall_s < 10


def test_doctor_says_what_is_missing(tmp_path):
    out = gb.glovebox("doctor", "--json", "--ort-lib", tmp_path / "none.so")
    assert out.json["ok"] is False, repr(out)
    assert out.status == 104, repr(out)
    failed = [c for c in out.json["checks"] if c["required"] and not c["ok"]]
    assert failed and any("none.so" in c["detail"] for c in failed), repr(out)
    assert all(c.get("hint") for c in failed), repr(out)


def limited(what, value):
    def apply():
        resource.setrlimit(what, (value, value))
    return apply


@pytest.mark.parametrize("descriptors", [8, 12, 16, 20, 24, 32, 48])
@pytest.mark.parametrize("jobs", [1, 8])
def test_few_descriptors(descriptors, jobs):
    """Works, or says that descriptors ran out; the exit status agrees."""
    out = gb.glovebox("run", "--json", *gb.model("relu3"), "--repeat", jobs, "--jobs", jobs,
                      gb.GUESTS / "slow.wasm", "relu3 x f32 3",
                      preexec_fn=limited(resource.RLIMIT_NOFILE, descriptors))
    gb.check_run_object(out)
    if out.json["ok"]:
        assert out.status == 0
        return
    said = gb.messages(out.error).lower()
    assert "descriptor" in said or "open files" in said, repr(out)
    assert out.status in (1, 100, 104), repr(out)


def test_a_limit_of_32_descriptors_is_enough():
    out = gb.glovebox("run", "--json", *gb.model("relu3"), gb.GUESTS / "slow.wasm", "relu3 x f32 3",
                      preexec_fn=limited(resource.RLIMIT_NOFILE, 32))
    assert out.code == "ok" or "descriptor" in gb.messages(out.error).lower() or (
        "open files" in gb.messages(out.error).lower()), repr(out)


@pytest.mark.parametrize("gib", [1, 2, 4, 16])
def test_little_address_space(gib):
    """The pool cannot be reserved: a fallback that works, or an error that says so."""
    out = gb.glovebox("run", "--json", gb.GUESTS / "echo.wasm", "hi",
                      preexec_fn=limited(resource.RLIMIT_AS, gib << 30))
    gb.check_run_object(out)
    if not out.json["ok"]:
        said = gb.messages(out.error).lower()
        assert "address space" in said or "memory" in said, repr(out)


def test_no_home_and_no_environment():
    env = {"PATH": os.environ["PATH"]}
    for name in gb.PASSED_ON:
        if name in os.environ:
            env[name] = os.environ[name]
    assert gb.probe(RELU3, models=["relu3"], env=env).code == "ok"


def test_closed_standard_streams():
    """0, 1 and 2 closed: no file that it opens may take their place and get our output."""
    script = f'exec "{gb.BINARY}" run "{gb.GUESTS}/echo.wasm" hi <&- >&- 2>&-'
    done = subprocess.run(["sh", "-c", script], env=gb.environment(), cwd=gb.ROOT, timeout=30)
    assert done.returncode in (0, 100), done.returncode
