# SPDX-License-Identifier: Apache-2.0
"""What the server tells about itself: metrics, the log's lines, status, traces."""
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

import gb
import promtext
import pytest

FOUR = ("0 1 12 16 14 3 0 0 0 5 13 8 15 10 0 0 0 0 0 0 15 10 0 0 0 0 1 9 16 5 0 0 "
        "0 0 8 16 16 13 7 0 0 0 0 12 10 4 6 0 0 0 3 16 4 0 0 0 0 0 12 10 0 0 0 0")
TRACE = "0af7651916cd43dd8448eb211c80319c"

MANIFEST = f"""
[host]
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"
log = "LEVEL"
[model.digits]
source = "{gb.MODELS}/digits.onnx"
[component.hello]
source = "{gb.GUESTS}/hello-http.wasm"
[component.digits]
source = "{gb.GUESTS}/agent.wasm"
models = ["digits"]
[component.probe]
source = "{gb.GUESTS}/host-probe.wasm"
[component.shapes]
source = "{gb.GUESTS}/nn-probe.wasm"
models = ["digits"]
[component.spin]
source = "{gb.GUESTS}/spin.wasm"
limits = {{ deadline = "100ms" }}
[[route]]
path = "/hello"
component = "hello"
[[route]]
path = "/digits"
component = "digits"
[[route]]
path = "/probe"
component = "probe"
[[route]]
path = "/shapes"
component = "shapes"
[[route]]
path = "/spin"
component = "spin"
[[route]]
path = "/fixed"
static = {{ status = 200, body = "fixed" }}
"""


class Server:
    def __init__(self, manifest, level="info"):
        self.folder = tempfile.TemporaryDirectory(prefix="gb-obs-")
        self.path = os.path.join(self.folder.name, "glovebox.toml")
        self.write(manifest, level)
        self.stderr = open(os.path.join(self.folder.name, "stderr"), "w+b")
        self.process = subprocess.Popen([gb.BINARY, "serve", self.path], stdout=subprocess.PIPE,
                                        stderr=self.stderr, text=True)
        line = self.process.stdout.readline()
        match = re.fullmatch(r"ready (\S+) admin (\S+)\n", line)
        assert match, self.log()
        self.url, self.admin = match.groups()

    def write(self, manifest, level="info"):
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(manifest.replace("LEVEL", level))

    def log(self):
        with open(self.stderr.name, "rb") as file:
            return file.read().decode()

    def lines(self, event="request"):
        whole = self.log().rpartition("\n")[0].splitlines()
        found = [json.loads(line) for line in whole if line.startswith("{")]
        return [l for l in found if l["event"] == event]

    def wait_line(self, request):
        """The one line of that request; it is written a little after the answer."""
        until = time.monotonic() + gb.slack_s(2)
        found = []
        while not found and time.monotonic() < until:
            time.sleep(0.02)
            found = [line for line in self.lines() if line["id"] == request]
        assert len(found) == 1, (request, found)
        return found[0]

    def get(self, path, body=None, admin=False, **headers):
        request = urllib.request.Request(
            (self.admin if admin else self.url) + path,
            data=body.encode() if body is not None else None,
            headers={k.replace("_", "-"): v for k, v in headers.items()})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode(), answer.headers
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode(), error.headers

    def metrics(self):
        status, text, headers = self.get("/metrics", admin=True)
        assert status == 200
        assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert len(text) <= 1024 * 1024
        return promtext.parse(text)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.stderr.close()
        self.folder.cleanup()


@pytest.fixture(scope="module")
def server():
    with Server(MANIFEST.replace("[host]", "[host]\ndrain-accept = \"0s\"")) as running:
        yield running


