# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 as clients see it: connections, framing, limits, ids, errors."""
import json

import pytest

import gb
import serving

MANIFEST = "".join([
    '[host]\nhttp.url-bytes = "2KiB"\nhttp.header-bytes = "8KiB"\nhttp.headers = 20\n'
    'http.body-bytes = "1MiB"\n',
    '[limits]\ntext = "64KiB"\nqueue = 64\n',
    serving.component("edge", "hello-http"), serving.component("echo-http"),
    serving.component("probe", "http-probe"), serving.component("text", "echo"),
    serving.route("/edge", "edge"), serving.route("/echo/...", "echo-http"),
    serving.route("/text", "text"),
    *[serving.route(p, "probe") for p in ("/early", "/late", "/trailers", "/flood")],
    serving.fixed("/fixed"),
])


@pytest.fixture(scope="module")
def s(tmp_path_factory):
    with serving.Server(tmp_path_factory.mktemp("front"), MANIFEST) as running:
        yield running


def test_keep_alive(s):
    with s.raw() as c:
        for path in ("/fixed", "/edge", "/echo/x", "/nope", "/fixed") * 5:
            answer = c.ask("GET", path)
            assert answer.complete and not answer.closes, repr(answer)
        assert c.ask("POST", "/echo/x", body=b"a").body == b"a"
        assert c.ask("POST", "/text", body=b"b").body == b"b"


def test_http_client(s):
    """Another reader of what we write."""
    client = s.client()
    for n in range(20):
        client.request("POST", f"/echo/{n}", body=(b"part" for _ in range(n)))
        answer = client.getresponse()
        assert answer.read() == b"part" * n and answer.getheader("x-path") == f"/echo/{n}"
    client.request("HEAD", "/edge")
    answer = client.getresponse()
    assert answer.read() == b"" and answer.getheader("content-length") == "32"
    client.close()


def test_pipelining_is_in_order(s):
    """Fast and slow, all sent before the first answer."""
    paths = ["/late", "/fixed", "/text", "/echo/1", "/nope", "/edge"] * 10
    bodies = [b"%d" % i if p in ("/late", "/text", "/echo/1") else None
              for i, p in enumerate(paths)]
    data = b"".join(serving.request("POST" if b else "GET", p, [("X-Request-Id", f"n{i}")], b)
                    for i, (p, b) in enumerate(zip(paths, bodies)))
    with s.raw() as c:
        c.send(data + serving.request("GET", "/fixed", [("Connection", "close")]))
        answers = c.answers()
    assert len(answers) == len(paths) + 1
    assert [a.get("x-request-id") for a in answers[:-1]] == [f"n{i}" for i in range(len(paths))]
    for path, body, answer in zip(paths, bodies, answers):
        assert answer.complete and answer.status == {"/late": 201, "/nope": 404}.get(path, 200)
        assert path not in ("/text", "/echo/1") or answer.body == body


def test_request_body_of_an_unread_kind_closes(s):
    """An answer before the body, where nobody will read it: the connection cannot go on."""
    with s.raw() as c:
        c.send(serving.request("POST", "/nope", body=b"12345") +
               serving.request("GET", "/fixed"))
        c.answer().refused(404, "not-found")
        assert c.ends()


def test_head(s):
    with s.raw() as c:
        for path, length in (("/fixed", "6"), ("/edge", "32"), ("/nope", None), ("/echo/", None)):
            answer = c.ask("HEAD", path)
            get = c.ask("GET", path)
            assert answer.status == get.status
            if length:
                assert (answer.get("content-length"), get.get("content-length")) == (length, length)
        assert c.ask("GET", "/fixed").body == b"fixed\n"


def test_expect_continue(s):
    with s.raw() as c:
        for path in ("/text", "/echo/x", "/late"):
            c.send(serving.request("POST", path, [("Expect", "100-continue"),
                                                  ("Content-Length", "5")]))
            assert c.answer().status == 100
            c.send(b"hello")
            answer = c.answer()
            assert answer.complete and answer.body in (b"hello", b"5\n")


