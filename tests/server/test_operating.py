# SPDX-License-Identifier: Apache-2.0
"""Stopping and reloading under load: nobody notices."""
import signal
import time

import pytest

import gb
import serving

BASE = "".join([
    '[host]\nloops = 2\ncalls = 64\ndrain-accept = "300ms"\ndrain = "3s"\n',
    serving.component("edge", "hello-http"), serving.component("echo-http"),
    serving.component("text", "echo"), serving.component("spin"),
    serving.route("/edge", "edge"), serving.route("/echo/...", "echo-http"),
    serving.route("/text", "text"), serving.route("/spin", "spin")])


def version(n):
    return BASE + serving.fixed("/version", str(n))


def ask_once(s):
    """What a careful client does: a connection for each request, and all of its answer."""
    with s.raw() as c:
        answer = c.ask("POST", "/echo/x", body=b"e" * 3000)
        assert answer and answer.complete and answer.body == b"e" * 3000, repr(answer)


def ask_on_one_connection(s):
    with s.raw() as c:
        for path in ("/edge", "/text", "/echo/x", "/version"):
            answer = c.ask("POST" if path in ("/text", "/echo/x") else "GET", path, [],
                           b"a" if path in ("/text", "/echo/x") else None)
            assert answer and answer.complete and answer.status == 200, repr(answer)


@pytest.mark.parametrize("ask", [ask_once, ask_on_one_connection])
def test_reload_under_load(tmp_path, ask):
    rounds = gb.count(3, 100)
    with serving.Server(tmp_path, version(0)) as s:
        with serving.Load(s, 4, ask) as load:
            for n in range(1, rounds + 1):
                assert s.reload(version(n)), s.log
                assert s.ask("GET", "/version").body.decode() == str(n)
                time.sleep(0.1)
        assert not load.failures, load.failures[:3]
        assert len(load.latencies) > rounds * 4
        # A client may have all of its answer a moment before its guest is gone.
        gb.wait_for(lambda: s.state()["running"] == 0)
        state = s.state()
        assert (state["reloads"], state["reloads_refused"]) == (rounds, 0)


def test_a_request_ends_under_what_it_began_with(tmp_path):
    with serving.Server(tmp_path, version(0)) as s, s.raw() as c:
        c.send(serving.request("POST", "/echo/x", [("Content-Length", "4")]) + b"ab")
        assert c.head().status == 200
        assert s.reload("[host]\nloops = 2\n" + serving.fixed("/other"))
        s.ask("POST", "/echo/x", body=b"").refused(404, "not-found")
        c.send(b"cd")
        while b"0\r\n\r\n" not in c.buffer:
            assert c.more(), c.buffer
        c.buffer = b""
        assert c.ask("GET", "/other").body == b"fixed\n"


@pytest.mark.parametrize("text", [
    "", "[host\n", "[host]\nnope = 1\n", serving.route("/", "nobody"),
    serving.component("x", "no-such-guest") + serving.route("/", "x"),
    serving.component("x", "agent") + serving.route("/", "x", "http"),
    serving.component("x", "echo", 'digest = "sha256:' + "0" * 64 + '"') +
    serving.route("/", "x"), serving.fixed("/a") + serving.fixed("/a")])
def test_a_bad_manifest_is_refused(tmp_path, text):
    with serving.Server(tmp_path, version(1)) as s:
        s.file.write_text(text)
        assert not s.reload()
        assert s.ask("GET", "/version").body == b"1" and s.ask("GET", "/edge").status == 200
        gb.wait_for(lambda: "manifest is refused" in s.log)
        assert s.reload(version(2)) and s.ask("GET", "/version").body == b"2"


def test_a_manifest_that_is_gone_is_refused(tmp_path):
    with serving.Server(tmp_path, version(1)) as s:
        s.file.unlink()
        assert not s.reload()
        assert s.ask("GET", "/version").body == b"1"