def test_the_metrics_of_inferences(server):
    before = server.metrics()
    was = promtext.value(before, "wasm_inference_requests_total", tenant="default",
                         model="digits") or 0
    for _ in range(3):
        status, text, _ = server.get("/digits", FOUR)
        assert status == 200, text
    m = server.metrics()
    of = {"tenant": "default", "model": "digits"}
    assert promtext.value(m, "wasm_inference_requests_total", **of) == was + 3
    assert promtext.value(m, "wasm_inference_duration_seconds_count", **of) == was + 3
    assert 0 < promtext.value(m, "wasm_inference_duration_seconds_sum", **of) < 60
    assert promtext.value(m, "wasm_inference_model_load_seconds_count", model="digits") == 1
    assert promtext.value(m, "glovebox_worker_starts_total", model="digits") == 1
    assert promtext.value(m, "glovebox_model_ready", model="digits") == 1
    kinds = {"wasm_inference_requests_total": "counter",
             "wasm_inference_duration_seconds": "histogram",
             "wasm_inference_tokens_generated": "histogram",
             "wasm_inference_traps_total": "counter",
             "wasm_inference_input_rejected_total": "counter",
             "wasm_inference_output_validation_failed_total": "counter",
             "wasm_inference_model_load_seconds": "histogram"}
    assert {name: m[name].kind for name in kinds} == kinds
    assert {name for name in m if name.startswith("wasm_")} == set(kinds)
    assert not m["wasm_inference_tokens_generated"].samples


def test_traps_are_counted_by_kind(server):
    status, _, _ = server.get("/spin", "x")
    assert status == 500
    assert promtext.value(server.metrics(), "wasm_inference_traps_total", tenant="default",
                          model="none", kind="deadline-exceeded") == 1


def test_one_line_for_each_request(server):
    server.get("/hello?secret=1", traceparent=f"00-{TRACE}-b7ad6b7169203331-01",
               x_request_id="mine-1")
    server.get("/digits", FOUR, x_request_id="mine-2")
    server.get("/fixed", x_request_id="mine-3")
    server.get("/nowhere/secret", x_request_id="mine-4")
    server.get("/spin", "x", x_request_id="mine-5")
    lines = [server.wait_line(f"mine-{i}") for i in range(1, 6)]
    hello, digits, fixed, nowhere, spin = lines
    assert (hello["id"], hello["trace_id"], hello["status"]) == ("mine-1", TRACE, 200)
    assert (hello["tenant"], hello["route"], hello["kind"], hello["method"], hello["code"]) == \
        ("default", "/hello", "http", "GET", "ok")
    assert (digits["bytes_in"], digits["kind"]) == (len(FOUR), "agent")
    assert digits["native_us"] <= digits["total_us"]
    assert 0 < digits["guest_us"] <= digits["total_us"]
    assert (fixed["kind"], fixed["bytes_out"]) == ("static", len("fixed"))
    assert (nowhere["status"], nowhere["code"], nowhere["route"]) == (404, "not-found", "")
    assert (spin["status"], spin["code"]) == (500, "deadline-exceeded")
    assert spin["guest_us"] >= 90000
    assert "secret" not in server.log()
    for line in lines:
        assert set(line) == {"time", "level", "event", "id", "trace_id", "tenant", "route", "kind",
                             "method", "status", "code", "queue_us", "guest_us", "crossing_us",
                             "native_us", "total_us", "bytes_in", "bytes_out"}
        assert re.fullmatch("[0-9a-f]{32}", line["trace_id"])


def test_a_refused_request_keeps_its_id(server):
    status, text, headers = server.get("/nowhere", x_request_id="kept-1")
    assert status == 404
    assert headers["x-request-id"] == "kept-1"
    assert json.loads(text)["error"]["request_id"] == "kept-1"


def test_the_guest_sees_the_trace_and_its_lines_carry_the_request(server):
    status, text, _ = server.get("/probe", "context;log info hello there",
                                 traceparent=f"00-{TRACE}-b7ad6b7169203331-01",
                                 x_request_id="probe-1")
    assert status == 200
    assert "probe-1" in text and "default" in text
    seen = re.search(rf"00-{TRACE}-([0-9a-f]{{16}})-01", text)
    assert seen and seen.group(1) != "b7ad6b7169203331"
    server.wait_line("probe-1")
    until = time.monotonic() + gb.slack_s(2)
    want = "info: guest probe-1 default: hello there\n"
    while want not in server.log() and time.monotonic() < until:
        time.sleep(0.02)
    assert want in server.log()


