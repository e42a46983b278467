# SPDX-License-Identifier: Apache-2.0
"""Guests with 64-bit memory, by grant."""
import gb
import wat

GUEST = gb.ROOT / "guests" / "memory64.wat"
BIG = ["--memory", "5GiB", "--budget", "6GiB"]


def test_without_the_grant():
    out = gb.run(GUEST)
    assert out.code == "grant-missing", repr(out)
    assert "--grant memory64" in out.error["hint"], repr(out)
    assert out.status == 101


def test_pages_above_4_gib():
    out = gb.run("--grant", "memory64", *BIG, GUEST)
    assert out.code == "ok", repr(out)
    assert out.json["usage"]["memory_peak_bytes"] == 65601 * 65536, repr(out)
    assert out.json["usage"]["ledger_peak_bytes"] >= 65601 * 65536, repr(out)


def test_the_limit_holds():
    out = gb.run("--grant", "memory64", "--memory", "4GiB", "--budget", "6GiB", GUEST)
    assert out.code == "guest-exit" and out.json["exit_status"] == 1, repr(out)


def test_the_ledger_holds():
    out = gb.run("--grant", "memory64", "--memory", "5GiB", "--budget", "4GiB", GUEST)
    assert out.code == "guest-exit" and out.json["exit_status"] == 1, repr(out)


def test_calls_beside_and_after_each_other():
    out = gb.run("--grant", "memory64", "--memory", "5GiB", "--budget", "24GiB", "--repeat", 12,
                 "--jobs", 4, GUEST)
    assert gb.counts(out) == {"ok": 12}, repr(out)


def test_fuel_and_the_deadline_hold(tmp_path):
    path = tmp_path / "loop.wat"
    path.write_text('(module (memory (export "memory") i64 1)'
                    ' (func (export "_start") (loop $l (br $l))))')
    out = gb.run("--grant", "memory64", "--deadline", "100ms", path)
    assert out.code == "deadline-exceeded", repr(out)
    out = gb.run("--grant", "memory64", "--fuel", "100000", path)
    assert out.code == "fuel-exhausted", repr(out)


def test_an_access_past_the_end_traps(tmp_path):
    path = tmp_path / "past.wat"
    path.write_text('(module (memory (export "memory") i64 1) (func (export "_start")'
                    ' (drop (i64.load (i64.const 0x1_0000_0000_0000)))))')
    out = gb.run("--grant", "memory64", path)
    assert out.code == "guest-trap", repr(out)


def test_programs_without_64_bit_memory_run_as_ever(tmp_path):
    path = tmp_path / "command.wat"
    path.write_text(wat.command())
    assert gb.run("--grant", "memory64", path).code == "ok"
    out = gb.run("--grant", "memory64", gb.GUESTS / "echo.wasm", "text")
    assert out.json["result"] == "text", repr(out)


def test_more_memory_than_there_can_be():
    out = gb.run("--grant", "memory64", "--memory", "9GiB", GUEST)
    assert out.code == "usage-error", repr(out)
