# SPDX-License-Identifier: Apache-2.0
"""Clients that read late or not at all, that leave at the worst moment, and all of that at once."""
import random
import ssl
import threading
import time

import pytest

import gb
import serving

KIB, MIB = 1024, 1024 * 1024
LARGE = "x" * 65000  # twice: more than the kernel keeps for SLOW; once: less than is sent at once
SLOW = {"receive_buffer": 4096, "segment": 536}

ROUTES = "".join([
    serving.component("edge", "hello-http"), serving.component("echo-http"),
    serving.component("probe", "http-probe"), serving.component("spin"),
    serving.route("/edge", "edge"), serving.route("/echo/...", "echo-http"),
    serving.route("/spin", "spin"), serving.route("/flood", "probe"),
    serving.route("/spin-after", "probe"),
    serving.fixed("/large", LARGE), serving.fixed("/fixed"),
])


def start(folder, host="", limits=""):
    return serving.Server(folder, f"[host]\nloops = 2\ncalls = 8\n{host}\n[limits]\n{limits}\n"
                          + ROUTES)


def fill(c, first, again, most=200):
    """Sends requests and reads nothing until the server reads no more either."""
    c.socket.settimeout(0.3)
    sent = 0
    try:
        c.socket.sendall(first)
        while sent < most:
            c.socket.sendall(again)
            sent += 1
            time.sleep(0.005)
    except OSError:  # no time, or the server has had enough
        pass
    c.socket.settimeout(serving.READ_TIMEOUT_S)
    return sent


def test_half_a_head_behind_an_unread_answer(tmp_path):
    """The head's deadline comes while an answer is still being written."""
    with start(tmp_path, 'http.header-deadline = "300ms"') as s:
        for _ in range(3):
            with s.raw(**SLOW) as c:
                half = b"GET /large HTTP/1.1\r\nHos"
                fill(c, half, b"t: a\r\n\r\n" + half)
                time.sleep(0.6)
                while (answer := c.answer()) is not None and answer.complete:
                    assert answer.status == 200 and answer.body == LARGE.encode()
        assert s.ask("GET", "/fixed").status == 200
        s.wait_state(connections=0)


@pytest.mark.parametrize("fields", [(), (("Connection", "close"),)])
def test_late_reader_gets_all(tmp_path, fields):
    """Neither the end of keep-alive nor that of the connection cuts an answer short."""
    with start(tmp_path, 'http.keep-alive = "300ms"') as s:
        with s.raw(**SLOW) as c:
            c.send(serving.request("GET", "/large") + serving.request("GET", "/large", fields))
            time.sleep(2)
            for _ in range(2):
                answer = c.answer()
                assert answer.complete and len(answer.body) == len(LARGE)
            assert c.ends()


def test_late_reader_gets_all_while_the_server_ends(tmp_path):
    with start(tmp_path) as s:
        with s.raw(**SLOW) as c:
            c.send(2 * serving.request("GET", "/large"))
            time.sleep(0.3)
            s.signal()
            time.sleep(1.5)
            for _ in range(2):
                answer = c.answer()
                assert answer.complete and len(answer.body) == len(LARGE)
            assert c.ends()
        assert s.process.wait(serving.READ_TIMEOUT_S) == 0


@pytest.mark.skipif(b"__asan_init" in gb.BINARY.read_bytes(), reason="ASan keeps what is freed")
def test_idle_connections_keep_no_buffers(tmp_path):
    with start(tmp_path) as s:
        connections = [s.raw() for _ in range(200)]
        for c in connections[:5]:
            assert c.ask("GET", "/large").complete
        before = s.rss_bytes()
        for c in connections:
            assert c.ask("GET", "/large").complete
        assert s.rss_bytes() - before < 8 * MIB  # of the 25 that an answer takes in each
        for c in connections:
            c.close()


def test_both_buffers_full(tmp_path):
    """A guest that echoes, a client that only sends: it ends with the call's deadline."""
    with start(tmp_path, 'http.body-bytes = "1GiB"', 'deadline = "1s"') as s:
        with s.raw(**SLOW) as c:
            c.send(serving.request("POST", "/echo/x", [("Transfer-Encoding", "chunked")]))
            sent = fill(c, b"", serving.chunk(b"z" * 65536), most=1000)
            assert sent < 1000
            s.wait_state(running=0)
            cpu = s.cpu_s()
            time.sleep(1)
            assert s.cpu_s() - cpu < 0.5
        s.wait_state(connections=0)


def storm(s, seconds, tls=None):
    """Everything at once, from many clients; whatever they get is well-formed."""
    end = time.monotonic() + seconds
    failures = []

    def one(rng):
        with s.raw(tls=tls) as c:
            kind = rng.randrange(8)
            if kind == 0:
                c.send(serving.request("GET", "/spin"))
                time.sleep(rng.random() * 0.05)
                c.reset()
            elif kind == 1:
                c.send(serving.request("GET", "/flood"))
                c.more()
                c.reset()
            elif kind == 2:
                c.send(serving.request("POST", "/echo/a", body=b"q" * rng.randrange(200 * KIB)))
                answer = c.answer()
                assert answer is None or answer.status in (200, 503, 500), repr(answer)
            elif kind == 3:
                c.send(serving.request("POST", "/echo/a", [("Content-Length", "100000")], b"q"))
                c.reset()
            elif kind == 4:
                c.send(b"".join([serving.request("GET", "/fixed")] * 20))
                for _ in range(20):
                    assert c.answer().status == 200
            elif kind == 5:
                c.send(serving.request("GET", "/spin-after"))
                c.more()
                time.sleep(rng.random() * 0.02)
                c.reset()
            elif kind == 6:
                c.send(b"GET /fixed HTTP/1.1\r\nHo")
            else:
                for _ in range(5):
                    answer = c.ask("GET", "/edge")
                    assert answer.status in (200, 500, 503), repr(answer)

    def client(seed):
        rng = random.Random(seed)
        while time.monotonic() < end:
            try:
                one(rng)
            except OSError:  # of its own reset, or of TLS
                pass
            except (AssertionError, AttributeError) as error:
                failures.append(repr(error))

    threads = [threading.Thread(target=client, args=(i,), daemon=True) for i in range(24)]
    for thread in threads:
        thread.start()
    while time.monotonic() < end:
        time.sleep(0.3)
        s.reload()
    for thread in threads:
        thread.join(serving.READ_TIMEOUT_S)
    assert not failures, failures[:3]


@pytest.mark.parametrize("secure", [False, True])
def test_storm(tmp_path, secure, long):
    """Resets, cancels, reloads, guests on lanes; then nothing is left of any of it."""
    host = ""
    tls = None
    if secure:
        cert, key = serving.certificate(tmp_path)
        host = f'tls.cert = "{cert}"\ntls.key = "{key}"'
        tls = ssl.create_default_context(cafile=str(cert))
    with start(tmp_path, host, 'deadline = "300ms"') as s:
        storm(s, 60 if long else 4, tls)
        s.wait_state(connections=0, running=0)
        with s.raw(tls=tls) as c:
            assert c.ask("GET", "/edge").status == 200
