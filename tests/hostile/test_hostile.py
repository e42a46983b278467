# SPDX-License-Identifier: Apache-2.0
"""Every hostile guest of this folder ends with the code in its header, in time, and the host serves
the next call.

Header lines of a guest:
  ;; code: CODE        what it must end with; ok for a guest that only looks
  ;; options: …        of `glovebox run`
  ;; argument: TEXT    for agents
  ;; answer: TEXT      what an agent must answer
  ;; cause: CODE       the first cause of the error
  ;; exit: N           exit status, where it is not the code's own
  ;; guest-exit: N     the guest's own status; absent: null (ok commands: 0)
  ;; many: …           options of the runs of many calls, which make one call cheaper; where the
                       deadline is what ends it, they are 8 at once that get 20 ms
"""
import pathlib
import re

import pytest

import gb

HERE = pathlib.Path(__file__).parent
GUESTS = sorted(HERE.glob("*.wat"))
DEADLINE_EXCESS_S = 0.05


class Header:
    def __init__(self, path):
        self.fields = dict(re.findall(r"^;; ([a-z-]+): (.*)$", path.read_text(), re.M))
        self.code = self.fields["code"]
        self.options = self.fields.get("options", "").split()
        self.many = (["--deadline", "20ms", "--jobs", "8"]
                     if self.code == "deadline-exceeded" else [])
        self.many += self.fields.get("many", "").split()
        self.arguments = [self.fields["argument"]] if "argument" in self.fields else []
        self.deadline_s = last_deadline_s(self.options)
        self.cause = self.fields.get("cause")
        exit_status = 0 if self.code == "ok" else gb.exit_statuses()[self.code]
        self.exit_status = int(self.fields.get("exit", exit_status))


def last_deadline_s(options):
    return [seconds(value) for name, value in zip(options, options[1:]) if name == "--deadline"][-1]


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s)", text).groups()
    return int(number) / (1000 if unit == "ms" else 1)


def size(text):
    number, unit = re.fullmatch(r"(\d+)(KiB|MiB|GiB)?", text).groups()
    return int(number) << {None: 0, "KiB": 10, "MiB": 20, "GiB": 30}[unit]


def check_time(out, header, slack):
    wall_s = (out.json["usage"]["wall_us"] or 0) / 1e6  # null: refused before it could run
    latest = header.deadline_s + slack(DEADLINE_EXCESS_S)
    assert wall_s <= latest, f"ended after {wall_s:.3f} s, deadline {header.deadline_s} s{out!r}"
    if header.code == "deadline-exceeded":
        assert wall_s >= header.deadline_s * 0.98, f"ended before its deadline{out!r}"


@pytest.mark.parametrize("path", GUESTS, ids=lambda p: p.stem)
def test_ends_with_its_code_in_time(path):
    header = Header(path)
    out = gb.run(*header.options, path, *header.arguments)
    assert out.code == header.code, repr(out)
    assert out.status == header.exit_status, repr(out)
    check_time(out, header, gb.slack_s)
    if "answer" in header.fields:
        assert out.json["result"] == header.fields["answer"], repr(out)
    if header.cause:
        assert out.error["cause"]["code"] == header.cause, repr(out)
    if "says" in header.fields:
        assert header.fields["says"] in out.error["message"], repr(out)
    if "guest-exit" in header.fields:
        assert out.json["exit_status"] == int(header.fields["guest-exit"]), repr(out)
    elif header.code != "ok":
        assert out.json["exit_status"] is None, repr(out)
    if header.code != "ok":
        assert out.error["hint"] or header.code in ("guest-exit", "guest-trap"), repr(out)
    assert out.stderr == "", repr(out)
    if "--budget" in header.options:
        budget = size(header.options[header.options.index("--budget") + 1])
        assert out.json["usage"]["ledger_peak_bytes"] <= budget, repr(out)


