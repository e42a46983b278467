# SPDX-License-Identifier: Apache-2.0
"""Agents classify handwritten digits that the model has not seen: at least 97 % in both styles."""
import concurrent.futures
import re

import numpy
import pytest

import gb
import native

ROWS = [[int(v) for v in line.split(",")]
        for line in (gb.MODELS / "digits_heldout.csv").read_text().splitlines() if line]
AGENTS = {"1028": "agent.wasm", "0819": "agent-0819.wasm", "0625": "agent-0625.wasm"}


def rows():
    return ROWS[:gb.count(60, len(ROWS))]


def best(data):
    return int(numpy.argmax(numpy.frombuffer(data, "<f4")))


@pytest.mark.parametrize("style", AGENTS)
def test_rows_one_by_one_in_one_call(style):
    """One guest, one inference per row."""
    statements = ["load digits"]
    for _, *pixels in rows():
        statements += [f"tensor input f32 1,64 f:{','.join(map(str, pixels))}", "compute",
                       "get probabilities"]
    out = gb.probe(statements, "--deadline", "60s", models=["digits"], style=style)
    assert out.code == "ok", repr(out)
    answers = [best(bytes.fromhex(line.split()[3])) for line in out.json["result"].splitlines()]
    assert len(answers) == len(rows())
    right = sum(answer == label for answer, (label, *_) in zip(answers, rows()))
    assert right >= 0.97 * len(rows()), f"{right} of {len(rows())}"


@pytest.mark.parametrize("style", AGENTS)
def test_rows_as_one_batch(style):
    labels = [label for label, *_ in ROWS]
    pixels = numpy.array([p for _, *p in ROWS], "f4")
    pixels = pixels[:200]  # an argument may have 1 MiB
    statements = ["load digits", f"tensor input f32 200,64 {native.hex_of(pixels)}", "compute",
                  "get probabilities"]
    out = gb.probe(statements, models=["digits"], style=style)
    kind, shape, data = native.tensors(out.json["result"])["probabilities"]
    assert (kind, shape) == ("f32", (200, 10))
    scores = numpy.frombuffer(data, "<f4").reshape(shape)
    assert data == native.run("digits", {"input": pixels})["probabilities"].tobytes()
    right = sum(int(numpy.argmax(row)) == label for row, label in zip(scores, labels))
    assert right >= 0.97 * 200


@pytest.mark.parametrize("style", AGENTS)
def test_the_agents_agree_with_the_labels(style):
    def classify(row):
        label, *pixels = row
        out = gb.run(*gb.model("digits"), gb.GUESTS / AGENTS[style], " ".join(map(str, pixels)))
        assert out.code == "ok", repr(out)
        return int(re.match(r"class=(\d) scores=\[", out.json["result"]).group(1)) == label
    chosen = ROWS[:gb.count(8, len(ROWS))]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        right = sum(pool.map(classify, chosen))
    assert right >= 0.97 * len(chosen) if gb.LONG else right >= len(chosen) - 1


@pytest.mark.parametrize("style", AGENTS)
@pytest.mark.parametrize("argument, says", [
    ("", "found 0 pixels"), ("1 2 3", "found 3 pixels"), ("17 " * 64, "pixel 1"),
])
def test_an_agent_refuses_what_is_no_picture(style, argument, says):
    out = gb.run(*gb.model("digits"), gb.GUESTS / AGENTS[style], argument)
    assert out.code == "guest-error" and out.status == 1, repr(out)
    assert says in out.error["value"], repr(out)