def test_no_continue_where_it_is_refused(s):
    for path, status in (("/nope", 404), ("/text", 413)):
        with s.raw() as c:
            c.send(serving.request("POST", path, [("Expect", "100-continue"),
                                                  ("Content-Length", "900000")]))
            answer = c.answer()
            assert answer.status == status and answer.closes, repr(answer)
            assert c.ends()


def test_http_1_0(s):
    for path in ("/fixed", "/edge", "/echo/x", "/trailers"):
        with s.raw() as c:
            c.send(f"GET {path} HTTP/1.0\r\nHost: a\r\n\r\n".encode())
            answer = c.answer()
            assert answer.status == 200 and answer.complete, repr(answer)
            assert not answer.get("transfer-encoding"), repr(answer)
            assert c.ends()
    with s.raw() as c:
        for _ in range(2):
            c.send(b"GET /fixed HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert c.answer().get("connection").lower() == "keep-alive"


def test_connection_close(s):
    for path in ("/fixed", "/edge", "/nope", "/echo/x"):
        with s.raw() as c:
            answer = c.ask("GET", path, [("Connection", "close")])
            assert answer.closes and c.ends(), repr(answer)


def test_chunked_both_ways(s):
    with s.raw() as c:
        c.send(serving.request("POST", "/echo/x", [("Transfer-Encoding", "chunked")]))
        head = c.head()
        assert head.get("transfer-encoding") == "chunked", repr(head)
        for n in (1, 100, 65536, 7):  # each comes back before the next is sent
            c.send(serving.chunk(b"x" * n))
            got = b""
            while len(got) < n:
                size = int(c.line(), 16)
                got += c.take(size)
                assert c.take(2) == b"\r\n"
            assert got == b"x" * n
        c.send(b"0\r\nX-Sum: 7\r\nX-Other: a\r\n\r\n")
        assert c.line() == b"0"
        assert c.fields() == [("x-sum", "7"), ("x-other", "a")]
        assert c.ask("GET", "/fixed").status == 200


def test_trailers_of_the_guest(s):
    with s.raw() as c:
        answer = c.ask("GET", "/trailers", [("TE", "trailers")])
        assert (answer.body, answer.trailers) == (b"body\n", [("x-sum", "42")])


def test_early_answer(s):
    """The answer begins before the request's body has ended."""
    with s.raw() as c:
        c.send(serving.request("POST", "/early", [("Content-Length", "6")]) + b"abc")
        head = c.head()
        assert head.status == 200
        assert c.take(int(c.line(), 16)) == b"early\n"
        c.take(2)
        c.send(b"def")
        assert c.take(int(c.line(), 16)) == b"6\n"
        c.take(2)
        assert c.line() == b"0" and c.fields() == []
        assert c.ask("GET", "/fixed").status == 200


def test_one_byte_at_a_time(s):
    with s.raw() as c:
        for byte in serving.request("POST", "/echo/x", [("Transfer-Encoding", "chunked")]) + \
                b"2;a=b\r\nab\r\n0\r\nX: y\r\n\r\n":
            c.send(bytes([byte]))
        answer = c.answer()
        assert (answer.body, answer.trailers) == (b"ab", [("x", "y")])


@pytest.mark.parametrize("size", [0, 1, 1000, 65535, 65536, 65537, 300000])
def test_body_sizes(s, size):
    body = bytes(range(256)) * (size // 256) + b"e" * (size % 256)
    for coded in (False, True):
        with s.raw() as c:
            if coded:
                c.send(serving.request("POST", "/echo/x", [("Transfer-Encoding", "chunked")]) +
                       (serving.chunk(body) if body else b"") + b"0\r\n\r\n")
            else:
                c.send(serving.request("POST", "/echo/x", body=body))
            answer = c.answer()
            assert answer.complete and answer.body == body


# ---- limits ----

def test_url_limit(s):
    with s.raw() as c:
        assert c.ask("GET", "/echo/" + "a" * (2048 - 6)).status == 200
        c.ask("GET", "/echo/" + "a" * (2049 - 6)).refused(431, "header-too-large")
        assert c.ends()


def test_header_limits(s):
    with s.raw() as c:
        assert c.ask("GET", "/fixed", [("X", "a")] * 19).status == 200
        c.ask("GET", "/fixed", [("X", "a")] * 20).refused(431, "header-too-large")
        assert c.ends()
    with s.raw() as c:
        assert c.ask("GET", "/fixed", [("X", "a" * 8000)]).status == 200
        c.ask("GET", "/fixed", [("X", "a" * 8192)]).refused(431, "header-too-large")
        assert c.ends()


def test_body_limit(s):
    size = 1 << 20
    for fields in ([("Content-Length", str(size + 1))], [("Transfer-Encoding", "chunked")]):
        with s.raw() as c:
            c.send(serving.request("POST", "/late", fields))
            if fields[0][0] != "Content-Length":
                for _ in range(17):
                    c.send(serving.chunk(b"a" * 65536))
            c.answer().refused(413, "payload-too-large")
            assert c.ends()
    with s.raw() as c:
        assert c.ask("POST", "/late", body=b"a" * size).body == b"%d\n" % size


def test_text_limit(s):
    with s.raw() as c:
        assert len(c.ask("POST", "/text", body=b"a" * 65536).body) == 65536
        c.ask("POST", "/text", body=b"a" * 65537).refused(413, "payload-too-large")
        assert c.ends()


# ---- ids and errors ----

def test_request_id(s):
    with s.raw() as c:
        for path in ("/fixed", "/edge", "/nope"):
            assert len(c.ask("GET", path).get("x-request-id")) == 32
        for path in ("/fixed", "/edge"):
            for kept in ("a", "A-b_c.9", "x" * 64):
                assert c.ask("GET", path, [("X-Request-Id", kept)]).get("x-request-id") == kept
            for bad in ("a b", "", "é", "x" * 200, '"', "a/b"):
                made = c.ask("GET", path, [("X-Request-Id", bad)]).get("x-request-id")
                assert made != bad and len(made) == 32
        seen = {c.ask("GET", "/fixed").get("x-request-id") for _ in range(50)}
        assert len(seen) == 50


def test_refused_requests_keep_their_id(s):
    with s.raw() as c:
        answer = c.ask("GET", "/nope", [("X-Request-Id", "mine")]).refused(404, "not-found")
        assert answer.error["request_id"] == "mine"
        answer = c.ask("POST", "/edge", [("X-Request-Id", "mine"), ("Content-Length", "0")])
        assert answer.get("x-request-id") == "mine"


def test_errors_say_nothing_of_the_host(s):
    asks = [("GET", "/nope"), ("GET", "/../etc/passwd"), ("BAD", "/"),
            ("POST", "/text", [], b"\xff")]
    for ask in asks:
        with s.raw() as c:
            answer = c.ask(*ask)
        text = json.dumps(answer.error)
        for word in (str(gb.ROOT), "/tmp", ".wasm", ".toml", ".c:", "default"):
            assert word not in text, text


def test_answers_do_not_say_what_we_are(s):
    for path in ("/fixed", "/edge", "/nope"):
        assert s.ask("GET", path).get("server") is None


def test_reset_in_every_phase(s):
    """Clients that vanish leave nothing behind."""
    head = serving.request("POST", "/echo/x", [("Content-Length", "10")])
    for data in (b"", b"G", head[:20], head, head + b"abc", head + b"0123456789",
                 serving.request("GET", "/flood"), serving.request("GET", "/fixed") * 50):
        for leave in ("reset", "close"):
            c = s.raw()
            c.send(data)
            getattr(c, leave)()
    s.wait_state(running=0, connections=0)


def test_a_port_in_use_is_refused(s):
    out = gb.glovebox("serve", "--listen", f"127.0.0.1:{s.address[1]}", "--admin", "127.0.0.1:0",
                      gb.GUESTS / "hello-http.wasm", timeout=20)
    assert out.status == 100 and str(s.address[1]) in out.stderr, repr(out)
    assert s.ask("GET", "/fixed").status == 200


def test_http_client_reads_errors(s):
    client = s.client()
    client.request("GET", "/nope")
    answer = client.getresponse()
    assert answer.status == 404 and json.loads(answer.read())["error"]["code"] == "not-found"
    client.close()
