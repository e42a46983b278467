# SPDX-License-Identifier: Apache-2.0
"""Deadlines inside an inference, and inferences that overlap."""
import subprocess
import sys
import time

import pytest

import gb

SLOW = gb.GUESTS / "slow.wasm"

pytestmark = pytest.mark.alone


def wall_s(out):
    return out.json["usage"]["wall_us"] / 1e6


@pytest.mark.parametrize("model, deadline_ms", [("matmul", 300), ("slow200", 50)])
def test_a_deadline_inside_an_inference_is_kept(model, deadline_ms):
    """matmul cannot be stopped softly: the worker is killed. slow200 stops between its nodes."""
    out = gb.run(*gb.model(model), "--deadline", f"{deadline_ms}ms", SLOW, model)
    assert out.code == "deadline-exceeded" and out.status == 102, repr(out)
    assert wall_s(out) <= deadline_ms / 1000 + gb.slack_s(0.05), repr(out)
    assert wall_s(out) >= deadline_ms / 1000 * 0.98, repr(out)
    said = gb.messages(out.error)
    assert "warm" in said and model in said, f"nobody learns what a warm inference takes{out!r}"


@pytest.mark.parametrize("jobs", [1, 4])
def test_after_a_deadline_the_model_serves_again(jobs):
    """Half of the calls would be too slow were the worker not freed: each gets its own answer."""
    out = gb.run(*gb.model("slow200"), "--deadline", "20ms", "--repeat", "6", "--jobs", jobs, SLOW,
                 "slow200")
    assert gb.counts(out) == {"deadline-exceeded": 6}, repr(out)
    latest = 0.02 + gb.slack_s(0.05)
    assert out.json["repeat"]["max_us"] / 1e6 <= latest, repr(out)


def test_a_deadline_while_waiting_in_the_queue_is_kept():
    """Six calls on a few threads: the last ones are still queued when their time is up."""
    out = gb.run(*gb.model("matmul"), "--deadline", "400ms", "--repeat", "6", "--jobs", "6", SLOW,
                 "matmul")
    assert gb.counts(out) == {"deadline-exceeded": 6}, repr(out)
    assert out.json["repeat"]["max_us"] / 1e6 <= 0.4 + gb.slack_s(0.05), repr(out)


def two_thread_models(folder):
    (folder / "slow200.onnx").write_bytes((gb.TEST_MODELS / "slow200.onnx").read_bytes())
    (folder / "slow200.toml").write_text("threads = 2\n")
    return ("--models", folder)


BUSY = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"


def free_cores():
    """How much of two cores two busy processes get at this moment; 2.0 where nothing else runs."""
    start = time.monotonic()
    both = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(2)]
    for process in both:
        process.wait()
    return 0.6 / (time.monotonic() - start - 0.03)


def test_inferences_overlap_on_a_two_thread_worker(tmp_path):
    best = None
    end = time.monotonic() + gb.count(20, 300)
    while best is None or time.monotonic() < end:
        if time.monotonic() > end:
            pytest.skip("other programs use the cores: nothing could be measured")
        before = free_cores()
        times = {}
        for jobs in (1, 8):
            out = gb.run(*two_thread_models(tmp_path), "--repeat", "8", "--jobs", jobs, SLOW,
                         "slow200")
            assert gb.counts(out) == {"ok": 8}, repr(out)
            repeat = out.json["repeat"]
            # With 8 in flight the last to end has waited for all; alone they end one by one.
            times[jobs] = repeat["max_us"] if jobs == 8 else repeat["mean_us"] * 8
        ratio = times[8] / times[1]
        if ratio <= 0.6:
            return
        if before > 1.8 and free_cores() > 1.8:  # else it says more about the neighbours
            best = min(best or ratio, ratio)
    raise AssertionError(f"8 calls took {best:.2f} of their serial time")


def test_one_call_beside_another_keeps_its_time(tmp_path):
    """The queue is not the guest's doing: it is shown apart from the inference."""
    out = gb.run(*two_thread_models(tmp_path), SLOW, "slow200")
    usage = out.json["usage"]
    assert usage["queue_us"] <= usage["wall_us"], repr(out)
    assert usage["inference_us"] <= usage["wall_us"], repr(out)
