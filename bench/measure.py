# SPDX-License-Identifier: Apache-2.0
"""Measures the rows of docs' table of numbers, each next to its target, with a direct native run of
the same model in the same minute. Prints the table; without --quick writes bench/RESULTS.md too."""
import datetime
import glob
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time

QUICK = "--quick" in sys.argv
# The measuring programs lie in a folder of their own, not beside the compiler.
os.environ.setdefault("GLOVEBOX_COMPILER", os.path.abspath("build/glovebox-compiler"))
os.environ.setdefault("GLOVEBOX_CACHE", os.path.abspath("build/cache"))
os.environ.setdefault("XDG_STATE_HOME", os.path.abspath("build/state"))
NOTES = """
How to read it: the machine is shared, and runs of one row differ by half and more; compare
within one table. Rows of single prices are the best of several rounds in which the variants take
turns. Epochs and fuel are shown for the worst loop there is, one that only counts, and for one
that sums bytes; guests have epochs always and fuel on demand. An inference of one input and one
output charges the ledger five times. A tensor crosses as a view of the guest's memory, one copy
in and one copy out, without memory of its own for each crossing; `Vec<u8>` makes some each time,
and dynamic values take more than 40 bytes for each byte. The slab
keeps the pages of large tensors warm from call to call; the guest's own memory is fresh in each.
"""
GLOVEBOX = "build/glovebox"
ORT = sorted(glob.glob("build/deps/ort/lib/libonnxruntime.so*"))[-1]
MODELS = "models/test"
rows = []


def sh(argv, **kw):
    return subprocess.run(argv, capture_output=True, text=True, **kw)


def numbers(text):
    return {k: float(v) for k, v in re.findall(r"([a-z_0-9]+) (-?[0-9.]+)", text)}


def row(what, measured, target, met, command):
    rows.append((what, measured, target, met, command))
    print(f"{'ok  ' if met else 'MISS'}  {what}: {measured} (target {target})", flush=True)


def run_json(*args):
    argv = [GLOVEBOX, "run", "--json", *args]
    p = sh(argv)
    try:
        return json.loads(p.stdout), " ".join(argv)
    except json.JSONDecodeError:
        sys.exit(f"{' '.join(argv)}\n{p.stdout}{p.stderr}")


def native(model, elements, runs, *dims):
    argv = ["build/bench/native_ort", ORT, f"{MODELS}/{model}.onnx", str(elements), str(runs),
            *map(str, dims)]
    p = sh(argv)
    if p.returncode:
        sys.exit(p.stderr)
    return numbers(p.stdout)["mean"]


def call_cost():
    calls = 2000 if QUICK else 20000
    argv = ["build/bench/lib_call", "build/guests/echo.wasm", "hello", str(calls)]
    runs = sorted((numbers(sh(argv).stdout) for _ in range(5)), key=lambda n: n["p50"])
    n, worst = runs[0], runs[-1]
    row("new store + pooled instance + typed call of a small component",
        f"{n['mean']:.1f} us mean, {n['p50']:.1f} us p50 (instantiate {n['instantiate']:.1f}); "
        f"best of five runs, the worst had {worst['p50']:.1f} us p50",
        "<= 10 us", n["p50"] <= 10, " ".join(argv))


def flat_memory():
    calls = 20000 if QUICK else 1000000
    argv = ["build/bench/lib_call", "build/guests/echo.wasm", "hello", str(calls)]
    n = numbers(sh(argv).stdout)
    # The measurer itself keeps one machine word per call.
    growth = (n["rss_kib_after"] - calls * 8 / 1024) / n["rss_kib_before"] - 1
    row(f"resident memory over {calls} calls", f"{growth * 100:+.2f} %", "within 1 %",
        growth <= 0.01, " ".join(argv))


