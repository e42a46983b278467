# SPDX-License-Identifier: Apache-2.0
"""TLS: versions, protocols, deadlines, certificates that are read again."""
import shutil
import ssl
import time
import warnings

import pytest

import gb
import serving


def manifest(cert, key, more=""):
    return "".join([
        f'[host]\nloops = 2\ncalls = 32\nhttp.handshake-deadline = "500ms"\n{more}',
        f'tls = {{ cert = "{cert}", key = "{key}" }}\n',
        serving.component("edge", "hello-http"), serving.component("echo-http"),
        serving.route("/edge", "edge"), serving.route("/echo/...", "echo-http"),
        serving.fixed("/fixed")])


@pytest.fixture(scope="module")
def s(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    cert, key = serving.certificate(folder)
    with serving.Server(folder, manifest(cert, key)) as running:
        running.cert = cert
        yield running


def context(cert, version=None, alpn=None):
    made = ssl.create_default_context(cafile=cert)
    if version:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made.minimum_version = made.maximum_version = version
    if alpn:
        made.set_alpn_protocols(alpn)
    return made


def test_the_ready_line_says_so(s):
    assert s.url.startswith("https://") and s.admin_url.startswith("http://")
    assert s.admin("/-/ready").status == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions(s, version):
    with s.raw(tls=context(s.cert, version)) as c:
        assert c.socket.version() == {771: "TLSv1.2", 772: "TLSv1.3"}[version.value]
        for _ in range(3):
            assert c.ask("GET", "/edge").status == 200
        answer = c.ask("POST", "/echo/x", body=b"a" * 300000)
        assert answer.body == b"a" * 300000 and answer.get("x-scheme") == "https"


def test_old_versions_are_refused(s):
    old = context(s.cert, ssl.TLSVersion.TLSv1_1)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        s.raw(tls=old)


@pytest.mark.parametrize("offered, picked", [
    (["http/1.1"], "http/1.1"), (["h2", "http/1.1"], "http/1.1"), (["h2"], None), (None, None)])
def test_protocols(s, offered, picked):
    with s.raw(tls=context(s.cert, alpn=offered)) as c:
        assert c.socket.selected_alpn_protocol() == picked
        assert c.ask("GET", "/fixed").status == 200


def test_plain_bytes(s):
    with s.raw() as c:
        c.send(serving.request("GET", "/fixed"))
        while c.more():
            pass
        assert b"200" not in c.buffer and b"fixed" not in c.buffer
    with s.raw(tls=context(s.cert)) as c:
        assert c.ask("GET", "/fixed").status == 200


def test_slow_handshake(s):
    for data in (b"", b"\x16\x03\x01\x02\x00\x01"):
        with s.raw() as c:
            c.send(data)
            start = time.monotonic()
            assert c.ends()
            assert 0.4 < time.monotonic() - start < gb.slack_s(1)


def test_large_answers_and_pipelining(s):
    with s.raw(tls=context(s.cert)) as c:
        data = b"".join(serving.request("POST", "/echo/x", body=b"%d" % i * 1000)
                        for i in range(30))
        c.send(data)
        for i in range(30):
            assert c.answer().body == b"%d" % i * 1000


def test_goodbye(s):
    """The last answer ends with close_notify, so that nobody can cut it."""
    with s.raw(tls=context(s.cert)) as c:
        c.socket.suppress_ragged_eofs = False
        assert c.ask("GET", "/fixed", [("Connection", "close")]).status == 200
        assert c.socket.recv(1) == b""


def test_leaving_within_a_handshake(s):
    for data in (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01" + b"\0" * 100):
        c = s.raw()
        c.send(data)
        c.reset()
    s.wait_state(connections=0)


def test_certificate_reload(tmp_path):
    cert, key = serving.certificate(tmp_path)
    first = tmp_path / "first.pem"
    shutil.copy(cert, first)
    with serving.Server(tmp_path, manifest(cert, key)) as s:
        with s.raw(tls=context(first)) as held:
            assert held.ask("GET", "/edge").status == 200
            serving.certificate(tmp_path)
            assert s.reload()
            with pytest.raises(ssl.SSLCertVerificationError):
                s.raw(tls=context(first))
            with s.raw(tls=context(cert)) as c:
                assert c.ask("GET", "/edge").status == 200
            assert held.ask("GET", "/edge").status == 200
            key.write_text("no key")
            assert not s.reload() and "no key" not in s.log
            with s.raw(tls=context(cert)) as c:
                assert c.ask("GET", "/edge").status == 200


def test_a_bad_certificate_is_refused_at_start(tmp_path):
    cert, key = serving.certificate(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    _, other_key = serving.certificate(other)
    for pair in ((cert, other_key), (key, key), (cert, tmp_path / "none.pem")):
        (tmp_path / "glovebox.toml").write_text(manifest(*pair))
        out = gb.glovebox("serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
                          tmp_path / "glovebox.toml", timeout=20)
        assert out.status == 101 and "manifest-invalid" in out.stderr, repr(out)
