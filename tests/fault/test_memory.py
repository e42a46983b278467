# SPDX-License-Identifier: Apache-2.0
"""What the process takes, by the kernel's count: flat over many instantiations, and what the ledger
says while guests hold memory and tensors. --long: 10^6 instantiations, 1,000 moments."""
import json
import os
import re
import subprocess
import sys

import pytest

import gb

LIBRARY = gb.ROOT / "build/lib/libglovebox.a"
BRIDGE = gb.ROOT / "build/bridge/release/libglovebox_bridge_host.a"
GROWTH_MAX = 1.01
# The measuring programs do not lie beside the compiler.
ENVIRONMENT = {"GLOVEBOX_COMPILER": str(gb.ROOT / "build/glovebox-compiler"), **os.environ}

pytestmark = pytest.mark.alone


def needs_library():
    if not LIBRARY.exists() or not BRIDGE.exists():
        pytest.skip("the static library is not built")


@pytest.fixture(scope="module")
def lib_call(tmp_path_factory):
    needs_library()
    program = tmp_path_factory.mktemp("bench") / "lib_call"
    subprocess.run(["cc", "-O2", "-std=gnu17", f"-I{gb.ROOT}/include", gb.ROOT / "bench/lib_call.c",
                    LIBRARY, BRIDGE, "-lcrypto", "-lpthread", "-ldl", "-lm", "-lgcc_s", "-o",
                    program], check=True)
    return program


def test_instantiations_leave_nothing_behind(lib_call):
    calls = gb.count(20_000, 1_000_000)
    out = subprocess.run([lib_call, gb.GUESTS / "echo.wasm", "hello", str(calls)],
                         capture_output=True, text=True, timeout=3600, env=ENVIRONMENT)
    assert out.returncode == 0, out.stderr
    numbers = dict(re.findall(r"(rss_kib_\w+) (\d+)", out.stdout))
    before, after = int(numbers["rss_kib_before"]), int(numbers["rss_kib_after"])
    # One machine word per call for the times it takes down is the measurer's own.
    after -= calls * 8 // 1024
    gb.record("instantiations: resident KiB before, after", f"{calls}: {before}, {after}")
    assert after <= before * GROWTH_MAX, out.stdout


def test_the_ledger_is_what_the_kernel_counts():
    needs_library()
    moments = gb.count(20, 1000)
    out = subprocess.run([sys.executable, gb.ROOT / "bench/ledger_pss.py", str(moments)],
                         capture_output=True, text=True, timeout=3600)
    assert out.returncode == 0, out.stdout + out.stderr
    result = json.loads(out.stdout)
    gb.record("ledger against the kernel", out.stdout.strip().replace('"', ""))
    assert result["moments"] == moments
    assert result["ledger_left_kib"] == 0, result