def nn_cost(model, input_name, dims, target_us, placement="worker", runs=3000):
    """target_us None: no target, the row is for the record. A guest holds at most 64 MiB by
    default, so large inputs raise the limits. Each part is the best of several tries: what else the
    machine does can only add to it."""
    runs = min(200, runs) if QUICK else runs
    elements = 1
    for d in dims:
        elements *= d
    spec = f"{model} {input_name} f32 {','.join(map(str, dims))} "
    common = ["--model", f"{model}={MODELS}/{model}.onnx", "--deadline", "5m", "--placement",
              placement]
    if elements * 4 > 4 << 20:
        common += ["--memory", "1GiB", "--budget", "3GiB"]
    common.append("build/guests/bench.wasm")
    base = short = full = engine = float("inf")
    for _ in range(5):
        base = min(base, native(model, elements, runs, *dims))
        none, _ = run_json(*common, spec + "0")
        all_, command = run_json(*common, spec + str(runs))
        if not (none["ok"] and all_["ok"]):
            sys.exit(json.dumps(all_, indent=1))
        short = min(short, none["usage"]["wall_us"])
        full = min(full, all_["usage"]["wall_us"])
        engine = min(engine, all_["usage"]["inference_us"] / runs)
    each = (full - short) / runs
    added = each - base
    row(f"wasi:nn adds to a native Run, {elements * 4} byte input, {placement}",
        f"{added:.1f} us ({each:.1f} per compute, engine {engine:.1f}, native alone {base:.1f})",
        f"<= {target_us} us" if target_us else "none: linear in bytes",
        target_us is None or added <= target_us, command)


def pool():
    argv = ["build/bench/prices", "pool", "build/guests/echo.wasm", "hello",
            "500" if QUICK else "5000"]
    n = prices(argv)
    row("one call, with the pool of instances and without it",
        f"{n['pooled_call_us']:.1f} us and {n['unpooled_call_us']:.1f} us p50 (instantiate "
        f"{n['pooled_instantiate_us']:.1f} and {n['unpooled_instantiate_us']:.1f})", "none", True,
        " ".join(argv))


def ledger():
    argv = ["build/bench/prices", "ledger"]
    row("the ledger: a charge and its return, three accounts deep",
        f"{prices(argv)['charge_ns']:.0f} ns", "none", True, " ".join(argv))


def prices(argv):
    p = sh(argv)
    if p.returncode:
        sys.exit(p.stderr)
    return numbers(p.stdout)


def size_text(size):
    return f"{size} bytes" if size < 1024 else f"{size / (1 << 20):.3g} MiB"


def bridge_prices():
    argv = ["cargo", "bench", "--locked", "--quiet", "--manifest-path", "bridge/Cargo.toml",
            "--bench", "prices"]
    n = prices(argv)
    for loop, what in (("tight", "one that only counts"), ("work", "one that sums bytes")):
        plain, epoch, fuel, both = (n[f"{loop}_{way}_ns"]
                                    for way in ("plain", "epoch", "fuel", "both"))
        row(f"one turn of a loop, {what}",
            f"{plain:.2f} ns; with epochs {epoch:.2f}, with fuel {fuel:.2f}, with both {both:.2f}",
            "none", True, " ".join(argv))
    for size in (12, 602112, 8 << 20, 64 << 20):
        times = {way: n.get(f"copy_{size}_{way}_us") for way in ("ours", "vec", "dynamic")}
        dynamic = f"{times['dynamic']:.4g} us" if times["dynamic"] else "not tried"
        row(f"{size_text(size)} to the host and back",
            f"ours {times['ours']:.4g} us, `Vec<u8>` both ways {times['vec']:.4g} us, dynamic "
            f"values {dynamic}", "none", True, " ".join(argv))


