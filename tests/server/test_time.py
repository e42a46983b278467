# SPDX-License-Identifier: Apache-2.0
"""Deadlines, slow clients, clients that leave."""
import time

import pytest

import gb
import serving

TIMES = """
[host]
loops = 2
calls = 64
http.header-deadline = "300ms"
http.body-deadline = "600ms"
http.response-deadline = "500ms"
http.request-deadline = "1s"
http.keep-alive = "400ms"
http.handshake-deadline = "300ms"
http.body-bytes = "64MiB"
[limits]
deadline = "700ms"
"""
ROUTES = "".join([
    serving.component("edge", "hello-http"), serving.component("echo-http"),
    serving.component("probe", "http-probe"), serving.component("text", "echo"),
    serving.component("spin"), serving.component("slow", "slow", 'models = ["slow200"]'),
    f'[model.slow200]\nsource = "{gb.TEST_MODELS}/slow200.onnx"\n',
    serving.route("/edge", "edge"), serving.route("/echo/...", "echo-http"),
    serving.route("/text", "text"), serving.route("/spin-agent", "spin"),
    serving.component("hurried", "slow", 'models = ["slow200"]\nlimits = { deadline = "30ms" }'),
    serving.route("/slow", "slow"), serving.route("/hurried", "hurried"),
    *[serving.route(p, "probe") for p in ("/late", "/flood", "/spin", "/spin-after", "/wait")],
    serving.fixed("/fixed"),
])


@pytest.fixture(scope="module")
def s(tmp_path_factory):
    with serving.Server(tmp_path_factory.mktemp("time"), TIMES + ROUTES) as running:
        yield running


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """With the default deadlines, which are long."""
    with serving.Server(tmp_path_factory.mktemp("patient"), "[host]\nloops = 2\ncalls = 64\n"
                        'http.body-bytes = "1GiB"\n' + ROUTES) as running:
        yield running


def timed(low_s, high_s):
    """A context in which that much time must pass: no less, and no more but for slack."""
    class Timed:
        def __enter__(self):
            self.start = time.monotonic()

        def __exit__(self, kind, *unused):
            took = time.monotonic() - self.start
            assert kind or low_s <= took <= gb.slack_s(high_s), f"took {took:.3f} s"
    return Timed()


def trickle(c, data, pause_s=0.05):
    """A byte at a time, until the other side ends the connection."""
    c.socket.settimeout(0.001)
    for byte in data:
        time.sleep(pause_s)
        try:
            if not c.send(bytes([byte])) or not c.more():
                break
        except TimeoutError:
            pass
    c.socket.settimeout(serving.READ_TIMEOUT_S)


def test_silent_connection(s):
    with s.raw() as c, timed(0.25, 0.6):
        assert c.ends()


def test_slow_head(s):
    with s.raw() as c, timed(0.25, 0.6):
        trickle(c, b"GET /fixed HTTP/1.1\r\nHost: a\r\n" + b"X: " + b"a" * 1000)
        c.answer().refused(408, "request-timeout")
        assert c.ends()


def test_slow_second_head(s):
    with s.raw() as c:
        assert c.ask("GET", "/fixed").status == 200
        with timed(0.25, 0.6):
            trickle(c, b"GET /fixed HTTP/1.1\r\nHost: a\r\n" + b"X: " + b"a" * 1000)
            c.answer().refused(408, "request-timeout")


@pytest.mark.parametrize("path", ["/text", "/late"])
def test_slow_body(s, path):
    """Bytes that trickle in do not extend it."""
    with s.raw() as c, timed(0.5, 0.9):
        c.send(serving.request("POST", path, [("Content-Length", "1000")]))
        trickle(c, b"a" * 1000)
        answer = c.answer()
        if path == "/text":
            answer.refused(408, "request-timeout")
        assert answer.status in (408, 500) and answer.closes, repr(answer)
        assert c.ends()
    s.wait_state(running=0)


def test_slow_body_of_a_streaming_guest(s):
    with s.raw() as c, timed(0.5, 0.9):
        c.send(serving.request("POST", "/echo/x", [("Content-Length", "1000")]))
        trickle(c, b"a" * 1000)
        while c.more():
            pass
        assert b"\r\n0\r\n" not in c.buffer
    s.wait_state(running=0)


def test_keep_alive_ends(s):
    with s.raw() as c:
        assert c.ask("GET", "/fixed").status == 200
        with timed(0.35, 0.7):
            assert c.ends()


def test_slow_reader(s):
    """It takes nothing of an answer without end: after its deadline the guest is gone."""
    with s.raw(receive_buffer=4096) as c:
        c.send(serving.request("GET", "/flood"))
        s.wait_state(running=1)
        with timed(0.1, 1.2):
            s.wait_state(running=0, connections=0)


