# SPDX-License-Identifier: Apache-2.0
"""No call sees what another left behind: in pooled memory, in tensors, in a worker's shared blocks.

nn_canary.wat writes a secret wherever it can or looks for it wherever it can, as a coin decides,
call after call in one host.
"""
import pathlib

import pytest

import gb

CANARY = pathlib.Path(__file__).parent / "nn_canary.wat"
OPTIONS = ["--allow-model", "big64", "--model", f"big64={gb.TEST_MODELS / 'big64.onnx'}",
           "--deadline", "20s"]


@pytest.mark.parametrize("role", ["wr", "s"])
def test_the_reader_would_see_the_secret(role):
    out = gb.run(*OPTIONS, CANARY, role)
    assert out.code == "guest-trap" and "unreachable" in out.error["message"], repr(out)


@pytest.mark.parametrize("role", ["w", "r"])
def test_each_role_alone_ends_well(role):
    out = gb.run(*OPTIONS, CANARY, role)
    assert out.code == "ok", repr(out)
    assert out.json["usage"]["memory_peak_bytes"] == 4 << 20
    assert out.json["usage"]["inference_calls"] == 3


@pytest.mark.heavy
@pytest.mark.parametrize("jobs", [1, 4])
def test_nothing_of_another_call_is_seen(jobs):
    calls = gb.count(500, 50_000)
    out = gb.run("--repeat", calls, "--jobs", jobs, *OPTIONS, CANARY, timeout=60 + calls / 20)
    assert gb.counts(out) == {"ok": calls}, repr(out)
    gb.record(f"canary calls, {jobs} at once: bytes seen", f"{calls}: 0")