def from_cache():
    """The largest component there is: Python, with its interpreter."""
    guest = "build/guests-all/agent-python.wasm"
    if not os.path.exists(guest):
        print(f"skipped: {guest} (make guests-all)")
        return
    argv = ["build/bench/prices", "load", guest]
    n = prices(argv)
    code = json.loads(sh([GLOVEBOX, "compile", "--json", guest, "-o", "build/bench/code"]).stdout)
    seconds = n["load_us"] / 1e6
    row("a Python component, loaded from the cache",
        f"{n['program_bytes'] / (1 << 20):.1f} MiB of component, {code['bytes'] / (1 << 20):.1f} "
        f"MiB of code in {seconds * 1e3:.0f} ms: {code['bytes'] / (1 << 20) / seconds:.0f} MiB/s "
        "of code, digests of both checked", "none", True, " ".join(argv))


def cold():
    """What the machine does besides is in the slower three quarters."""
    argv = [GLOVEBOX, "run", "build/guests/echo.wasm", "hi"]
    times = []
    for _ in range(20 if QUICK else 100):
        start = time.monotonic()
        sh(argv, check=True)
        times.append((time.monotonic() - start) * 1e3)
    quarter, median, _ = statistics.quantiles(times, n=4)
    row("a new process with a warm cache, to its end",
        f"{quarter:.1f} ms fastest quarter, {median:.1f} ms median", "<= 10 ms", quarter <= 10,
        " ".join(argv))


def overlap():
    model = ["--model", f"slow200={MODELS}/slow200.onnx", "build/guests/slow.wasm", "slow200"]
    one, _ = run_json("--repeat", "8", "--jobs", "1", *model)
    eight, command = run_json("--repeat", "8", "--jobs", "8", *model)
    serial = one["repeat"]["mean_us"] * 8
    # All eight start at once, so the slowest one is the whole.
    ratio = eight["repeat"]["max_us"] / serial
    row("two 200 ms inferences on a 2-thread worker: 8 calls against serial",
        f"{ratio:.2f} of serial ({serial / 1e6:.2f} s)", "<= 0.6", ratio <= 0.6, command)


def ended(what, target_ms, *args):
    worst = 0
    for _ in range(3 if QUICK else 10):
        answer, command = run_json("--deadline", "200ms", *args)
        code = answer.get("error", {}).get("code")
        if code != "deadline-exceeded":
            sys.exit(f"{command}: {answer}")
        worst = max(worst, answer["usage"]["wall_us"] / 1000 - 200)
    row(what, f"{worst:.1f} ms past the deadline at worst", f"<= {target_ms} ms",
        worst <= target_ms, command)


def main():
    call_cost()
    cold()
    from_cache()
    pool()
    ledger()
    bridge_prices()
    nn_cost("image", "image", (1, 3, 224, 224), 135)
    nn_cost("relu3", "x", (3,), 60, "worker", 20000)
    nn_cost("image", "image", (1, 3, 224, 224), 50, "inline")
    nn_cost("relu3", "x", (3,), 3, "inline", 200000)
    for mib in (8, 64):
        for placement in ("worker", "inline"):
            nn_cost("big64", "x", (mib << 18,), None, placement, 320 // mib)
    overlap()
    ended("endless guest ended", 50, "build/guests/spin.wasm")
    ended("inference past its deadline: caller answered", 50,
          "--model", f"matmul={MODELS}/matmul.onnx", "build/guests/slow.wasm", "matmul")
    flat_memory()
    if QUICK:
        return
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if "model name" in l), "?")
    with open("bench/RESULTS.md", "w") as f:
        f.write("# Measured\n\n")
        f.write(f"{datetime.date.today()}, {os.cpu_count()} cores, {cpu}, Linux "
                f"{platform.release().split('-')[0]}. Made by `make bench`; every row is one run "
                "of its command, the native anchor in the same minute.\n\n")
        f.write("| what | measured | target | met |\n|---|---|---|---|\n")
        for what, measured, target, met, _ in rows:
            f.write(f"| {what} | {measured} | {target} | {'yes' if met else 'no'} |\n")
        f.write(NOTES)
        f.write("\nCommands:\n\n```sh\n")
        for command in dict.fromkeys(command for *_, command in rows):
            f.write(command + "\n")
        f.write("```\n")


main()