def test_a_bad_traceparent_starts_a_trace_of_its_own(server):
    for bad in (f"00-{TRACE}-0000000000000000-01", "00-" + "0" * 32 + "-b7ad6b7169203331-01",
                f"ff-{TRACE}-b7ad6b7169203331-01", f"00-{TRACE.upper()}-b7ad6b7169203331-01", "x"):
        _, text, _ = server.get("/probe", "context", traceparent=bad)
        trace = re.search("00-([0-9a-f]{32})-[0-9a-f]{16}-0[01]", text)
        assert trace and trace.group(1) not in (TRACE, "0" * 32), (bad, text)


def test_the_guests_own_metrics(server):
    status, _, _ = server.get("/probe", "counter pages 3;gauge heat 1.5;gauge odd_total 2;"
                                        "counter done_total 1;gauge weird nan")
    assert status == 200
    m = server.metrics()
    assert promtext.value(m, "glovebox_guest_pages_total", tenant="default") == 3
    assert promtext.value(m, "glovebox_guest_heat", tenant="default") == 1.5
    assert promtext.value(m, "glovebox_guest_odd_total_value", tenant="default") == 2
    assert promtext.value(m, "glovebox_guest_done_total", tenant="default") == 1


def test_a_guest_with_thousands_of_names_keeps_the_scrape_small(server):
    for part in range(4):
        server.get("/probe", f"repeat 250 counter flood_{part}_#_{'x' * 40} 1")
    families = server.metrics()
    assert len([n for n in families if n.startswith("glovebox_guest_flood")]) <= 256


def test_status(server):
    status, text, headers = server.get("/-/status", admin=True)
    assert (status, headers["content-type"]) == (200, "application/json")
    s = json.loads(text)
    assert s["ready"] is True and s["draining"] is False and s["reload_error"] is None
    assert re.fullmatch(r"\d+\.\d+\.\d+", s["version"])
    assert s["uptime_us"] > 0
    (tenant,) = s["tenants"]
    assert tenant["name"] == "default" and tenant["requests"] > 0
    assert tenant["ledger_peak_bytes"] > 0 and tenant["running"] == 0 and tenant["waiting"] == 0
    (model,) = [m for m in s["models"] if m["name"] == "digits"]
    assert (model["state"], model["restarts"], model["code"]) == ("ready", 0, "ok")


def test_a_killed_worker_is_seen():
    with Server(MANIFEST) as server:
        server.get("/digits", FOUR)
        (pid,) = gb.workers(server.process.pid)
        os.kill(pid, signal.SIGKILL)
        until = time.monotonic() + gb.slack_s(10)
        while time.monotonic() < until:
            (model,) = json.loads(server.get("/-/status", admin=True)[1])["models"]
            if model["restarts"] == 1 and model["state"] == "ready":
                break
            time.sleep(0.05)
        assert (model["restarts"], model["state"]) == (1, "ready")
        m = server.metrics()
        assert promtext.value(m, "glovebox_worker_restarts_total", model="digits") == 1
        assert promtext.value(m, "wasm_inference_model_load_seconds_count", model="digits") == 2


def test_a_refused_reload_is_told():
    with Server(MANIFEST) as server:
        server.write(MANIFEST.replace("[host]", "[host]\nnonsense = 1"))
        server.process.send_signal(signal.SIGHUP)
        until = time.monotonic() + gb.slack_s(10)
        status = {}
        while time.monotonic() < until and not status.get("reload_error"):
            status = json.loads(server.get("/-/status", admin=True)[1])
            time.sleep(0.05)
        assert "manifest-invalid" in status["reload_error"]
        assert promtext.value(server.metrics(), "glovebox_reloads_total", result="refused") == 1
        assert server.get("/fixed")[0] == 200
        server.write(MANIFEST)
        server.process.send_signal(signal.SIGHUP)
        while time.monotonic() < until and status["reload_error"]:
            status = json.loads(server.get("/-/status", admin=True)[1])
            time.sleep(0.05)
        assert status["reload_error"] is None and status["reloads"] == 1


