#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make bench-http: what a request costs.

Starts each server, drives it with wrk at 1, 64 and 512 connections, and prints requests per second,
p50, p99 and CPU time per request, as lines of a table. Beside ours: nginx with a fixed answer, as
the floor of what HTTP costs here, and `wasmtime serve` with the same component, where they are
installed (`apt-get install wrk nginx-light`, `cargo install wasmtime-cli`). Then resident memory
for each idle connection and each idle tenant. All in one run: compare within it.
"""
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
BINARY = os.environ.get("GLOVEBOX_BIN", str(ROOT / "build" / "glovebox"))
HELLO = ROOT / "build" / "guests" / "hello-http.wasm"
SECONDS = int(os.environ.get("SECONDS_PER_ROW", "5"))
CONNECTIONS = (1, 64, 512)
IDLE_CONNECTIONS = 2000
IDLE_TENANTS = 1000
TICKS = os.sysconf("SC_CLK_TCK")

MANIFEST = f"""
[host]
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"
log = "warn"
calls = 1024
http = {{ connections = 10000, connections-per-address = 10000 }}
[model.digits]
source = "{ROOT}/models/digits.onnx"
[component.hello]
source = "{HELLO}"
[component.agent]
source = "{ROOT}/build/guests/agent.wasm"
models = ["digits"]
[[route]]
path = "/hello"
component = "hello"
[[route]]
path = "/digits"
component = "agent"
[[route]]
path = "/fixed"
static = {{ status = 200, body = "Hello from inside the glovebox.\\n" }}
"""


class Server:
    def __init__(self, args, port=None):
        env = dict(os.environ, GLOVEBOX_CACHE=str(ROOT / "build" / "cache"),
                   XDG_STATE_HOME=str(ROOT / "build" / "state"))
        self.process = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                        text=True, env=env)
        if port is None:
            line = self.process.stdout.readline().split()
            if len(line) < 2 or line[0] != "ready":
                sys.exit(f"the server did not start: {' '.join(args)}")
            self.url = line[1]
        else:
            self.url = f"http://127.0.0.1:{port}"
            wait_for_port(port)

    def cpu_s(self):
        """Of it and its children."""
        total = 0
        for pid in [self.process.pid, *children(self.process.pid)]:
            try:
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
            except OSError:
                pass
        return total / TICKS

    def rss_kib(self):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text).group(1))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def children(pid):
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(p) for p in task.read_text().split()]
    return found


def wait_for_port(port):
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"nobody listens on port {port}")


def in_us(text):
    value, unit = re.match(r"([\d.]+)(us|ms|s)", text).groups()
    return float(value) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


def wrk(url, connections, script=None):
    args = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency"]
    if script:
        args += ["-s", script]
    out = subprocess.run([*args, url], capture_output=True, text=True, check=True).stdout
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    if bad:
        sys.exit(f"{url}: {bad.group(0)}")
    return (rate, in_us(re.search(r"^ +50% +(\S+)", out, re.M).group(1)),
            in_us(re.search(r"^ +99% +(\S+)", out, re.M).group(1)),
            int(re.search(r"(\d+) requests in", out).group(1)))


def row(name, server, path, script=None, counts=CONNECTIONS):
    for connections in counts:
        before = server.cpu_s()
        rate, p50, p99, count = wrk(server.url + path, connections, script)
        cpu_us = (server.cpu_s() - before) / count * 1e6
        print(f"| {name} | {connections} | {rate:,.0f} | {p50:,.0f} | {p99:,.0f} | {cpu_us:.1f} |",
              flush=True)


def measure_ours(folder):
    manifest = folder / "glovebox.toml"
    manifest.write_text(MANIFEST)
    script = folder / "post.lua"
    sample = (ROOT / "models" / "digits_samples.txt").read_text().splitlines()[0]
    body = sample.partition(":")[2].strip()
    script.write_text(f'wrk.method = "POST"\nwrk.body = "{body}"\n')
    server = Server([BINARY, "serve", str(manifest)])
    try:
        row("glovebox, fixed answer", server, "/fixed")
        row("glovebox, hello component", server, "/hello")
        # More at once than a model's queue takes are answered 503.
        row("glovebox, agent and ONNX model", server, "/digits", str(script), CONNECTIONS[:2])
        measure_idle_connections(server)
    finally:
        server.stop()


def measure_idle_connections(server):
    host, port = server.url.removeprefix("http://").split(":")
    before = server.rss_kib()
    held = []
    for _ in range(IDLE_CONNECTIONS):
        s = socket.create_connection((host, int(port)))
        s.sendall(b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n")
        held.append(s)
    for s in held:
        s.recv(4096)
    time.sleep(0.5)
    each = (server.rss_kib() - before) / IDLE_CONNECTIONS
    for s in held:
        s.close()
    print(f"\nresident memory of an idle keep-alive connection: {each:.1f} KiB "
          f"({IDLE_CONNECTIONS} open)")


def measure_idle_tenants(folder):
    rss = []
    for tenants in (1, 1 + IDLE_TENANTS):
        text = MANIFEST + "".join(f'[tenant.t{i}]\nhosts = ["t{i}.example"]\n'
                                  for i in range(tenants))
        manifest = folder / f"tenants-{tenants}.toml"
        manifest.write_text(text)
        server = Server([BINARY, "serve", str(manifest)])
        time.sleep(0.5)
        rss.append(server.rss_kib())
        server.stop()
    print(f"resident memory of an idle tenant: {(rss[1] - rss[0]) / IDLE_TENANTS:.1f} KiB "
          f"({IDLE_TENANTS} tenants, one shared component)")


def measure_nginx(folder):
    if not shutil.which("nginx"):
        print("| nginx | not installed | | | | |")
        return
    config = folder / "nginx.conf"
    config.write_text(f"""daemon off; worker_processes auto; pid {folder}/nginx.pid;
error_log /dev/null; events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 1000000000;
server {{ listen 127.0.0.1:18099 reuseport;
location / {{ return 200 "Hello from inside the glovebox.\\n"; }} }} }}
""")
    server = Server(["nginx", "-c", str(config), "-p", str(folder)], port=18099)
    row("nginx, fixed answer", server, "/")
    server.stop()


def measure_wasmtime():
    if not shutil.which("wasmtime"):
        print("| wasmtime serve | not installed | | | | |")
        return
    version = subprocess.run(["wasmtime", "--version"], capture_output=True, text=True).stdout
    server = Server(["wasmtime", "serve", "-S", "cli", "-O", "pooling-allocator=y", "--addr",
                     "127.0.0.1:18098", str(HELLO)], port=18098)
    row(f"{version.strip()} serve, hello component", server, "/")
    server.stop()


def main():
    if not shutil.which("wrk"):
        sys.exit("wrk is missing: apt-get install wrk")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        print("| server | connections | requests/s | p50 µs | p99 µs | CPU µs per request |\n"
              "|---|---|---|---|---|---|", flush=True)
        measure_nginx(folder)
        measure_wasmtime()
        measure_ours(folder)
        measure_idle_tenants(folder)


if __name__ == "__main__":
    main()