def test_many_reloads_leave_nothing(tmp_path):
    """But for the pool's slots, which stay warm for their last programs: few of them here."""
    def text(n):
        return version(n).replace("calls = 64", "calls = 4")
    with serving.Server(tmp_path, text(0)) as s:
        def reload(times):
            for n in range(times):
                assert s.reload(text(n))
                assert s.ask("GET", "/edge").status == 200
            return s.rss_bytes(), s.fds()
        before = reload(10)
        after = reload(gb.count(20, 200))
        assert after[0] - before[0] < (2 << 20) + serving.sanitizer_bytes(), (before, after)
        assert after[1] <= before[1], (before, after)


# ---- stopping ----

def test_drain_under_load(tmp_path):
    """Within the grace connections are taken, though /-/ready says no; what was accepted is
    answered, with `connection: close`. A client may find the door shut, never half an answer."""
    for _ in range(gb.count(3, 100)):
        refused = []

        def ask(server):
            try:
                c = server.raw()
            except (ConnectionRefusedError, ConnectionResetError):
                refused.append(time.monotonic())
                time.sleep(0.01)
                return
            with c:
                c.send(serving.request("POST", "/text", body=b"t" * 100))
                answer = c.answer()
                if answer is None:  # it came after the last accept: never read
                    refused.append(time.monotonic())
                    return
                assert answer.complete and answer.body == b"t" * 100, repr(answer)
        with serving.Server(tmp_path, version(0)) as s:
            with serving.Load(s, 4, ask) as load:
                time.sleep(0.2)
                assert s.admin("/-/ready").status == 200
                s.signal(signal.SIGTERM)
                told = time.monotonic()
                gb.wait_for(lambda: s.admin("/-/ready").status == 503, 2)
                s.process.wait(gb.slack_s(3))
                took = time.monotonic() - told
            assert not load.failures, load.failures[:3]
            assert took >= 0.3 and all(t >= told + 0.29 for t in refused), (took, refused, told)
            assert took < gb.slack_s(1)


def test_what_is_in_flight_finishes(tmp_path):
    with serving.Server(tmp_path, version(0)) as s, s.raw() as c, s.raw() as idle:
        assert idle.ask("GET", "/edge").status == 200
        c.send(serving.request("POST", "/echo/x", [("Content-Length", "4")]) + b"ab")
        assert c.head().status == 200
        s.signal(signal.SIGTERM)
        time.sleep(0.6)  # past the grace
        with pytest.raises(ConnectionRefusedError):
            s.raw()
        assert idle.ends()
        c.send(b"cd")
        while c.more():
            pass
        assert c.buffer.endswith(b"0\r\n\r\n"), c.buffer


def test_what_does_not_finish_is_ended(tmp_path):
    text = version(0).replace('drain = "3s"', 'drain = "400ms"')
    with serving.Server(tmp_path, text) as s, s.raw() as c:
        c.send(serving.request("POST", "/spin", body=b""))
        s.wait_state(running=1)
        start = time.monotonic()
        s.stop()
        assert 0.6 <= time.monotonic() - start < gb.slack_s(2)
        assert c.answer() is None


def test_second_signal_ends_it_at_once(tmp_path):
    with serving.Server(tmp_path, version(0)) as s, s.raw() as c:
        c.send(serving.request("POST", "/spin", body=b""))
        s.wait_state(running=1)
        s.signal(signal.SIGTERM)
        time.sleep(0.1)
        s.signal(signal.SIGTERM)
        start = time.monotonic()
        status = s.process.wait(gb.TIMEOUT_S)
        assert time.monotonic() - start < gb.slack_s(0.5)
        s.status_expected = status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_stop(tmp_path, number):
    with serving.Server(tmp_path, serving.fixed("/")) as s:
        assert s.ask("GET", "/").status == 200
        s.signal(number)
        start = time.monotonic()
        assert s.process.wait(gb.TIMEOUT_S) == 0
        assert time.monotonic() - start < gb.slack_s(0.5)
