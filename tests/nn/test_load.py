# SPDX-License-Identifier: Apache-2.0
"""Models from the guest's bytes (--grant nn-load): the same answers and the same refusals as for a
file of the registry, each in a worker of its own that ends with the call."""
import os
import signal
import time

import numpy
import pytest

import gb
import witx as core

GRANT = ("--grant", "nn-load")
DIGITS = (gb.MODELS / "digits.onnx").read_bytes()
STYLES = ["1028", "0819", "0625"]
INFER = ["tensor input f32 1,64 seq", "compute", "get probabilities"]
SLOW = "#!/bin/sh\nsleep 60\n"


def relu3():
    return (gb.TEST_MODELS / "relu3.onnx").read_bytes()


def probe(statements, *options, style="1028", grant=GRANT, **kwargs):
    """Through stdin: a model in hex is longer than an argument may be."""
    guest = gb.GUESTS / ("nn-probe.wasm" if style == "1028" else f"nn-probe-{style}.wasm")
    return gb.run(*gb.model(), *grant, *options, guest, "-", input=";".join(statements).encode(),
                  **kwargs)


def load(model):
    return f"loadbytes {model.hex() or '-'}"


def refused(out, code, told):
    assert out.code == "guest-error", repr(out)
    assert out.error["value"].startswith(f"{told}: "), repr(out)
    assert out.error["cause"]["code"] == code, repr(out)
    return gb.messages(out.error)


def slow_worker(tmp_path):
    path = tmp_path / "slow-worker"
    path.write_text(SLOW)
    path.chmod(0o755)
    return path


# ---- what works ----


@pytest.mark.parametrize("style", STYLES)
def test_the_same_answer_as_from_the_registry(style):
    given = probe([load(DIGITS), *INFER], style=style)
    named = gb.probe(["load digits", *INFER], models=["digits"], style=style)
    assert given.code == "ok", repr(given)
    assert given.json["result"] == named.json["result"]
    assert given.json["usage"]["inference_calls"] == 1
    assert given.json["usage"]["ledger_peak_bytes"] > 64 << 20, "the worker's memory is charged"


def test_autodetect_and_a_dropped_graph_whose_context_goes_on():
    out = probe([f"loadas 6 0 {DIGITS.hex()}", "ctx", "dropgraph", *INFER])
    assert out.code == "ok", repr(out)


def core_load(tmp_path, model, encoding=1, *options, pages=2, size=None):
    """A module that answers with load's errno, and the model behind its first page."""
    body = core.call("load", 512, 1, encoding, 0, core.GRAPH)
    data = [(512, core.words(core.PAGE, len(model) if size is None else size))]
    data += [(core.PAGE, core.escaped(model))] if model else []
    text = core.module(body, data, memory=f'(memory (export "memory") {pages})')
    return core.run(tmp_path, text, *GRANT, *options)


@pytest.mark.parametrize("encoding", [1, 5])
def test_the_core_abi_loads_and_infers(tmp_path, encoding):
    model = relu3()
    calls = [core.call("load", 512, 1, encoding, 0, core.GRAPH),
             core.call("init_execution_context", "(call $graph)", core.CONTEXT),
             core.call("set_input", "(call $context)", 0, 256),
             core.call("compute", "(call $context)"),
             core.call("get_output", "(call $context)", 0, core.BUFFER, 12, core.WRITTEN)]
    body = (f"(block (result i32) {core.must(*calls)}"
            f" (call $print (i32.const {core.BUFFER}) (i32.const 12)) (i32.const 0))")
    array = numpy.array([-1, 0, 2.5], "f4")
    data = core.tensor(256, "f32", array, 2048) + [
        (512, core.words(4096, len(model))), (4096, core.escaped(model))]
    out = core.run(tmp_path, core.module(body, data), *GRANT)
    core.errno(out, core.OK)
    assert gb.stdout_of(out.json) == numpy.array([0, 0, 2.5], "f4").tobytes()


# ---- what is refused ----


def test_without_the_grant():
    said = refused(probe([load(DIGITS)], grant=()), "grant-missing", "security")
    assert "nn-load" in said, said


def test_the_core_abi_without_the_grant(tmp_path):
    body = core.call("load", 512, 1, 1, 0, core.GRAPH)
    out = core.run(tmp_path, core.module(body, [(512, core.words(1024, 4))]))
    core.errno(out, core.UNSUPPORTED, "grant-missing")