def many_calls(header, path, calls):
    """Outcome, and what the slowest of the calls took beyond the deadline in seconds."""
    options = header.options + header.many
    out = gb.run("--repeat", calls, *options, path, *header.arguments, timeout=60 + calls / 8)
    if "repeat" not in out.json:
        return out, 0
    return out, out.json["repeat"]["max_us"] / 1e6 - last_deadline_s(options)


@pytest.mark.parametrize("path", GUESTS, ids=lambda p: p.stem)
def test_ends_the_same_way_again_in_one_host(path):
    header = Header(path)
    calls = gb.count(16, 10_000)
    out, late_s = many_calls(header, path, calls)
    if "repeat" not in out.json:  # refused before there is a call: a host each
        for _ in range(gb.count(3, 2000)):
            out = gb.run(*header.options, path, *header.arguments)
            assert out.code == header.code and out.status == header.exit_status, repr(out)
        gb.record("hostile guests refused before a call, runs of each", gb.count(3, 2000))
        return
    assert gb.counts(out) == {header.code: calls}, repr(out)
    assert out.status == header.exit_status, repr(out)
    if late_s > gb.slack_s(DEADLINE_EXCESS_S):
        # In 10^6 calls the machine itself stalls at times: it must not do so again.
        gb.record("hostile guests run again after a late end", f"{path.stem} +{late_s:.3f} s")
        out, late_s = many_calls(header, path, calls)
    assert late_s <= gb.slack_s(DEADLINE_EXCESS_S), f"{late_s:.3f} s late{out!r}"
    gb.record("hostile guests, calls of each", calls)
    if header.code == "deadline-exceeded":
        gb.record("hostile guests, latest end past the deadline in ms", round(late_s * 1e3, 1))


def test_there_are_enough_of_them():
    assert len(GUESTS) >= 80
    codes = {Header(p).code for p in GUESTS}
    assert codes >= {
        "deadline-exceeded", "fuel-exhausted", "memory-limit", "table-limit", "instance-limit",
        "handle-limit", "output-limit", "hostcall-limit", "stack-overflow", "guest-trap",
        "guest-exit",
    }


# A coin decides in the guest whether it behaves: good and bad calls alternate in one host.
SOMETIMES = """
(module
  (import "wasi_snapshot_preview1" "random_get"
    (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $down (param i32) (result i32)
    (i32.add (i32.const 1) (call $down (local.get 0))))
  (func $bad (local $unused i32)
    {bad})
  (func (export "_start")
    (drop (call $random_get (i32.const 0) (i32.const 1)))
    (if (i32.and (i32.load8_u (i32.const 0)) (i32.const 1)) (then (call $bad)))))
"""
BAD = {
    "deadline-exceeded": "(loop $again (br $again))",
    "guest-trap": "(unreachable)",
    "stack-overflow": "(drop (call $down (i32.const 0)))",
    "memory-limit": """(loop $again
      (br_if $again (i32.ne (memory.grow (i32.const 8)) (i32.const -1))))
    (unreachable)""",
    "output-limit": """(i32.store (i32.const 4) (i32.const 60000))
    (loop $again
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br $again))""",
}


@pytest.mark.parametrize("jobs", [1, 4])
@pytest.mark.parametrize("code", BAD)
def test_good_calls_between_bad_ones_succeed(tmp_path, code, jobs):
    path = tmp_path / "sometimes.wat"
    path.write_text(SOMETIMES.format(bad=BAD[code]))
    calls = gb.count(32, 400)
    out = gb.run("--repeat", calls, "--jobs", jobs, "--deadline", "100ms", path)
    codes = gb.counts(out)
    assert set(codes) == {"ok", code}, repr(out)
    assert sum(codes.values()) == calls, repr(out)


def test_after_all_of_them_a_good_guest_runs():
    out = gb.run(gb.GUESTS / "echo.wasm", "still here")
    assert out.json["result"] == "still here", repr(out)
    assert out.status == 0
