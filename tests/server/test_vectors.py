# SPDX-License-Identifier: Apache-2.0
"""The unit tests' malformed and smuggling requests, through the real socket.

Behind each a second request follows. It must be answered if and only if the first one was well
formed: else one error, and the connection ends."""
import shutil
import subprocess

import pytest

import gb
import serving

# Small, as in the unit test, so that the vectors reach them.
HOST = """
[host]
loops = 1
http.url-bytes = "1024"
http.header-bytes = "4000"
http.headers = 12
http.body-bytes = "4096"
"""
FOLLOWING = b"GET /following HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
# These reach limits that the manifest does not have; with the defaults they are accepted.
OTHER_LIMITS = {"extensions past the limit", "long trailers", "long trailers without an end"}
STATUS = {"request-malformed": 400, "method-not-allowed": 405, "payload-too-large": 413,
          "header-too-large": 431}


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    program = tmp_path_factory.mktemp("vectors") / "vectors"
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    folders = [f"-I{gb.ROOT / name}" for name in ("src", "include", "tests/unit")]
    made = subprocess.run([compiler, *folders, gb.ROOT / "tests/server/vectors.c", "-o", program],
                          capture_output=True, check=False)
    assert made.returncode == 0, made.stderr.decode()
    found = []
    for line in subprocess.check_output([program], text=True).splitlines():
        name, data, code, messages, cut = line.split("\t")
        if name not in OTHER_LIMITS:
            found.append((name, bytes.fromhex(data), code, int(messages), cut == "1"))
    assert len([v for v in found if v[2] != "ok"]) > 200
    return found


def exchange(s, name, data):
    with s.raw() as c:
        c.send(data if name.endswith("without an end") else data + FOLLOWING)
        return [a for a in c.answers() if a.status != 100]


def following(answer):
    return answer.status == 200 and answer.body == b"following\n"


def check_accepted(name, answers, messages):
    """All of them, and what follows, unless one of them said that it is the last."""
    assert all(a.complete for a in answers), (name, answers)
    assert all(a.status in (200, 404) for a in answers), (name, answers)
    assert len(answers) == messages + 1 or answers[-1].closes, (name, answers)
    assert messages <= len(answers) <= messages + 1, (name, answers)


def test_agent(vectors, tmp_path):
    """An agent starts when its whole body is there: nothing malformed reaches it at all."""
    text = HOST + serving.component("echo") + serving.route("/...", "echo", "agent") + \
        serving.fixed("/following", "following\n")
    wrong = []
    with serving.Server(tmp_path, text) as s:
        for name, data, code, messages, cut in vectors:
            if cut:
                continue
            answers = exchange(s, name, data)
            try:
                if code == "ok":
                    check_accepted(name, answers, messages)
                    continue
                assert len(answers) == messages + 1, (name, answers)
                assert all(a.status == 200 for a in answers[:-1]), (name, answers)
                assert answers[-1].complete and answers[-1].closes, (name, answers)
                answers[-1].refused(STATUS[code], code)
                assert "/" + str(gb.ROOT)[1:] not in answers[-1].error["message"]
            except AssertionError as error:
                wrong.append(str(error))
        assert s.state()["running"] == 0
    assert not wrong, "\n".join(wrong)


def test_http_guest(vectors, tmp_path):
    """A guest that reads while the body comes: it never ends a whole answer to a broken request."""
    text = HOST + serving.component("echo", "echo-http") + serving.route("/...", "echo", "http") + \
        serving.fixed("/following", "following\n")
    wrong = []
    with serving.Server(tmp_path, text) as s:
        for name, data, code, messages, cut in vectors:
            if cut:
                continue
            answers = exchange(s, name, data)
            try:
                if code == "ok":
                    check_accepted(name, answers, messages)
                    continue
                assert not any(following(a) for a in answers), (name, answers)
                assert len([a for a in answers if a.complete and a.status == 200]) == messages, (
                    name, answers)
                assert len(answers) <= messages + 1, (name, answers)
                if answers and answers[-1].complete:
                    answers[-1].refused(STATUS[code], code)
            except AssertionError as error:
                wrong.append(str(error))
        s.wait_state(running=0)
    assert not wrong, "\n".join(wrong)


def test_cut(vectors, tmp_path):
    """A client that stops in the middle gets nothing, and leaves nothing behind."""
    text = HOST + serving.component("echo") + serving.route("/...", "echo", "agent")
    with serving.Server(tmp_path, text) as s:
        for name, data, _, _, cut in vectors:
            if cut:
                with s.raw() as c:
                    c.send(data)
                    c.socket.shutdown(1)
                    assert c.ends(), (name, c.buffer)
        s.wait_state(running=0, connections=0)
