# SPDX-License-Identifier: Apache-2.0
"""Starts the program under test and reads what it says."""
import atexit
import base64
import functools
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("GLOVEBOX_BIN") or ROOT / "build" / "glovebox").resolve()
GUESTS = pathlib.Path(os.environ.get("GLOVEBOX_GUESTS") or ROOT / "build" / "guests")
MODELS = ROOT / "models"
TEST_MODELS = MODELS / "test"

PASSED_ON = ("GLOVEBOX_WORKER", "GLOVEBOX_COMPILER", "GLOVEBOX_ORT_LIB", "GLOVEBOX_CACHE")

LONG = False
SLACK = 5.0
TIMEOUT_S = 60

USAGE_KEYS = {
    "wall_us", "fuel", "memory_peak_bytes", "ledger_peak_bytes", "stdout_bytes", "stderr_bytes",
    "stdout_dropped_bytes", "inference_calls", "inference_us", "queue_us", "instantiate_us",
}


def configure(long, slack):
    global LONG, SLACK
    LONG, SLACK = long, slack


def count(short, full):
    return full if LONG else short


def record(what, value):
    """A number for the summary of ./test --long (tools/run_long.py)."""
    if "GLOVEBOX_NUMBERS" in os.environ:
        with open(os.environ["GLOVEBOX_NUMBERS"], "a", encoding="utf-8") as file:
            file.write(json.dumps([what, value]) + "\n")


def slack_s(seconds):
    """A time that the contract promises, as long as this machine may take."""
    return seconds * SLACK


class Outcome:
    """What a program left behind: exit status (negative: killed by that signal), text, time."""

    def __init__(self, args, status, stdout, stderr, wall_s):
        self.args = args
        self.status = status
        self.stdout_bytes = stdout
        self.stdout = stdout.decode(errors="replace")
        self.stderr = stderr.decode(errors="replace")
        self.wall_s = wall_s

    def __repr__(self):
        line = " ".join(str(a) if len(str(a)) < 300 else str(a)[:300] + "…" for a in self.args)
        return (f"\n$ {line}\nexit status {self.status} after {self.wall_s:.3f} s"
                f"\n--- stdout\n{self.stdout[:4000]}\n--- stderr\n{self.stderr[:4000]}")

    @property
    def json(self):
        """The one JSON object on stdout; duplicate keys and anything beside it are failures."""
        def unique(pairs):
            keys = [k for k, _ in pairs]
            assert len(keys) == len(set(keys)), f"duplicate keys in {keys}"
            return dict(pairs)
        try:
            value = json.loads(self.stdout, object_pairs_hook=unique)
        except json.JSONDecodeError as error:
            raise AssertionError(f"stdout is not one JSON object: {error}{self!r}") from error
        assert isinstance(value, dict), repr(self)
        return value

    @property
    def error(self):
        value = self.json
        assert value.get("ok") is False, repr(self)
        return value["error"]

    @property
    def code(self):
        return "ok" if self.json["ok"] else self.error["code"]


def environment(**extra):
    """Ours without what would change the program's defaults; None removes a variable."""
    env = {k: v for k, v in os.environ.items()
           if not k.startswith("GLOVEBOX_") or k in PASSED_ON}
    env.pop("MODEL_DIR", None)
    for key, value in extra.items():
        env.pop(key, None)
        if value is not None:
            env[key] = str(value)
    return env


def command(args, timeout=TIMEOUT_S, env=None, **kwargs):
    start = time.monotonic()
    done = subprocess.run([str(a) for a in args], capture_output=True, timeout=timeout,
                          env=env or environment(), cwd=kwargs.pop("cwd", ROOT), **kwargs)
    return Outcome(args, done.returncode, done.stdout, done.stderr, time.monotonic() - start)


def glovebox(*args, **kwargs):
    kwargs.setdefault("stdin" if "input" not in kwargs else "input",
                      kwargs.pop("input", subprocess.DEVNULL))
    return command([BINARY, *args], **kwargs)


def run(*args, **kwargs):
    """`glovebox run --json …`; the answer is checked for the shape every run has."""
    out = glovebox("run", "--json", *args, **kwargs)
    check_run_object(out)
    return out


def check_error_object(error):
    assert isinstance(error, dict)
    assert set(error) <= {"code", "message", "hint", "value", "cause"}, error
    assert {"code", "message", "hint"} <= set(error), error
    assert error["code"] in exit_statuses(), error
    assert isinstance(error["message"], str) and error["message"], error
    assert error["hint"] is None or (isinstance(error["hint"], str) and error["hint"]), error
    if "cause" in error:
        check_error_object(error["cause"])


