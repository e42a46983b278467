# SPDX-License-Identifier: Apache-2.0
"""What answers: each kind of route, paths, methods, and the three kinds of files."""
import json
import re

import pytest

import gb
import serving

VALUES = "glovebox-test:values/"

PROBES = ["/early", "/late", "/trailers", "/trap-before", "/trap-after", "/trap-in-body", "/none",
          "/drop", "/error", "/exit", "/unfinished", "/short", "/empty-short"]

MANIFEST = "".join([
    serving.component("edge", "hello-http"), serving.component("echo-http"),
    serving.component("probe", "http-probe"), serving.component("text", "echo"),
    serving.component("digits", "agent", 'models = ["digits"]'), serving.component("values"),
    f'[model.digits]\nsource = "{gb.MODELS}/digits.onnx"\n',
    serving.route("/edge", "edge"), serving.route("/echo/...", "echo-http", "http"),
    *[serving.route(p, "probe", "http") for p in PROBES], serving.route("/text", "text", "agent"),
    serving.route("/digits", "digits", "agent", 'methods = ["POST"]'),
    serving.route("/greeter/...", "values", VALUES + "greeter"),
    serving.route("/values/...", "values", VALUES + "echo"),
    serving.fixed("/"), serving.fixed("/exact", "exact"), serving.fixed("/a/:x", "param"),
    serving.fixed("/a/:x/b", "param-b"), serving.fixed("/a/b", "literal"),
    serving.fixed("/a/...", "below"), serving.fixed("/only-get", "get", 'methods = ["GET"]'),
    serving.fixed("/only-get", "put", 'methods = ["PUT", "DELETE"]'),
    '[[route]]\npath = "/teapot"\n'
    'static = { status = 418, headers = { x-own = "1" }, body = "short and stout" }\n',
])


@pytest.fixture(scope="module")
def s(tmp_path_factory):
    with serving.Server(tmp_path_factory.mktemp("routes"), MANIFEST) as running:
        yield running


def post(s, path, body, kind=None):
    fields = [("Content-Type", kind)] if kind else []
    return s.ask("POST", path, fields, body if isinstance(body, bytes) else body.encode())


def test_http(s):
    answer = s.ask("GET", "/edge")
    assert (answer.status, answer.body) == (200, b"Hello from inside the glovebox.\n")
    assert answer.get("content-length") == "32"
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", answer.get("date"))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_any_method(s, method):
    answer = s.ask(method, "/echo/x?y=%20z", [("X-Echo", "1"), ("X-Echo", "2")], b"body")
    assert (answer.status, answer.body) == (200, b"body")
    assert answer.get("x-method") == method
    assert answer.get("x-path") == "/echo/x?y=%20z"
    assert (answer.get("x-authority"), answer.get("x-scheme")) == ("a", "http")
    assert [v for k, v in answer.fields if k == "x-echo"] == ["1", "2"]


def test_agent_text(s):
    answer = post(s, "/text", "olá\n")
    assert (answer.status, answer.body.decode()) == (200, "olá\n")
    assert answer.get("content-type") == "text/plain; charset=utf-8"
    assert post(s, "/text", "").body == b""


def test_agent_json_string(s):
    for kind in ("application/json", "application/json; charset=utf-8", "Application/JSON"):
        assert post(s, "/text", '"a\\u00e9\\n"', kind).body.decode() == "aé\n"
    for bad in ("", "{}", "1", '"a', '"a" "b"', '"\\ud800"'):
        post(s, "/text", bad, "application/json").refused(400, "invalid-argument")


def test_agent_text_must_be_utf8(s):
    assert post(s, "/text", b"\xff\xfe").refused(400, "invalid-argument")


def test_agent_err_is_422(s):
    answer = post(s, "/digits", "not a picture")
    answer.refused(422, "guest-error")
    assert "expected a number" in answer.error["message"]


def test_agent_asks_its_model(s):
    lines = (gb.MODELS / "digits_samples.txt").read_text().splitlines()
    picture = next(line for line in lines if line and not line.startswith("#"))
    answer = post(s, "/digits", picture.split("\t")[-1])
    assert answer.status in (200, 422)
    zeros = post(s, "/digits", " ".join(["0"] * 64))
    assert zeros.status == 200 and zeros.body.startswith(b"class="), repr(zeros)


def test_function_by_name_and_position(s):
    ada = {"first": "Ada", "last": "Lovelace"}
    for arguments in ({"person": ada}, [ada]):
        answer = post(s, "/greeter/greet", json.dumps(arguments))
        assert (answer.status, answer.json) == (200, "Hello, Ada Lovelace!"), repr(answer)
        assert answer.get("content-type") == "application/json"


def test_function_results(s):
    assert post(s, "/values/echo-u64", "[18446744073709551615]").body == b'"18446744073709551615"' \
        or post(s, "/values/echo-u64", "[18446744073709551615]").json == 18446744073709551615
    assert post(s, "/values/nothing", "[]").status == 200
    assert post(s, "/values/check", "[1]").status in (200, 422)


@pytest.mark.parametrize("body", ["", "{", "1", "[]", "[1]", '{"persona":{}}', '[{"first":"a"}]',
                                  '[{"first":"a","last":"b"},1]', '[{"first":1,"last":"b"}]'])
def test_function_bad_arguments(s, body):
    post(s, "/greeter/greet", body).refused(400, "invalid-argument")


