# SPDX-License-Identifier: Apache-2.0
"""Starts `glovebox serve` on free ports and speaks HTTP to it, by bytes and by http.client."""
import functools
import hashlib
import http.client
import json
import os
import pathlib
import signal
import socket
import ssl
import statistics
import subprocess
import threading
import time

import gb

READ_TIMEOUT_S = 20.0
ERROR_KEYS = {"code", "message", "hint", "request_id"}


# ---- manifests ----

def component(name, guest=None, more=""):
    return f'[component.{name}]\nsource = "{gb.GUESTS}/{guest or name}.wasm"\n{more}\n'


def route(path, name, call=None, more=""):
    call = f'call = "{call}"\n' if call else ""
    return f'[[route]]\npath = "{path}"\ncomponent = "{name}"\n{call}{more}\n'


def fixed(path, body="fixed\n", more=""):
    return f'[[route]]\npath = "{path}"\nstatic = {{ body = {json.dumps(body)} }}\n{more}\n'


def sha256(key):
    return hashlib.sha256(key.encode()).hexdigest()


def certificate(folder, name="localhost"):
    """A self-signed certificate; the paths of it and of its key."""
    cert, key = pathlib.Path(folder) / "cert.pem", pathlib.Path(folder) / "key.pem"
    done = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}",
         "-keyout", str(key), "-out", str(cert)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return cert, key


# ---- answers ----

class Answer:
    """One response: what it said, how it was framed, and whether all of it came."""

    def __init__(self, status, version, fields):
        self.status, self.version, self.fields = status, version, fields
        self.body = b""
        self.trailers = []
        self.complete = False

    def __repr__(self):
        return f"<{self.version} {self.status} {self.fields} {self.body[:300]!r} {self.complete}>"

    def get(self, name, default=None):
        found = [v for k, v in self.fields if k.lower() == name.lower()]
        assert len(found) <= 1, f"{name} comes {len(found)} times: {self!r}"
        return found[0] if found else default

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def closes(self):
        return self.get("connection", "").lower() == "close"

    @property
    def error(self):
        """The error, after a look at its shape."""
        assert self.get("content-type") == "application/json", repr(self)
        value = json.loads(self.body)
        assert set(value) == {"error"}, repr(self)
        error = value["error"]
        assert {"code", "message", "request_id"} <= set(error) <= ERROR_KEYS, repr(self)
        assert error["code"] in gb.exit_statuses(), repr(self)
        assert error["message"] and error["request_id"], repr(self)
        assert error["request_id"] == self.get("x-request-id"), repr(self)
        return error

    def refused(self, status, code):
        assert (self.status, self.error["code"]) == (status, code), repr(self)
        return self


def request(method="GET", target="/", fields=(), body=None, host="a"):
    """The bytes of a request."""
    lines = [f"{method} {target} HTTP/1.1"] + ([f"Host: {host}"] if host else [])
    lines += [f"{k}: {v}" for k, v in fields]
    if body is not None and not any(k.lower() in ("content-length", "transfer-encoding")
                                    for k, _ in fields):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