@pytest.mark.parametrize("path", ["/spin", "/spin-agent"])
def test_guest_deadline(s, path):
    with s.raw() as c, timed(0.6, 1.2):
        c.ask("POST", path, body=b"").refused(500, "deadline-exceeded")
    assert s.state()["running"] == 0


def test_guest_deadline_on_a_model_route(s):
    """Its inference takes several times as long as the component has."""
    with s.raw() as c, timed(0.02, 0.3):
        c.ask("POST", "/hurried", body=b"slow200").refused(504, "deadline-exceeded")
    s.wait_state(running=0)


def test_guest_that_spins_after_its_head(s):
    with s.raw() as c, timed(0.3, 1.2):
        c.send(serving.request("GET", "/spin-after"))
        answer = c.answer()
        assert answer is None or not answer.complete or answer.status == 500, repr(answer)
    s.wait_state(running=0)


def test_minimum_rate(tmp_path):
    """Too slow on average: refused after the grace, long before the body's deadline."""
    text = '[host]\nhttp.body-rate = "1MiB"\n' + serving.component("echo") + \
        serving.route("/", "echo")
    with serving.Server(tmp_path, text) as s, s.raw() as c, timed(4.5, 6):
        c.send(serving.request("POST", "/", [("Content-Length", "100000")]))
        trickle(c, b"a" * 1000)
        c.answer().refused(408, "request-timeout")


# ---- clients that leave ----

def leave_s(s, c, how):
    getattr(c, how)()
    return s.wait_state(running=0)


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("path, body", [("/spin", b""), ("/spin-agent", b""), ("/wait", None),
                                        ("/flood", b""), ("/slow", b"slow200")])
def test_leaving_ends_the_guest(patient, path, body, how):
    c = patient.raw()
    c.send(serving.request("POST", path, [("Content-Length", "5")] if body is None else [], body))
    patient.wait_state(running=1)
    time.sleep(0.1)  # it is in the middle of it
    if patient.state()["running"] == 0:
        assert path == "/slow"  # it may have ended by itself
        return
    took = leave_s(patient, c, how)
    gb.record(f"cancelled after {path} lost its client, s", took)
    assert took < gb.slack_s(0.1), f"{took:.3f} s"


def test_leaving_the_queue(tmp_path):
    """Who waits for a turn and leaves has no turn; who is behind gets it."""
    text = '[host]\ncalls = 1\nloops = 1\n[limits]\nqueue = 4\n' + serving.component("spin") + \
        serving.component("echo") + serving.route("/spin", "spin") + serving.route("/", "echo")
    with serving.Server(tmp_path, text) as s:
        first, waiting, behind = s.raw(), s.raw(), s.raw()
        first.send(serving.request("POST", "/spin", body=b""))
        s.wait_state(running=1)
        waiting.send(serving.request("POST", "/spin", body=b""))
        time.sleep(0.05)
        behind.send(serving.request("POST", "/", body=b"turn"))
        time.sleep(0.05)
        waiting.reset()
        time.sleep(0.05)
        first.close()
        assert behind.answer().body == b"turn"
        behind.close()
        s.wait_state(running=0, connections=0)


# ---- many slow clients ----

@pytest.mark.alone
def test_slow_clients_do_not_slow_the_others(patient):
    """Good clients' p99 with 200 slow ones: at most 2 times theirs without, and 5 ms; slack on."""
    n = gb.count(400, 5000)
    with patient.raw() as good:
        serving.latencies(good, 50, "GET", "/edge")
        alone = serving.latencies(good, n, "GET", "/edge")
        slow = []
        for i in range(200):
            c = patient.raw()
            if i % 4 == 0:
                c.send(b"GET /edge HTTP/1.1\r\nHo")
            elif i % 4 == 1:
                c.send(serving.request("POST", "/text", [("Content-Length", "1000")]) + b"a")
            elif i % 4 == 2:
                c.send(serving.request("POST", "/echo/x", [("Content-Length", "1000")]) + b"a")
            slow.append(c)
        patient.wait_state(connections=201)
        beside = []
        for i in range(n):
            beside += serving.latencies(good, 1, "GET", "/edge")
            slow[i % 200].send(b"a")
        for c in slow:
            c.close()
    p99 = [serving.percentile(v, 0.99) for v in (alone, beside)]
    gb.record("p99 beside 200 slow clients, times that without", p99[1] / p99[0])
    assert p99[1] <= gb.slack_s(2 * p99[0] + 0.005), (
        serving.summary(alone), serving.summary(beside))
    patient.wait_state(running=0)
