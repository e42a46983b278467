# SPDX-License-Identifier: Apache-2.0
"""glovebox:host as guests see it, and wasi:nn 2024-06-25's errors of a guest's own."""
import re

import pytest

import gb
import wat

PROBE = gb.GUESTS / "host-probe.wasm"


def context(out):
    assert out.code == "ok", repr(out)
    lines = [line.split(" ", 1) for line in out.json["result"].splitlines()]
    return {key: value for key, value in lines}


def test_the_context():
    found = context(gb.run("--deadline", "20s", PROBE, "context"))
    assert re.fullmatch("[0-9a-f]{32}", found["call-id"])
    assert found["tenant"] == "default"
    assert found["traceparent"] == "none"
    assert 10_000_000 < int(found["remaining-time-us"]) < 20_000_000
    assert found["remaining-fuel"] == "none"


def test_fuel_in_the_context():
    found = context(gb.run("--fuel", "10000000", PROBE, "context"))
    assert 0 < int(found["remaining-fuel"]) < 10_000_000


def test_a_call_keeps_its_id_and_another_has_another():
    ids = [re.findall("call-id (.*)", gb.run(PROBE, "context;context").json["result"])
           for _ in range(2)]
    assert ids[0][0] == ids[0][1] and ids[1][0] == ids[1][1] and ids[0] != ids[1]


def test_log_lines_name_call_and_tenant_and_are_escaped():
    out = gb.run(PROBE, 'context;log info one\\ninfo: guest two;logfields warn a k v "w";'
                        'log debug not shown')
    call_id = context(out)["call-id"]
    assert out.stderr.splitlines() == [
        f"info: guest {call_id} default: one\\ninfo: guest two",
        f'warn: guest {call_id} default: a k="v \\"w\\""'], repr(out)


def test_a_flood_of_lines_is_bounded_and_counted():
    out = gb.run(PROBE, "repeat 20000 log info line #")
    assert out.code == "ok", repr(out)
    lines = out.stderr.splitlines()
    dropped = sum(int(n) for n in re.findall("default: ([0-9]+) log lines were dropped",
                                             out.stderr))
    written = sum(" line " in line for line in lines)
    assert written + dropped == 20000, repr(out)
    assert dropped > 0 and written < 20000 and len(lines) <= 2 * written + 1


def test_a_long_message_is_cut():
    out = gb.run(PROBE, "longlog 1000000")
    assert out.code == "ok", repr(out)
    line, = out.stderr.splitlines()
    assert 4000 < len(line) <= 4096 and line.endswith("xxx..."), line[-20:]


def test_metrics_take_anything():
    out = gb.run(PROBE, "counter requests 3;gauge load 0.5;gauge odd nan;counter most max;"
                        "counter most 1;counter Bad-Name 1;repeat 1000 counter n# 1")
    assert out.code == "ok" and out.json["result"] == "" and out.stderr == "", repr(out)


def test_another_version_is_named(tmp_path):
    path = tmp_path / "agent.wat"
    path.write_text(wat.agent(wat.interface("glovebox:host/metrics@0.9.0")))
    out = gb.run(path)
    assert out.code == "import-missing" and "0.1.0" in out.error["message"], repr(out)


def test_an_interface_that_the_package_does_not_have(tmp_path):
    path = tmp_path / "agent.wat"
    path.write_text(wat.agent(wat.interface("glovebox:host/secrets@0.1.0")))
    assert gb.run(path).code == "import-missing"


# ---- wasi:nn 2024-06-25 ----


CODES = ["invalid-argument", "invalid-encoding", "timeout", "runtime-error",
         "unsupported-operation", "too-large", "not-found", "security", "unknown"]


@pytest.mark.parametrize("number, name", list(enumerate(CODES)))
def test_a_guests_own_error_keeps_its_code_and_text(number, name):
    out = gb.probe(f"try makeerror {number} my own words", style="0625")
    assert out.json["result"] == f"error {name}: my own words\n", repr(out)


def test_a_guests_own_error_is_not_the_hosts():
    out = gb.probe("makeerror 3 my own words", style="0625")
    assert out.code == "guest-error" and "cause" not in out.error, repr(out)


def test_errors_without_end():
    out = gb.probe("repeat 5000;try makeerror 1 x", style="0625")
    assert out.code == "ok", repr(out)  # the probe drops each


def test_a_very_long_error_ends_the_call():
    out = gb.probe("makeerror 1 " + "x" * 4001, style="0625")
    assert out.code == "hostcall-limit", repr(out)