class Raw:
    """A connection by bytes. Answers are parsed strictly, one after the other."""

    def __init__(self, address, timeout=READ_TIMEOUT_S, tls=None, receive_buffer=None,
                 segment=None):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if segment:  # small ones make the kernel keep less on the other side
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(address)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls:
                self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        except OSError:
            self.socket.close()
            raise
        self.buffer = b""
        self.ended = False

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.socket.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Leaves at once, without a goodbye."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def send(self, data):
        """False: the other side takes no more."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            return False
        return True

    def ask(self, *args, **kwargs):
        self.send(request(*args, **kwargs))
        return self.answer(head_only=args[:1] == ("HEAD",))

    def more(self):
        """Reads once; False: there is nothing more, for ever."""
        if self.ended:
            return False
        try:
            data = self.socket.recv(65536)
        except (ConnectionResetError, ssl.SSLError):
            data = b""
        self.ended = not data
        self.buffer += data
        return bool(data)

    def line(self):
        while b"\r\n" not in self.buffer:
            if not self.more():
                return None
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def take(self, n):
        while len(self.buffer) < n and self.more():
            pass
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def fields(self):
        found = []
        while True:
            line = self.line()
            if not line:
                return found if line is not None else None
            name, colon, value = line.partition(b":")
            assert colon and name and name == name.strip(), line
            found.append((name.decode(), value.strip().decode("latin-1")))

    def head(self):
        """The head of the next answer; None: the connection ended before it."""
        line = self.line()
        if line is None:
            assert self.buffer == b"", self.buffer
            return None
        version, status, _ = line.decode().split(" ", 2)
        assert version == "HTTP/1.1", line
        fields = self.fields()
        return Answer(int(status), version, fields)

    def answer(self, head_only=False):
        """The next answer; None: the connection ended first."""
        answer = self.head()
        if answer is None:
            return None
        length, coding = answer.get("content-length"), answer.get("transfer-encoding")
        assert not (length and coding), repr(answer)
        if head_only or answer.status < 200 or answer.status in (204, 304):
            answer.complete = True
        elif coding:
            assert coding == "chunked", repr(answer)
            self.chunks(answer)
        elif length is not None:
            answer.body = self.take(int(length))
            answer.complete = len(answer.body) == int(length)
        else:
            while self.more():
                pass
            answer.body, self.buffer, answer.complete = self.buffer, b"", True
        return answer

    def chunks(self, answer):
        while True:
            size = self.line()
            if size is None:
                return
            n = int(size, 16)
            if n == 0:
                answer.trailers = self.fields()
                answer.complete = answer.trailers is not None
                return
            data = self.take(n)
            answer.body += data
            if len(data) < n or self.take(2) != b"\r\n":
                return

    def answers(self):
        """All until the connection ends."""
        found = []
        while True:
            answer = self.answer()
            if answer is None:
                return found
            found.append(answer)

    def ends(self):
        """Whether the connection ends with nothing more to say."""
        return not self.more() and self.buffer == b""


# ---- the program ----

def without_grace(text):
    """The manifest with no time between SIGTERM and the end of accepting, unless it says one."""
    quick = 'drain-accept = "0s"\n'
    if "drain-accept" in text:
        return text
    return text.replace("[host]\n", "[host]\n" + quick) if "[host]\n" in text else \
        f"{text}\n[host]\n{quick}"


class Server:
    """`glovebox serve`; leaving `with` stops it, and it must end with 0."""

    def __init__(self, folder, text, *options, name="glovebox.toml", wait=True, env=None):
        self.file = pathlib.Path(folder) / name
        if text is not None:
            self.file.write_text(without_grace(text) if name == "glovebox.toml" else text)
        self.log_path = pathlib.Path(folder) / "log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [str(gb.BINARY), "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
                 *[str(o) for o in options], str(self.file)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                env=env or gb.environment(), cwd=gb.ROOT)
        self.status_expected = 0
        self.told = False  # to stop; twice would be "at once"
        self.url = self.admin_url = None
        if wait:
            self.wait_ready()

    def wait_ready(self):
        line = self.process.stdout.readline().decode()
        words = line.split()
        if words[::2] != ["ready", "admin"]:
            self.kill()
            raise AssertionError(f"{line!r}\n{self.log}")
        self.url, self.admin_url = words[1], words[3]
        self.address = ("127.0.0.1", int(self.url.rpartition(":")[2]))
        self.admin_address = ("127.0.0.1", int(self.admin_url.rpartition(":")[2]))

    @property
    def pid(self):
        return self.process.pid

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    def raw(self, **kwargs):
        return Raw(self.address, **kwargs)

    def ask(self, *args, **kwargs):
        """One request on a connection of its own."""
        with self.raw() as c:
            answer = c.ask(*args, **kwargs)
        assert answer and answer.complete, f"{answer!r}\n{self.log[-3000:]}"
        return answer

    def client(self):
        return http.client.HTTPConnection(*self.address, timeout=READ_TIMEOUT_S)

    def admin(self, path, method="GET"):
        with Raw(self.admin_address) as c:
            return c.ask(method, path)

    def state(self):
        return self.admin("/-/status").json

    def wait_state(self, timeout_s=READ_TIMEOUT_S, **expected):
        """Waits until the state has these values; how long that took."""
        start = time.monotonic()
        while True:
            state = self.state()
            if all(state[k] == v for k, v in expected.items()):
                return time.monotonic() - start
            assert time.monotonic() < start + timeout_s, (expected, state)
            time.sleep(0.005)

    def rss_bytes(self):
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def cpu_s(self):
        """Seconds of CPU time so far."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def fds(self):
        """Open descriptors; connections that are about to close are waited for."""
        def count():
            time.sleep(0.02)
            return len(os.listdir(f"/proc/{self.pid}/fd"))
        return min(count() for _ in range(5))

    def reload(self, text=None):
        if text is not None:
            self.file.write_text(without_grace(text))
        before = self.state()
        self.process.send_signal(signal.SIGHUP)

        def done():
            now = self.state()
            return [k for k in ("reloads", "reloads_refused") if now[k] > before[k]]
        return gb.wait_for(done, READ_TIMEOUT_S)[0] == "reloads"

    def signal(self, number=signal.SIGTERM):
        self.told = True
        self.process.send_signal(number)

    def stop(self, timeout=gb.TIMEOUT_S):
        """Tells it to stop; its exit status, and what the sanitizers said would be in the log."""
        if not self.told:
            self.signal()
        status = self.process.wait(timeout)
        self.process.stdout.close()
        assert status == self.status_expected, f"exit status {status}\n{self.log[-6000:]}"
        assert "Sanitizer" not in self.log and "runtime error" not in self.log, self.log[-6000:]
        return status

    def __enter__(self):
        return self

    def __exit__(self, kind, *unused):
        try:
            if kind is None:
                self.stop()
        finally:
            self.kill()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@functools.lru_cache(maxsize=None)
