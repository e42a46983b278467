# SPDX-License-Identifier: Apache-2.0
"""Memory and descriptors stay flat."""
import threading
import time

import gb
import serving

MIB = 1 << 20
TEXT = "".join(['[host]\nloops = 2\ncalls = 64\nhttp.body-bytes = "1GiB"\n',
                '[limits]\ndeadline = "120s"\n',
                serving.component("edge", "hello-http"), serving.component("echo-http"),
                serving.component("probe", "http-probe"), serving.component("text", "echo"),
                serving.route("/edge", "edge"), serving.route("/echo/...", "echo-http"),
                serving.route("/flood", "probe"), serving.route("/text", "text"),
                serving.fixed("/fixed")])


def stream(c, size, part, until_s, pace):
    """Sends `size` bytes in chunks while what comes back is read; what was read."""
    def feed():
        for _ in range(size // len(part)):
            if not c.send(serving.chunk(part)):
                return
        c.send(b"0\r\n\r\n")
    thread = threading.Thread(target=feed, daemon=True)
    c.send(serving.request("POST", "/echo/x", [("Transfer-Encoding", "chunked")]))
    thread.start()
    assert c.head().status == 200
    total, start = 0, time.monotonic()
    while True:
        n = int(c.line(), 16)
        if n == 0:
            assert c.fields() == []
            break
        data = c.take(n)
        assert data == part[:1] * n and c.take(2) == b"\r\n"
        total += n
        pace(total)
        assert time.monotonic() < start + until_s
    thread.join(10)
    return total


def test_streaming_with_a_slow_peer(tmp_path):
    """100 MiB through a guest and back to a peer that stops now and then; the host holds little."""
    size = 100 * MIB
    with serving.Server(tmp_path, TEXT) as s:
        with s.raw() as c:  # whatever the first such request costs
            assert c.ask("POST", "/echo/x", body=b"a" * MIB).complete
        before, peak = s.rss_bytes(), [0]
        pauses = [0]

        def pace(total):
            if total // (10 * MIB) > pauses[0]:
                pauses[0] += 1
                time.sleep(0.1)
                peak[0] = max(peak[0], s.rss_bytes())
        with s.raw(receive_buffer=65536, timeout=60) as c:
            assert stream(c, size, b"s" * 65536, 120, pace) == size
        grown = peak[0] - before
        gb.record("RSS that 100 MiB through an echo added, MiB", grown / MIB)
        assert pauses[0] >= 10
        assert grown < 4 * MIB + serving.sanitizer_bytes(), f"{grown / MIB:.1f} MiB"
        s.wait_state(running=0)


def test_reader_that_stops(tmp_path):
    """What a guest writes for nobody waits in a bounded place, and the guest waits too."""
    with serving.Server(tmp_path, TEXT) as s:
        with s.raw() as c:
            assert c.ask("GET", "/edge").complete
        before = s.rss_bytes()
        stuck = [s.raw(receive_buffer=4096) for _ in range(20)]
        for c in stuck:
            c.send(serving.request("GET", "/flood"))
        s.wait_state(running=20)
        time.sleep(0.5)
        grown = s.rss_bytes() - before
        most = 20 * MIB + serving.sanitizer_bytes()
        assert grown < most, f"{grown / MIB:.1f} MiB for 20"
        for c in stuck:
            c.close()
        s.wait_state(running=0, connections=0)


def test_many_requests(tmp_path):
    """5,000 requests of every kind, also with connections of their own: nothing is left over."""
    n = gb.count(1000, 20000)
    with serving.Server(tmp_path, TEXT) as s:
        def one_round(count):
            with s.raw() as c:
                for i in range(count):
                    assert c.ask("GET", "/edge").complete
                    assert c.ask("POST", "/text", body=b"a" * (i % 2000)).complete
                    assert c.ask("POST", "/echo/x", body=b"b" * (i % 3000)).complete
                    assert c.ask("GET", "/nope").status == 404
                    if i % 10 == 0:
                        assert s.ask("GET", "/fixed").complete
        one_round(n // 4)
        s.wait_state(running=0, connections=0)
        before = s.rss_bytes(), s.fds(), s.state()["ledger_bytes"]
        one_round(n)
        s.wait_state(running=0, connections=0)
        after = s.rss_bytes(), s.fds(), s.state()["ledger_bytes"]
        gb.record(f"RSS that {4 * n} requests added, KiB", (after[0] - before[0]) / 1024)
        assert after[0] - before[0] < 2 * MIB + serving.sanitizer_bytes(), (before, after)
        assert after[1] == before[1] and after[2] == before[2], (before, after)
