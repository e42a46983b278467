# SPDX-License-Identifier: Apache-2.0
"""The worker is killed at random instants. Every call is answered, the host lives, the next call is
served, and no process is left behind."""
import functools
import os
import random
import resource
import signal
import time

import pytest

import gb

SLOW = gb.GUESTS / "slow.wasm"
ALLOWED = {"ok", "guest-error", "backend-lost"}
SEED = 20_261


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
        return True
    except ProcessLookupError:
        return False


def kill_until_it_ends(running, rng, longest_s):
    """SIGKILLs workers at random instants for as long as the program runs; how often."""
    kills = 0
    struck = None
    while running.process.poll() is None:
        found = [w for w in running.workers() if w != struck]
        if found:
            time.sleep(rng.uniform(0, longest_s))
            struck = found[0]
            kills += kill(struck)
        time.sleep(0.002)
    return kills


def check_killed_run(out, calls):
    gb.check_run_object(out)
    codes = gb.counts(out)
    assert set(codes) <= ALLOWED, repr(out)
    assert sum(codes.values()) == calls, repr(out)
    if not out.json["ok"]:
        assert "backend-lost" in gb.chain(out.error), repr(out)
        assert out.status == gb.exit_statuses()[out.error["code"]], repr(out)


# Models and how long to let a worker live: one that is always inside a long inference, one that
# turns over thousands of small ones, so that kills also hit the rings and the slab.
@pytest.mark.heavy
@pytest.mark.parametrize("model, input_words, calls, longest_s, share", [
    ("slow200", "", 200, 0.25, 0.5), ("relu3", "x f32 3", 4000, 0.10, 0.5),
])
def test_kills_under_eight_calls(model, input_words, calls, longest_s, share):
    wanted = int(gb.count(200, 1000) * share)
    rng = random.Random(SEED)
    kills = lost = 0
    while kills < wanted:
        argument = f"{model} {input_words}".strip()
        with gb.Running("run", "--json", *gb.model(model), "--repeat", calls, "--jobs", "8", SLOW,
                        argument) as running:
            kills += kill_until_it_ends(running, rng, longest_s)
            out = running.finish()
            check_killed_run(out, calls)
            lost += calls - out.json["repeat"]["ok"]
            assert running.left_behind() == [], repr(out)
            assert out.wall_s < 120, repr(out)
    gb.record(f"kills of the worker of {model}: calls lost", f"{kills}: {lost}")
    assert lost >= kills / 4, f"{kills} kills hit only {lost} calls: they come at the wrong moments"
    out = gb.run(*gb.model(model), SLOW, argument)
    assert out.code == "ok", repr(out)


@pytest.mark.alone
def test_a_call_in_flight_is_answered_at_once():
    """From the kill to the end of the whole program, output and all."""
    rng = random.Random(SEED)
    slowest = 0
    for _ in range(gb.count(4, 50)):
        with gb.Running("run", "--json", *gb.model("matmul"), "--deadline", "60s", SLOW,
                        "matmul") as running:
            worker = running.wait_worker()[0]
            # Until its CPU time shows that it is past loading and warming, and inside the call.
            gb.wait_for(lambda: cpu_s(worker) > warm_cpu_s("matmul"), interval_s=0.01, timeout_s=60)
            time.sleep(rng.uniform(0, 0.2))
            killed = time.monotonic()
            kill(worker)
            out = running.finish()
            slowest = max(slowest, time.monotonic() - killed)
            assert "backend-lost" in gb.chain(out.error), repr(out)
            assert out.code in ALLOWED, repr(out)
            assert running.left_behind() == []
    gb.record("slowest end of a program after the kill of its worker, ms", round(slowest * 1e3, 1))
    assert slowest <= gb.slack_s(0.1), f"{slowest:.3f} s"


def cpu_s(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@functools.lru_cache(maxsize=None)
def warm_cpu_s(model):
    """What loading and warming it costs the worker, and a little more."""
    def used():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime
    before = used()
    out = gb.glovebox("models", "--json", *gb.model(model))
    assert out.status == 0, repr(out)
    return used() - before + 0.2


def test_the_next_call_is_served_by_a_new_worker():
    """Kills between the calls: each waits for the restart and succeeds or says what it lost."""
    with gb.Running("run", "--json", *gb.model("slow200"), "--repeat", "12", "--jobs", "1", SLOW,
                    "slow200") as running:
        first = running.wait_worker()[0]
        time.sleep(1.0)
        kill(first)
        gb.wait_for(lambda: [w for w in running.workers() if w != first], timeout_s=5)
        out = running.finish()
        check_killed_run(out, 12)
        assert gb.counts(out).get("ok", 0) >= 10, repr(out)
        assert running.left_behind() == []


@pytest.mark.alone
def test_a_stopped_worker_is_ended_by_the_deadline():
    """SIGSTOP: it does not die and does not answer."""
    loaded = warm_cpu_s("slow200")
    with gb.Running("run", "--json", *gb.model("slow200"), "--deadline", "1s", "--repeat", "8",
                    "--jobs", "2", SLOW, "slow200") as running:
        worker = running.wait_worker()[0]
        # Until its CPU time shows that it infers: the deadline is not for loading.
        gb.wait_for(lambda: cpu_s(worker) > loaded, interval_s=0.01, timeout_s=60)
        os.kill(worker, signal.SIGSTOP)
        out = running.finish()
        gb.check_run_object(out)
        codes = gb.counts(out)
        assert set(codes) <= {"deadline-exceeded"} | ALLOWED, repr(out)
        assert codes.get("deadline-exceeded", 0) > 0, repr(out)
        assert sum(codes.values()) == 8
        assert out.json["repeat"]["max_us"] / 1e6 <= 1 + gb.slack_s(0.05), repr(out)
        assert running.left_behind() == []


@pytest.mark.alone
def test_a_killed_host_takes_its_workers_along():
    with gb.Running("run", *gb.model("matmul"), SLOW, "matmul") as running:
        running.wait_worker()
        time.sleep(0.3)
        running.workers()
        running.process.send_signal(signal.SIGKILL)
        running.process.communicate()
        assert running.left_behind(gb.slack_s(1.0)) == []


def test_a_worker_that_ignores_its_channel_ends_with_its_host():
    """A stopped process stands for one that was taken over: it reads nothing and ends by itself
    never. The host is killed in the middle of an inference."""
    for _ in range(gb.count(3, 20)):
        with gb.Running("run", "--json", *gb.model("matmul"), "--deadline", "60s", SLOW,
                        "matmul") as running:
            worker = running.wait_worker()[0]
            gb.wait_for(lambda: cpu_s(worker) > warm_cpu_s("matmul"), interval_s=0.01, timeout_s=60)
            os.kill(worker, signal.SIGSTOP)
            running.process.send_signal(signal.SIGKILL)
            running.process.wait()
            left = running.left_behind(within_s=1.0)
            for pid in left:
                kill(pid)
            assert left == []
