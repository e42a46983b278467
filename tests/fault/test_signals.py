# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM in the middle of a run: the status shells expect, the same JSON object, and no
process left behind."""
import signal
import time

import pytest

import gb

GUESTS = {
    "spinning": ([], gb.GUESTS / "spin.wasm", []),
    "inside an inference": (gb.model("matmul"), gb.GUESTS / "slow.wasm", ["matmul"]),
    "sleeping": ([], gb.ROOT / "tests" / "hostile" / "sleep_past_deadline.wat", []),
    "many calls": (gb.model("slow200") + ["--repeat", "500", "--jobs", "4"],
                   gb.GUESTS / "slow.wasm", ["slow200"]),
}


def interrupted(name, number, *, json=True):
    options, guest, arguments = GUESTS[name]
    with gb.Running("run", *(["--json"] if json else []), *options, "--deadline", "60s", guest,
                    *arguments) as running:
        if "--model" in options:
            running.wait_worker()
        time.sleep(0.8)
        running.workers()
        assert running.process.poll() is None, repr(running.finish())
        sent = time.monotonic()
        running.process.send_signal(number)
        out = running.finish()
        assert time.monotonic() - sent <= gb.slack_s(0.5), repr(out)
        assert running.left_behind() == [], repr(out)
        return out


@pytest.mark.parametrize("name", GUESTS)
@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run(name, number, status):
    out = interrupted(name, number)
    assert out.status == status, repr(out)
    gb.check_run_object(out)
    assert out.error["code"] == "interrupted", repr(out)


def test_without_json_the_error_is_text():
    out = interrupted("spinning", signal.SIGINT, json=False)
    assert out.status == 130, repr(out)
    assert out.stdout == "", repr(out)
    assert out.stderr.startswith("error: interrupted: "), repr(out)


def test_a_closed_stdout_does_not_kill_it(tmp_path):
    """The reader goes away: an error, not a death by SIGPIPE."""
    flood = gb.GUESTS / "flood-p1.wasm"
    script = f'"{gb.BINARY}" run --deadline 2s --output-limit 64MiB "{flood}"; echo $? >status'
    gb.command(["sh", "-c", f"({script}) | head -c 10 >/dev/null"], cwd=tmp_path)
    status = int((tmp_path / "status").read_text())
    assert 0 < status < 128 or status == 141, status
