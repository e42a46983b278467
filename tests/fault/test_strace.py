# SPDX-License-Identifier: Apache-2.0
"""System calls of a whole run with a model, host and worker: no socket of the internet, no file
written outside the build and cache folders and that of the cache's key, nothing in the home
folder."""
import os
import re
import shutil

import pytest

import gb

WRITES = re.compile(r"\b(?:O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND)\b")
# A descriptor is shown with its path; a name after it is below that.
OPEN = re.compile(
    r'\b(?:open|openat|openat2|creat)\((?:(?:AT_FDCWD|\d+)(?:<([^>]*)>)?, )?"([^"]*)"(.*)= (-?\d+)')
CHANGES = re.compile(
    r'\b(mkdir|mkdirat|rename|renameat|renameat2|unlink|unlinkat|symlink|symlinkat|link|linkat|'
    r'chmod|fchmodat|truncate|mknod|mknodat)\((.*)\) = 0')
# Names of threads; the worker offers itself when memory runs out.
HARMLESS = re.compile(r"/dev/(?:null|full)|/proc/self/(?:task/\d+/comm|oom_score_adj)")


def allowed(folder):
    """Where a run may write: what was built, the cache of compiled code, and its key's folder."""
    return (str(folder / "cache"), str(folder / "state"), str(gb.ROOT / "build"))


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    folder = tmp_path_factory.mktemp("strace")
    home = folder / "home"
    home.mkdir()
    log = folder / "trace"
    env = gb.environment(HOME=home, XDG_CACHE_HOME=folder / "cache", GLOVEBOX_CACHE=None,
                         XDG_STATE_HOME=folder / "state",
                         TMPDIR=folder / "tmpdir")
    (folder / "tmpdir").mkdir()
    label, *pixels = (gb.MODELS / "digits_heldout.csv").read_text().splitlines()[0].split(",")
    out = gb.command(
        ["strace", "-f", "-y", "-qq", "-s", "256", "-o", log, "-e", "trace=%file,%network",
         gb.BINARY, "run", "--json", *gb.model("digits"), "--repeat", "5", "--jobs", "2",
         gb.GUESTS / "agent.wasm", " ".join(pixels)], env=env, timeout=180)
    if "ptrace" in out.stderr and "not permitted" in out.stderr:
        pytest.skip("this machine does not let processes be traced")
    assert out.code == "ok", repr(out)
    return folder, log.read_text(errors="replace").splitlines()


def test_the_worker_was_traced(trace):
    lines = trace[1]
    assert any("execve(" in line and "glovebox-worker" in line for line in lines)
    assert any("libonnxruntime.so" in line and "= -1" not in line for line in lines)


def test_no_internet_socket(trace):
    made = [line for line in trace[1] if re.search(r"\bsocket(pair)?\(", line)]
    assert made, "not even the worker's own socket was seen"
    bad = [line for line in made if not re.search(r"\((?:AF_UNIX|AF_LOCAL|AF_NETLINK)\b", line)]
    assert bad == []
    assert [line for line in trace[1] if "AF_INET" in line] == []


def test_no_file_is_written_elsewhere(trace):
    folder, lines = trace
    opened = [m for m in map(OPEN.search, lines) if m]
    assert len(opened) > 20, "the pattern no longer fits what strace prints"
    bad = [m.group(0) for m in opened
           if int(m.group(4)) >= 0 and WRITES.search(m.group(3))
           and not HARMLESS.fullmatch(m.group(2))
           and not os.path.join(m.group(1) or "", m.group(2)).startswith(allowed(folder))]
    assert bad == []


def test_nothing_else_in_the_file_system_changes(trace):
    folder, lines = trace
    bad = [line for line in lines if CHANGES.search(line)
           and not any(mark + path in line for mark in '"<' for path in allowed(folder))]
    assert bad == []


def test_the_engine_phones_nobody(trace):
    folder, lines = trace
    assert list((folder / "home").iterdir()) == []
    assert list((folder / "tmpdir").iterdir()) == []
    assert [line for line in lines if "Microsoft" in line or "resolv.conf" in line] == []


def test_only_the_compiler_and_the_worker_are_executed(trace):
    ran = [line for line in trace[1] if re.search(r"\bexecve(at)?\(", line) and "= -1" not in line]
    assert len([line for line in ran if "glovebox-worker" in line]) == 1, ran
    assert len([line for line in ran if "glovebox-compiler" in line]) == 1, ran
    assert len(ran) == 3, ran
