# SPDX-License-Identifier: Apache-2.0
"""Every test in its full count, as ./test --long runs it once all is built: tools/run_long.py
[STAGE...]. The black-box tests run in two lanes of one core each, those marked `heavy` first; what
is marked `alone` runs after them by itself. Each stage writes its log to build/long, and the whole
a summary, build/long/SUMMARY.md, which is committed as bench/LONG.md. Status 1: a stage failed."""
import collections
import concurrent.futures
import datetime
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[1]
OUT = ROOT / "build" / "long"
NUMBERS = OUT / "numbers.jsonl"
PYTEST = [ROOT / "build/venv/bin/python", "-m", "pytest", "--long"]
HEAVY = ["tests/cli/test_cache.py", "tests/hostile/test_canary.py", "tests/suites",
         "tests/fault/test_kills.py"]
PARTS = 24  # of the other black-box tests; the lanes take them one by one
LANES = 2
FUZZ_S = 300  # for each target
JOBS = str(min(os.cpu_count() or 1, 16))

Done = collections.namedtuple("Done", "name ok seconds said")


def run(name, command):
    """Runs it with its output in build/long/NAME.log; (it succeeded, seconds, output)."""
    log = OUT / f"{name}.log"
    start = time.monotonic()
    with open(log, "wb") as file:
        status = subprocess.run([str(c) for c in command], stdout=file, stderr=subprocess.STDOUT,
                                stdin=subprocess.DEVNULL, cwd=ROOT, check=False).returncode
    text = log.read_text(errors="replace")
    if status != 0:
        print(f"long: {name} failed, status {status}; the end of {log}:\n"
              + "\n".join(text.splitlines()[-40:]), file=sys.stderr, flush=True)
    return status == 0, time.monotonic() - start, text


def total(pattern, text):
    return sum(int(found) for found in re.findall(pattern, text))


def bridge():
    ok, seconds, text = run("bridge", ["cargo", "test", "--release", "--locked", "--quiet",
                                       "--manifest-path", "bridge/Cargo.toml"])
    passed, failed = total(r"(\d+) passed", text), total(r"(\d+) failed", text)
    return Done("bridge", ok, seconds, f"{passed} passed, {failed} failed")


def unit():
    ok, seconds, text = run("unit", ["ctest", "--preset", "dev", "-j", JOBS])
    log = (ROOT / "build/dev/Testing/Temporary/LastTest.log").read_text(errors="replace")
    for line in re.findall(r"^(\w+ [a-z-]+\+?: \d+ runs.*)$", log, re.M):
        record("each fault in turn (ASan, UBSan, LeakSanitizer)", line)
    said = re.search(r"(\d+)% tests passed, (\d+) tests failed out of (\d+)", text)
    return Done("unit tests and fault sweeps (ASan, UBSan)", ok and said is not None, seconds,
                f"{said[3]} programs, {said[2]} failed" if said else "no summary")


def fuzz():
    ok, seconds, _ = run("fuzz-build", ["tools/build.sh", "fuzz"])
    if ok:
        ok, seconds, text = run("fuzz", ["tools/run-fuzz.sh", FUZZ_S])
        for line in re.findall(r"^fuzz: (\w+: \d+ inputs.*)$", text, re.M):
            record(f"fuzz targets, {FUZZ_S} s each", line)
    found = len(list((ROOT / "build/fuzz/crashes").glob("*"))) if ok else "?"
    return Done("fuzz targets", ok, seconds, f"{found} crashes")


def toolchains():
    return pytest_stage("agents of other toolchains", ["toolchains"], [["tests/guests"]])


def black_box():
    """The lanes: one queue of pytest runs, longest first."""
    names = [f"heavy-{pathlib.Path(p).stem}" for p in HEAVY]
    runs = [["-m", "heavy", path] for path in HEAVY]
    names += [f"part-{i}" for i in range(PARTS)]
    runs += [["-m", "not heavy and not alone", "--ignore=tests/guests", f"--part={i}/{PARTS}",
              "tests"] for i in range(PARTS)]
    return pytest_stage("black box, hostile, tidy", names, runs, LANES)


def alone():
    return pytest_stage("black box, timed alone", ["alone"], [["-m", "alone", "tests"]])


def pytest_stage(stage, names, runs, lanes=1):
    start = time.monotonic()

    def one(name, arguments):
        return run(name, [*PYTEST, f"--junitxml={OUT}/{name}.xml", *arguments])

    with concurrent.futures.ThreadPoolExecutor(lanes) as pool:
        ok = all([done[0] for done in pool.map(one, names, runs)])
    tests = failed = skipped = 0
    slowest = []
    for name in names:
        path = OUT / f"{name}.xml"
        if not path.exists():
            ok = False
            continue
        for case in xml.etree.ElementTree.parse(path).iter("testcase"):
            bad = case.find("failure") is not None or case.find("error") is not None
            out = case.find("skipped")
            tests, failed, skipped = tests + 1, failed + bad, skipped + (out is not None)
            label = f"{case.get('classname').removeprefix('tests.')}::{case.get('name')}"
            slowest.append((float(case.get("time")), label))
            if bad:
                record("failed", label)
            if out is not None:
                record("skipped", f"{label}: {out.get('message')}")
    for seconds, label in sorted(slowest)[-5:]:
        record("tests that take longest, s", f"{label} {seconds:.0f}")
    return Done(stage, ok, time.monotonic() - start,
                f"{tests - failed - skipped} passed, {failed} failed, {skipped} skipped")