def test_function_of_no_such_name(s):
    for path in ("/greeter/nope", "/greeter", "/greeter/", "/greeter/greet/x", "/greeter/echo-u8"):
        post(s, path, "[]").refused(404, "not-found")


def test_function_is_called_by_post(s):
    answer = s.ask("GET", "/greeter/greet").refused(405, "method-not-allowed")
    assert answer.get("allow") == "POST"


def test_static(s):
    answer = s.ask("GET", "/teapot")
    assert (answer.status, answer.body, answer.get("x-own")) == (418, b"short and stout", "1")
    assert s.ask("POST", "/teapot", body=b"x").status == 418


@pytest.mark.parametrize("path, body", [
    ("/", "fixed\n"), ("/exact", "exact"), ("/exact?a=b", "exact"), ("/a/b", "literal"),
    ("/a/c", "param"), ("/a/c/b", "param-b"), ("/a/c/d", "below"), ("/a", "below"),
    ("/a/", "below"), ("/a/b/c/d", "below")])
def test_paths(s, path, body):
    assert s.ask("GET", path).body.decode() == body


@pytest.mark.parametrize("path", ["/nope", "/exact/", "/exact/x", "/Exact", "/edge/x"])
def test_not_found(s, path):
    s.ask("GET", path).refused(404, "not-found")


def test_methods(s):
    assert s.ask("GET", "/only-get").body == b"get"
    assert s.ask("HEAD", "/only-get").status == 200
    assert s.ask("DELETE", "/only-get").body == b"put"
    answer = s.ask("POST", "/only-get", body=b"")
    answer.refused(405, "method-not-allowed")
    assert set(answer.get("allow").split(", ")) >= {"GET", "PUT", "DELETE"}
    assert s.ask("GET", "/digits").get("allow") == "POST"


@pytest.mark.parametrize("path, code", [
    ("trap-before", "guest-trap"), ("none", "guest-trap"), ("drop", "guest-trap"),
    ("error", "guest-error"), ("exit", "guest-exit")])
def test_guests_that_fail_before_they_answer(s, path, code):
    answer = s.ask("GET", "/" + path)
    assert answer.status in (500, 502, 422) and answer.error["code"], repr(answer)
    if path.startswith("trap"):
        answer.refused(500, code)
    text = json.dumps(answer.error)
    assert str(gb.ROOT) not in text and ".wasm" not in text


@pytest.mark.parametrize("path", ["trap-in-body", "unfinished", "short", "empty-short"])
def test_half_an_answer_is_none(s, path):
    """An error, or after the head is out the only way to say that something is missing: the end."""
    with s.raw() as c:
        answer = c.ask("GET", "/" + path)
        if answer and answer.complete:
            assert answer.status == 500 and answer.error["code"] in gb.exit_statuses()
        else:
            assert c.ends()
    assert s.ask("GET", "/edge").status == 200


def test_late_and_early(s):
    assert post(s, "/late", "12345").body == b"5\n"
    assert post(s, "/late", "12345").status == 201
    assert post(s, "/early", "12345").body == b"early\n5\n"


def test_bare_program(tmp_path):
    (tmp_path / "hello-http.wasm").symlink_to(gb.GUESTS / "hello-http.wasm")
    with serving.Server(tmp_path, None, name="hello-http.wasm") as s:
        for path in ("/", "/any/where"):
            assert s.ask("GET", path).body == b"Hello from inside the glovebox.\n"


def test_bare_agent(tmp_path):
    (tmp_path / "echo.wasm").symlink_to(gb.GUESTS / "echo.wasm")
    with serving.Server(tmp_path, None, name="echo.wasm") as s:
        assert s.ask("POST", "/", body=b"a").body == b"a"


def test_examples(tmp_path):
    for name in ("glovebox.toml", "spin.toml"):
        text = (gb.ROOT / "examples" / "serve" / name).read_text()
        text = text.replace("../../build/guests", str(gb.GUESTS))
        with serving.Server(tmp_path, text.replace("../..", str(gb.ROOT)), name=name) as s:
            for path in ("/hello", "/hello/x"):
                assert s.ask("GET", path).body == b"Hello from inside the glovebox.\n"
            if name == "spin.toml":
                assert s.ask("GET", "/health").body == b"ok\n"
            else:
                answer = post(s, "/greeter/greet", '{"person":{"first":"A","last":"L"}}')
                assert answer.json == "Hello, A L!"
                assert "/digits" in s.ask("GET", "/").body.decode()


def test_admin(s):
    assert s.admin("/-/live").status == 200
    assert s.admin("/-/ready").json == {"ready": True}
    assert s.admin("/metrics").get("content-type").startswith("text/plain")
    assert s.admin("/nope").status == 404
    assert s.admin("/-/ready", "POST").status == 405
    for path in ("/-/live", "/-/ready", "/-/status", "/metrics"):
        s.ask("GET", path).refused(404, "not-found")


def test_refused_at_start(tmp_path):
    """A manifest that cannot be served: exit status, and nothing on stdout."""
    for text, code in ((serving.component("x", "no-such-guest") + serving.route("/", "x"), 101),
                       (serving.route("/", "x"), 101), ("[host]\nlisten = 1\n", 101),
                       (serving.component("x", "agent") + serving.route("/", "x", "http"), 101)):
        (tmp_path / "glovebox.toml").write_text(text)
        out = gb.glovebox("serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
                          tmp_path / "glovebox.toml", timeout=20)
        assert out.status == code and out.stdout == "" and out.stderr, repr(out)