@pytest.mark.parametrize("name, model", [
    ("nothing", b""), ("garbage", bytes(range(256)) * 40), ("html", b"<!DOCTYPE html><html>"),
    ("half", DIGITS[:len(DIGITS) // 2])])
def test_what_is_no_model(name, model):
    refused(probe([load(model)]), "model-invalid", "invalid-encoding")


def test_hostile_models_never_reach_an_engine(hostile_models, tmp_path):
    directory, codes = hostile_models
    batch, size, seen = [], 0, 0
    broken = tmp_path / "no-worker"
    for name, code in codes.items():
        path = directory / f"{name}.onnx"
        if path.stat().st_size > 200_000:
            continue
        statement = f"try {load(path.read_bytes())}"
        if size + len(statement) > 900_000:
            seen += check_batch(batch, broken)
            batch, size = [], 0
        batch.append(statement)
        size += len(statement) + 1
    seen += check_batch(batch, broken)
    assert seen > 50


def check_batch(batch, worker):
    """With a worker program that does not exist: what is refused is refused before the engine."""
    printed = probe(batch, "--worker", worker, "--memory", "512MiB")
    lines = [line for line in printed.json["result"].splitlines() if line.startswith("error ")]
    assert len(lines) == len(batch), repr(printed)
    assert all(line.startswith("error invalid-encoding: ") for line in lines), lines
    return len(batch)


@pytest.mark.parametrize("statement, code, told", [
    ("loadas 0 0 08", "backend-missing", "unsupported-operation"),
    ("loadas 2 0 08", "unsupported", "unsupported-operation"),
    ("loadas 3 0 08", "unsupported", "unsupported-operation"),
    ("loadas 4 0 08", "unsupported", "unsupported-operation"),
    ("loadas 5 0 08", "model-invalid", "invalid-encoding"),
    ("loadas 1 1 08", "backend-missing", "unsupported-operation"),
    ("loadas 1 2 08", "backend-missing", "unsupported-operation"),
    ("loadas 1 0", "invalid-argument", "invalid-argument"),
    ("loadas 1 0 08 08", "invalid-argument", "invalid-argument"),
])
def test_encodings_targets_and_parts(statement, code, told):
    refused(probe([statement]), code, told)


@pytest.mark.parametrize("encoding, number, cause", [
    (0, core.UNSUPPORTED, "backend-missing"), (2, core.UNSUPPORTED, "unsupported"),
    (6, core.ENCODING, "model-invalid"), (7, core.INVALID, "invalid-argument")])
def test_encodings_of_the_core_abi(tmp_path, encoding, number, cause):
    core.errno(core_load(tmp_path, b"\x08\x08", encoding), number, cause)


# ---- limits ----


def test_a_model_that_is_too_large(tmp_path):
    out = core_load(tmp_path, b"", 1, "--memory", "128MiB", pages=1100, size=(64 << 20) + 1)
    core.errno(out, core.TOO_LARGE, "model-too-large")


def test_a_model_that_does_not_fit_the_budget():
    said = refused(probe([load(DIGITS)], "--budget", "60MiB"), "budget-exceeded", "too-large")
    assert "graphs" in said, said


def test_one_model_more_than_the_limit():
    at_limit = ["repeat 4", load(relu3())]
    out = probe([*at_limit], "--budget", "2GiB")
    assert out.code == "ok", repr(out)
    out = probe([load(relu3())] * 5, "--budget", "2GiB")
    said = refused(out, "budget-exceeded", "too-large")
    assert "4 models" in said, said


def test_room_that_comes_back_is_waited_for():
    """Each load needs most of the budget, and the one before has only just been let go."""
    turn = [load(relu3()), "ctx", "dropctx", "dropgraph"]
    out = probe(turn * 5, "--budget", "100MiB")
    assert out.code == "ok", repr(out)


def test_a_load_ends_at_the_deadline(tmp_path):
    with gb.Running("run", "--json", *gb.model(), *GRANT, "--deadline", "400ms",
                    "--worker", slow_worker(tmp_path), gb.GUESTS / "nn-probe.wasm",
                    load(relu3())) as running:
        child = gb.wait_for(lambda: gb.children(running.pid), 10)
        born = [(pid, gb.start_time(pid)) for pid in child]
        out = running.finish()
    assert out.code == "deadline-exceeded", repr(out)
    assert "loading" in out.error["message"], repr(out)
    assert out.json["usage"]["wall_us"] < 1e6 * (0.4 + gb.slack_s(0.05)), repr(out)
    time.sleep(0.1)
    assert all(gb.start_time(pid) != at or at is None for pid, at in born)


def test_a_worker_killed_while_it_loads(tmp_path):
    with gb.Running("run", "--json", *gb.model(), *GRANT, "--worker", slow_worker(tmp_path),
                    gb.GUESTS / "nn-probe.wasm", load(relu3())) as running:
        for pid in gb.wait_for(lambda: gb.children(running.pid), 10):
            os.kill(pid, signal.SIGKILL)
        out = running.finish()
    refused(out, "backend-lost", "runtime-error")


# ---- nothing is left ----


def test_many_loads_leave_nothing_behind(long):
    """The calls of one process: no worker is left of any, and the memory stays."""
    calls = gb.count(200, 1000)
    rss = []
    with gb.Running("run", "--json", *gb.model(), *GRANT, "--repeat", calls, "--jobs", 2,
                    gb.GUESTS / "nn-probe.wasm",
                    ";".join([load(relu3()), "tensor x f32 3 seq", "compute"])) as running:
        most = 0
        while running.process.poll() is None:
            most = max(most, len(running.workers()))
            rss.append(resident_bytes(running.pid))
            time.sleep(0.02)
        out = running.finish()
        left = running.left_behind()
    assert gb.counts(out) == {"ok": calls}, repr(out)
    assert not left
    assert 1 <= most <= 6, most  # two calls, and those of calls before that are being reaped
    rss = [r for r in rss if r]
    early, late = max(rss[len(rss) // 4:len(rss) // 2]), max(rss[len(rss) * 3 // 4:])
    assert late < early + (4 << 20), (early, late)


def resident_bytes(pid):
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * 4096
    except (OSError, IndexError):
        return 0