STAGES = {"bridge": bridge, "unit": unit, "toolchains": toolchains, "black-box": black_box,
          "alone": alone, "fuzz": fuzz}


def record(what, value):
    """Like gb.record of the tests, whose numbers are in the same file."""
    with open(NUMBERS, "a", encoding="utf-8") as file:
        file.write(json.dumps([what, value]) + "\n")


# ---- the summary ----


def said_by(*command):
    try:
        out = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "not here"
    return out.stdout.strip().splitlines()[0] if out.stdout.strip() else ""


def cpu_times():
    """(all of them, stolen by the hypervisor) since boot, in ticks."""
    fields = pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    return sum(map(int, fields)), int(fields[7])


def host():
    cpu = re.search(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    memory_kib = re.search(r"MemTotal: +(\d+)", pathlib.Path("/proc/meminfo").read_text())
    return (f"{os.cpu_count()} cores, {cpu[1] if cpu else platform.machine()},"
            f" {int(memory_kib[1]) >> 20} GiB, Linux {platform.release().split('-')[0]}")


def numbers_lines():
    """Numbers under one name: alike ones once, with how often; measured ones by their largest."""
    groups = collections.defaultdict(list)
    if NUMBERS.exists():
        for line in NUMBERS.read_text().splitlines():
            what, value = json.loads(line)
            groups[what].append(value)
    for what, values in sorted(groups.items()):
        if len(values) > 1 and all(isinstance(v, float) for v in values):
            yield f"- {what}: {max(values)} at most, over {len(values)}"
            continue
        counted = collections.Counter(map(str, values))
        if len(counted) == 1:
            value, times = counted.popitem()
            yield f"- {what}: {value}" + (f", {times} times" if times > 1 else "")
        else:
            yield f"- {what}:"
            yield from (f"  - {value}" + (f", {n} times" if n > 1 else "")
                        for value, n in counted.items())


def summary(stages, started, stolen):
    commit = said_by("git", "rev-parse", "--short=12", "HEAD")
    changed = " with changes" if said_by("git", "status", "--porcelain", "-uno") else ""
    version = json.loads(said_by("build/glovebox", "version", "--json"))
    lines = ["# The full counts", "", f"{datetime.date.today()}, {host()}."
             f" Commit {commit}{changed}. Made by `./test --long`"
             f" (stages {', '.join(stages)}) in {(time.monotonic() - started) / 60:.0f} minutes;"
             f" {stolen * 100:.1f} % of the time was stolen by other virtual machines.", "",
             "Versions: " + ", ".join(f"{k} {v}" for k, v in version.items())
             + f"; {said_by('cc', '--version')}; {said_by('rustc', '--version')};"
             f" Python {platform.python_version()}.", "",
             "| stage | seconds | result | counts |", "|---|---|---|---|"]
    lines += [f"| {d.name} | {d.seconds:.0f} | {'ok' if d.ok else 'FAILED'} | {d.said} |"
              for d in stages.values()]
    return "\n".join([*lines, "", "Numbers:", "", *numbers_lines(), ""])


def main():
    chosen = sys.argv[1:] or list(STAGES)
    unknown = [name for name in chosen if name not in STAGES]
    if unknown:
        sys.exit(f"run_long: no stage {unknown[0]}; there are {', '.join(STAGES)}")
    OUT.mkdir(parents=True, exist_ok=True)
    for old in [*OUT.glob("*.xml"), *OUT.glob("*.log"), *OUT.glob("*.jsonl")]:
        old.unlink()
    os.environ["GLOVEBOX_TEST_LONG"] = "1"
    os.environ["GLOVEBOX_NUMBERS"] = str(NUMBERS)
    started, before = time.monotonic(), cpu_times()
    stages = {}
    for name in chosen:
        print(f"long: {name}", flush=True)
        stages[name] = STAGES[name]()
        done = stages[name]
        print(f"long: {name}: {'ok' if done.ok else 'FAILED'}, {done.said}, {done.seconds:.0f} s",
              flush=True)
        after = cpu_times()
        stolen = (after[1] - before[1]) / max(after[0] - before[0], 1)
        (OUT / "SUMMARY.md").write_text(summary(stages, started, stolen), encoding="utf-8")
    print(f"long: the summary is {OUT / 'SUMMARY.md'}")
    sys.exit(not all(done.ok for done in stages.values()))


if __name__ == "__main__":
    main()