def sanitizer_bytes():
    """What AddressSanitizer keeps of freed memory: on top of what a program may grow by."""
    return (320 << 20) if b"__asan_init" in gb.BINARY.read_bytes() else 0


# ---- load ----

def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * p))]


class Load:
    """Clients in threads that ask again and again; `with` ends them."""

    def __init__(self, server, clients, ask):
        self.stop_now = threading.Event()
        self.latencies, self.failures = [], []
        self.threads = [threading.Thread(target=self.run, args=(server, ask), daemon=True)
                        for _ in range(clients)]

    def run(self, server, ask):
        while not self.stop_now.is_set():
            start = time.monotonic()
            try:
                ask(server)
            except Exception as error:  # whatever it is, it is a failed request
                self.failures.append(repr(error))
                time.sleep(0.01)
            self.latencies.append(time.monotonic() - start)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *unused):
        self.stop_now.set()
        for thread in self.threads:
            thread.join(READ_TIMEOUT_S)
            assert not thread.is_alive()


def latencies(connection, n, *args, pause_s=0.0, status=200, **kwargs):
    """How long each of n requests on one connection took, in seconds."""
    found = []
    for _ in range(n):
        start = time.monotonic()
        answer = connection.ask(*args, **kwargs)
        found.append(time.monotonic() - start)
        assert answer and answer.complete and answer.status == status, repr(answer)
        time.sleep(pause_s)
    return found


def summary(values):
    return (f"p50 {1e3 * statistics.median(values):.2f} ms, "
            f"p99 {1e3 * percentile(values, 0.99):.2f} ms, max {1e3 * max(values):.2f} ms")
