# SPDX-License-Identifier: Apache-2.0
"""The sample agent built by other toolchains (guests/{rust,js,python,go}); --long only."""
import re

import pytest

import gb

BUILT = gb.ROOT / "build" / "guests-all"
SAMPLES = [line.partition(":") for line in
           (gb.MODELS / "digits_samples.txt").read_text().splitlines() if ":" in line]


@pytest.fixture(scope="module")
def built(request):
    if not request.config.getoption("--long"):
        pytest.skip("toolchains of 450 MB: with --long only")
    out = gb.command([gb.ROOT / "tools" / "build-guests-all.sh"], timeout=1800)
    assert out.status == 0, repr(out)
    return out.stdout


@pytest.mark.parametrize("language", ["rust", "js", "python", "go"])
def test_the_sample_agent_answers_under_default_limits(built, language):
    guest = BUILT / f"agent-{language}.wasm"
    if not guest.exists():
        pytest.skip(re.search(rf"{language}: (skipped: .*)", built).group(1))
    command = language == "go"  # arguments and stdout instead of an argument and an answer
    expected = gb.run(*gb.model("digits"), gb.GUESTS / "agent.wasm", SAMPLES[0][2].strip())
    out = gb.run(*gb.model("digits"), guest, SAMPLES[0][2].strip(), timeout=300)
    assert out.code == "ok", repr(out)
    answer = gb.stdout_of(out.json).decode().strip() if command else out.json["result"]
    assert answer == expected.json["result"], repr(out)
    assert out.json["usage"]["inference_calls"] == 1

    gb.record("agents of other toolchains that answer", f"{language}, {guest.stat().st_size} bytes")

    out = gb.run(*gb.model("digits"), guest, "1 2 3", timeout=300)
    assert out.code == ("guest-exit" if command else "guest-error"), repr(out)
    text = out.json["stderr"] if command else out.error["value"]
    assert "expected 64 values" in text, repr(out)

    out = gb.run(*gb.model(), guest, SAMPLES[0][2].strip(), timeout=300)
    assert out.code == ("guest-exit" if command else "guest-error"), repr(out)
    assert "model-not-found" in gb.chain(out.error), repr(out)