def test_ready_says_no_while_draining():
    with Server(MANIFEST.replace("[host]", "[host]\ndrain-accept = \"2s\"")) as server:
        assert server.get("/-/ready", admin=True)[0] == 200
        server.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + 1.5
        status = 200
        while status == 200 and time.monotonic() < until:
            status = server.get("/-/ready", admin=True)[0]
        assert status == 503
        assert server.get("/-/live", admin=True)[0] == 200
        assert server.process.wait(timeout=30) == 0


def test_tenants_are_told_apart_and_bounded():
    many = "".join(f'[tenant.t{i}]\nhosts = ["t{i}.test"]\n' for i in range(300))
    with Server(MANIFEST + many) as server:
        for i in range(120):
            assert server.get("/fixed", host=f"t{i}.test")[0] == 200
        m = server.metrics()
        counted = m["glovebox_tenant_requests_total"].samples
        named = {dict(labels)["tenant"] for _, labels in counted}
        assert "other" in named and 30 <= len(named) <= 64
        assert sum(counted.values()) == 120
        assert json.loads(server.get("/-/status", admin=True)[1])["tenants_len"] == 300


def test_the_level_of_the_log():
    with Server(MANIFEST, level="warn") as server:
        server.get("/hello")
        server.get("/probe", "log info quiet;log warn loud", x_request_id="w1")
        until = time.monotonic() + gb.slack_s(2)
        while "loud" not in server.log() and time.monotonic() < until:
            time.sleep(0.02)
        assert server.stop() == 0
        assert server.log() == "warn: guest w1 default: loud\n"


def test_a_heartbeat_of_aggregates(server):
    server.get("/fixed")
    until = time.monotonic() + 25
    while not server.lines("heartbeat") and time.monotonic() < until:
        time.sleep(0.2)
    beat = server.lines("heartbeat")[0]
    assert beat["seconds"] == 10 and beat["connections"] >= 0 and beat["draining"] is False
    assert beat["requests"] >= 0 and beat["log_dropped"] == 0


def test_a_stderr_that_nobody_reads_blocks_no_request():
    with Server(MANIFEST) as server:
        assert server.get("/fixed")[0] == 200
    with tempfile.TemporaryDirectory(prefix="gb-obs-") as folder:
        path = os.path.join(folder, "glovebox.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(MANIFEST.replace("LEVEL", "info"))
        process = subprocess.Popen([gb.BINARY, "serve", path], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        try:
            url, admin = re.findall(r"http://\S+", process.stdout.readline())

            def ask():
                for _ in range(gb.count(400, 4000)):
                    with urllib.request.urlopen(url + "/fixed", timeout=30) as answer:
                        assert answer.read() == b"fixed"
            threads = [threading.Thread(target=ask) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            with urllib.request.urlopen(admin + "/metrics", timeout=30) as answer:
                m = promtext.parse(answer.read().decode())
            asked = 4 * gb.count(400, 4000)
            assert promtext.value(m, "glovebox_http_requests_total", route="static",
                                  **{"class": "2xx"}) == asked
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            process.stderr.close()


def test_traces_are_not_sent_anywhere_and_that_is_said():
    with tempfile.TemporaryDirectory(prefix="gb-obs-") as folder:
        path = os.path.join(folder, "glovebox.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(MANIFEST.replace("LEVEL", "info").replace(
                "[host]", '[host]\notlp-endpoint = "http://127.0.0.1:4318"'))
        done = subprocess.run([gb.BINARY, "serve", path], capture_output=True, text=True,
                              timeout=60, check=False)
    assert done.returncode == 101
    assert "unsupported" in done.stderr and "otlp-endpoint" in done.stderr