def check_run_object(out):
    value = out.json
    try:
        assert isinstance(value["ok"], bool)
        outcome = {"repeat"} if "repeat" in value and value["ok"] else {"result"}
        if not value["ok"]:
            outcome = {"error"} | ({"repeat"} & set(value))
            check_error_object(value["error"])
        texts = {("stdout_base64" if "stdout_base64" in value else "stdout"),
                 ("stderr_base64" if "stderr_base64" in value else "stderr")}
        assert set(value) == {"ok", "exit_status", "usage"} | outcome | texts
        assert value["usage"] is None or set(value["usage"]) >= USAGE_KEYS
    except (AssertionError, KeyError) as error:
        raise AssertionError(f"{error!r} in{out!r}") from error
    return value


def counts(out):
    """How the calls of --repeat ended: code → count, with `ok` where some did."""
    repeat = out.json["repeat"]
    assert "ok" not in repeat["codes"], repr(out)
    assert repeat["ok"] + sum(repeat["codes"].values()) == repeat["calls"], repr(out)
    return {**repeat["codes"], **({"ok": repeat["ok"]} if repeat["ok"] else {})}


@functools.lru_cache(maxsize=None)
def exit_statuses():
    """Code text → exit status, read from the one table."""
    table = (ROOT / "src" / "base" / "errors.def").read_text()
    rows = re.findall(r'^GB_ERROR\(\w+, "([a-z-]+)", \d+, (\d+),', table, re.M)
    assert len(rows) > 50
    return {code: int(status) for code, status in rows}


def chain(error):
    """The codes of an error and its causes, outermost first."""
    codes = []
    while error:
        codes.append(error["code"])
        error = error.get("cause")
    return codes


def messages(error):
    """Every message and hint of an error and its causes, in one text."""
    parts = []
    while error:
        parts += [error["message"], error.get("hint") or "", str(error.get("value") or "")]
        error = error.get("cause")
    return "\n".join(parts)


def stdout_of(value):
    if "stdout_base64" in value:
        return base64.b64decode(value["stdout_base64"])
    return value["stdout"].encode()


@functools.lru_cache(maxsize=None)
def no_models():
    folder = tempfile.mkdtemp(prefix="no-models-")
    atexit.register(shutil.rmtree, folder)
    return folder


def model(*names, directory=None):
    """Options that give a run just these models, and no directory (there is one by default)."""
    options = ["--models", no_models()]
    for name in names:
        folder = directory or (MODELS if name == "digits" else TEST_MODELS)
        options += ["--model", f"{name}={folder / name}.onnx"]
    return options


def probe(statements, *options, models=(), style="1028", **kwargs):
    """Runs nn-probe with the statements; returns the outcome."""
    guest = GUESTS / ("nn-probe.wasm" if style == "1028" else f"nn-probe-{style}.wasm")
    text = ";".join(statements) if isinstance(statements, (list, tuple)) else statements
    return run(*model(*models), *options, guest, text, **kwargs)


# ---- processes ----


def children(pid):
    """The children of a process (of all its threads), alive or not yet waited for."""
    found = []
    for path in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(p) for p in path.read_text().split()]
        except OSError:
            pass
    return found


def start_time(pid):
    """Field 22 of stat: with the pid, names a process for good. None: gone or a zombie."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def process_name(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def workers(pid):
    return [c for c in children(pid)
            if process_name(c).startswith("glovebox-worke") and start_time(c)]


def wait_for(what, timeout_s=20.0, interval_s=0.005):
    """Polls until what() is true; its value."""
    end = time.monotonic() + timeout_s
    while True:
        value = what()
        if value:
            return value
        assert time.monotonic() < end, "waited in vain"
        time.sleep(interval_s)


class Running:
    """A program that runs beside the test; `with` kills what is left of it."""

    def __init__(self, *args, env=None, **kwargs):
        self.args = [BINARY, *args]
        self.start = time.monotonic()
        self.process = subprocess.Popen(
            [str(a) for a in self.args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=env or environment(), cwd=ROOT, **kwargs)
        self.seen = set()

    @property
    def pid(self):
        return self.process.pid

    def workers(self):
        """The live workers; each one ever seen is remembered for left_behind()."""
        found = workers(self.pid)
        self.seen |= {(pid, start_time(pid)) for pid in found}
        return found

    def wait_worker(self, timeout_s=20.0):
        return wait_for(self.workers, timeout_s)

    def finish(self, timeout=TIMEOUT_S):
        stdout, stderr = self.process.communicate(timeout=timeout)
        return Outcome(self.args, self.process.returncode, stdout, stderr,
                       time.monotonic() - self.start)

    def left_behind(self, within_s=1.0):
        """Workers that still live some time after the program ended."""
        end = time.monotonic() + within_s
        while True:
            alive = [pid for pid, born in self.seen if born and start_time(pid) == born]
            if not alive or time.monotonic() > end:
                return alive
            time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()
