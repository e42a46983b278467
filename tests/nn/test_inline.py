# SPDX-License-Identifier: Apache-2.0
"""Models that run in the host process: the same answers, no worker, and only fast models."""
import os
import shutil

import gb


def pixels():
    label, *numbers = (gb.MODELS / "digits_heldout.csv").read_text().splitlines()[0].split(",")
    return " ".join(numbers)


def test_the_answer_is_the_same_and_no_worker_is_started():
    agent = gb.GUESTS / "agent.wasm"
    worker = gb.run(*gb.model("digits"), agent, pixels())
    env = gb.environment(GLOVEBOX_WORKER="/nonexistent/glovebox-worker")
    here = gb.run(*gb.model("digits"), "--placement", "inline", agent, pixels(), env=env)
    assert here.json["ok"], repr(here)
    assert here.json["result"] == worker.json["result"]
    assert here.json["usage"]["inference_calls"] == 1


def test_many_calls_at_once_share_the_thread():
    out = gb.run(*gb.model("digits"), "--placement", "inline", "--repeat", gb.count(200, 5000),
                 "--jobs", "8", gb.GUESTS / "agent.wasm", pixels())
    assert out.json["repeat"]["ok"] == gb.count(200, 5000), repr(out)


def test_a_slow_model_is_refused_and_says_what_was_measured():
    out = gb.run("--placement", "inline", "--model", f"slow200={gb.TEST_MODELS / 'slow200.onnx'}",
                 gb.GUESTS / "slow.wasm", "slow200")
    assert out.code == "guest-error", repr(out)
    cause = out.error["cause"]
    assert cause["code"] == "model-rejected", repr(out)
    assert "99th percentile" in cause["message"] and "worker" in cause["hint"], repr(out)


def test_a_sidecar_places_one_model_inline(tmp_path):
    shutil.copy(gb.MODELS / "digits.onnx", tmp_path)
    (tmp_path / "digits.toml").write_text('placement = "inline"\n')
    env = gb.environment(GLOVEBOX_WORKER="/nonexistent/glovebox-worker")
    out = gb.run("--models", tmp_path, gb.GUESTS / "agent.wasm", pixels(), env=env)
    assert out.json["ok"], repr(out)


def left_behind(home, *options):
    env = gb.environment(HOME=home, XDG_CACHE_HOME=home / "cache", TMPDIR=home / "tmp",
                         ORT_DISABLE_TELEMETRY=None)
    os.makedirs(home / "tmp")
    out = gb.run(*gb.model("digits"), *options, gb.GUESTS / "agent.wasm", pixels(), env=env)
    assert out.json["ok"], repr(out)
    return {str(p.relative_to(home)) for p in home.rglob("*") if "cache" not in str(p.name)
            and not p.is_relative_to(home / "cache")}


def test_the_engine_phones_nobody_from_here_either(tmp_path):
    """Without the switch in our environment: the program sets it itself, before the library is
    opened, which would otherwise keep a store under the home folder."""
    assert (left_behind(tmp_path / "a", "--placement", "inline") ==
            left_behind(tmp_path / "b", "--placement", "worker"))
