# SPDX-License-Identifier: Apache-2.0
"""What the command line says of its options: --help of each verb, and the words of usage errors.

golden/usage/*.txt holds cases, separated by empty lines:
  # what it shows
  $ the command line, as a shell reads it ({ROOT}: the repository)
  = its exit status
  the lines of standard error, exactly
golden/help/VERB.txt is the text of `glovebox VERB --help`. After a change that is meant,
GLOVEBOX_GOLDEN=write writes the help texts anew; the words of errors are written by hand.
"""
import os
import pathlib
import pty
import shlex
import subprocess

import pytest

import gb

GOLDEN = pathlib.Path(__file__).parent / "golden"
VERBS = ("run", "models", "inspect", "compile", "serve", "check", "config", "doctor", "version")


def cases():
    found = []
    for path in sorted((GOLDEN / "usage").glob("*.txt")):
        for block in path.read_text().strip().split("\n\n"):
            title, line, status, *text = block.splitlines()
            assert title.startswith("# ") and line.startswith("$ glovebox "), block
            assert status.startswith("= ") and text, block
            found.append(pytest.param(line.removeprefix("$ glovebox "), int(status[2:]), text,
                                      id=title[2:]))
    return found


@pytest.mark.parametrize("line, status, expected", cases())
def test_usage_error(line, status, expected):
    out = gb.glovebox(*shlex.split(line.replace("{ROOT}", str(gb.ROOT))))
    assert out.stderr.splitlines() == expected and out.status == status, repr(out)
    assert out.stdout == "", repr(out)


@pytest.mark.parametrize("line, status, expected", cases())
def test_usage_error_as_json(line, status, expected):
    """The same mistake with --json: one object, nothing on stderr, the same words."""
    verb, *rest = shlex.split(line.replace("{ROOT}", str(gb.ROOT)))
    position = 0 if verb == "run" else len(rest)
    if verb.startswith("-"):  # no verb to put it behind
        position = len(rest)
    out = gb.glovebox(verb, *rest[:position], "--json", *rest[position:])
    error = out.error
    assert out.status == status and out.stderr == "", repr(out)
    assert f"error: {error['code']}: {error['message']}" == expected[0], repr(out)
    assert [f"hint: {error['hint']}"] == expected[1:], repr(out)
    if verb == "run":
        gb.check_run_object(out)


@pytest.mark.parametrize("verb", ("glovebox", *VERBS))
def test_help(verb):
    args = ["--help"] if verb == "glovebox" else [verb, "--help"]
    out = gb.glovebox(*args)
    path = GOLDEN / "help" / f"{verb}.txt"
    if os.environ.get("GLOVEBOX_GOLDEN") == "write":
        path.write_text(out.stdout)
    assert out.status == 0 and out.stderr == "", repr(out)
    assert out.stdout == path.read_text(), repr(out)
    assert max(map(len, out.stdout.splitlines())) <= 100


def test_no_verb_is_a_usage_error_that_shows_the_help():
    out = gb.glovebox()
    assert out.status == 2 and out.stdout == ""
    assert out.stderr == (GOLDEN / "help" / "glovebox.txt").read_text()


def test_help_comes_before_later_mistakes():
    out = gb.glovebox("run", "--help", "--frobnicate")
    assert out.status == 0 and out.stdout.startswith("Usage: glovebox run"), repr(out)


def test_options_after_the_program_belong_to_the_guest():
    out = gb.glovebox("run", gb.GUESTS / "hello-p1.wasm", "--json", "--frobnicate", "--help")
    assert out.status == 0, repr(out)
    assert out.stdout.splitlines()[1:] == ["arg 1: --json", "arg 2: --frobnicate", "arg 3: --help"]


def test_two_dashes_end_the_options():
    out = gb.glovebox("run", "--", "--no-such-program")
    assert out.status == 101 and 'the file "--no-such-program" does not exist' in out.stderr


def test_a_value_may_follow_an_equals_sign():
    out = gb.glovebox("run", "--deadline=200ms", "--memory=1MiB", gb.GUESTS / "spin.wasm")
    assert out.status == 102 and "200 ms" in out.stderr, repr(out)


def test_argument_from_stdin():
    out = gb.glovebox("run", gb.GUESTS / "echo.wasm", "-", input=b"several\nlines")
    assert out.status == 0 and out.stdout == "several\nlines\n", repr(out)


def test_argument_from_stdin_is_bounded():
    out = gb.glovebox("run", gb.GUESTS / "echo.wasm", "-", input=b"x" * (1024 * 1024 + 1))
    assert out.status == 101 and "invalid-argument" in out.stderr, repr(out)


def test_a_broken_pipe_is_quiet():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([gb.BINARY, "run", gb.GUESTS / "hello.wasm"], stdout=write,
                          stderr=subprocess.PIPE, env=gb.environment(), cwd=gb.ROOT, timeout=60)
    os.close(write)
    assert done.returncode == 100 and done.stderr == b""


def test_a_full_disk_is_said():
    with open("/dev/full", "w") as full:
        done = subprocess.run([gb.BINARY, "run", "--help"], stdout=full, stderr=subprocess.PIPE,
                              env=gb.environment(), timeout=60)
    assert done.returncode == 100 and b"error: io: could not write to stdout" in done.stderr


def on_terminal(*args):
    """stdout and stderr of a run on one terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([gb.BINARY, *args], stdin=subprocess.DEVNULL, stdout=theirs,
                               stderr=theirs, env=gb.environment(TERM="xterm", NO_COLOR=None),
                               cwd=gb.ROOT)
    os.close(theirs)
    text = b""
    try:
        while chunk := os.read(ours, 65536):
            text += chunk
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    process.wait(timeout=60)
    return text.replace(b"\r\n", b"\n")


def test_a_guest_cannot_drive_the_terminal():
    text = on_terminal("run", gb.GUESTS / "echo.wasm", "a\x1b[31mb\u009bc\td\u00e9")
    assert text == b"a\\x1b[31mb\\xc2\\x9bc\td\xc3\xa9\n"


def test_a_guest_reaches_a_pipe_unchanged():
    out = gb.glovebox("run", gb.GUESTS / "echo.wasm", "a\x1b[31mb\u009bc")
    assert out.stdout_bytes == "a\x1b[31mb\u009bc\n".encode()


def test_errors_have_colour_on_a_terminal_only():
    assert on_terminal("run", "--frobnicate").startswith(b"\x1b[1;31merror:\x1b[0m usage-error: ")
    assert "\x1b" not in gb.glovebox("run", "--frobnicate").stderr


def test_a_guests_error_stays_on_its_line():
    """An agent's error quotes its argument; a newline in it must not begin a line of ours."""
    out = gb.glovebox("run", gb.GUESTS / "agent.wasm", "x\nhint: pay here")
    assert out.status == 1, repr(out)
    assert not any(line.startswith("hint: pay") for line in out.stderr.splitlines()), repr(out)
