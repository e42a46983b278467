# SPDX-License-Identifier: Apache-2.0
"""Layers and style, over the files that git knows. Exceptions: allowed.txt, with a reason each."""
import functools
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).parent

FILE_LINES_MAX = 800
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 100
FILE_BYTES_MAX = 8 << 20
GENERATED = ("guests/bindings/",)
BANNED = ("strcpy", "strncpy", "sprintf", "vsprintf", "strcat", "strncat", "gets", "alloca",
          "system", "popen", "atoi", "atol", "atof", "strtok", "tmpnam", "mktemp", "rand", "srand",
          "asctime", "ctime", "gmtime", "localtime")
HOST_HEAP = ("malloc", "calloc", "realloc", "free", "strdup", "strndup", "asprintf")


@functools.lru_cache(maxsize=None)
def tracked():
    """Committed files and new ones that are not ignored."""
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT,
                         capture_output=True, check=True)
    names = sorted(n for n in out.stdout.decode().split("\0") if n)
    found = [n for n in names if (ROOT / n).is_file()]
    assert len(found) > 100
    return found


def files(*suffixes, under=()):
    return [n for n in tracked() if n.endswith(suffixes) and not n.startswith(GENERATED)
            and (not under or n.startswith(under))]


@functools.lru_cache(maxsize=None)
def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def is_text(name):
    return b"\0" not in (ROOT / name).read_bytes()[:8192] and not name.endswith(
        (".onnx", ".o", ".wasm", ".png"))


@functools.lru_cache(maxsize=None)
def exceptions():
    found = {}
    for line in (HERE / "allowed.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            rule, place, reason = line.split(None, 2)
            assert len(reason) > 10, f"no reason: {line}"
            found[rule, place] = reason
    return found


_used = set()


def allowed(rule, place):
    if (rule, place) in exceptions():
        _used.add((rule, place))
        return True
    return False


def report(rule, findings):
    """findings: (place, what is wrong), without those that are allowed."""
    bad = [f"{place}: {what}" for place, what in findings if not allowed(rule, place)]
    assert not bad, f"{rule}:\n" + "\n".join(bad)


C = (".c", ".h")
LINES = (".c", ".h", ".def", ".py", ".sh", ".rs", ".cmake", ".wit", ".wat", ".toml", ".txt", ".ini")


@functools.lru_cache(maxsize=None)
def code(name):
    """C without comments and literals, every line kept."""
    def blank(match):
        kept = match.group(0)
        if kept.startswith("/"):
            return re.sub(r"[^\n]", " ", kept)
        return kept[0] + " " * (len(kept) - 2) + kept[-1]
    pattern = r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(pattern, blank, text(name), flags=re.S)


# ---- layers ----


@functools.lru_cache(maxsize=None)
def layers():
    may, only = {}, {}
    for line in (HERE / "layers.txt").read_text().splitlines():
        line = line.partition("#")[0].strip()
        if line.startswith("only "):
            _, header, *places = line.split()
            only[header] = tuple(f"{place}/" for place in places)
        elif line:
            module, _, below = line.partition(":")
            may[module] = set(below.split())
    return may, only


def includes(name):
    return re.findall(r'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"]+)[>"]', text(name), re.M)


def test_the_layers_have_no_circle():
    may, _ = layers()
    order = list(may)
    for at, module in enumerate(order):
        assert may[module] <= set(order[:at]), f"{module} includes from above"


def test_modules_include_only_what_lies_below():
    may, _ = layers()
    findings = []
    for name in files(*C, ".def", under=("src/",)):
        module = name.split("/")[1]
        if module not in may:
            findings.append((name, f"the module {module} is not in layers.txt"))
            continue
        for header in includes(name):
            other = header.split("/")[0]
            if other in may and other != module and other not in may[module]:
                findings.append((name, f"{module} must not include {header}"))
            if header.startswith("..") or "/../" in header:
                findings.append((name, f"include from src/: {header}"))
    report("layers", findings)


def test_headers_of_the_world_outside_stay_where_they_belong():
    _, only = layers()
    findings = []
    for name in files(*C, under=("src/", "include/")):
        for header in includes(name):
            for outside, places in only.items():
                if header == outside or header.endswith("/" + outside):
                    if not name.startswith(places):
                        findings.append((name, f"only {places} may include {outside}"))
    report("layers", findings)


def test_the_command_line_uses_the_public_library():
    findings = []
    for name in files(*C, under=("src/cli/",)):
        for header in includes(name):
            first = header.split("/")[0]
            if "/" in header and first in layers()[0] and first not in ("base", "cli"):
                findings.append((name, f"includes {header}"))
    report("layers", findings)


def test_public_headers_include_nothing_of_ours():
    findings = [(n, h) for n in files(".h", under=("include/",)) for h in includes(n)
                if not h.startswith("std") and not h.startswith("glovebox/")]
    report("layers", findings)


# ---- size and form ----


def test_files_are_not_too_long():
    report("file-lines", [(n, f"{text(n).count(chr(10))} lines")
                          for n in files(*C, ".py", ".rs", ".sh")
                          if text(n).count("\n") > FILE_LINES_MAX])


# A name and its parameters, with parentheses two deep, at the end.
HEAD = re.compile(r"(\w+)\s*\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)\s*$")


def functions(name):
    """(name, first line, lines) of the functions of a C file: a brace at depth 0 after a `)`."""
    depth = 0
    start = head = None
    pending = []
    for number, line in enumerate(code(name).splitlines(), 1):
        if line.lstrip().startswith("#"):
            continue
        if depth == 0:
            pending.append((number, line))
        for at, char in enumerate(line):
            if char == "{":
                if depth == 0:
                    before = " ".join(t for _, t in pending[:-1]) + " " + line[:at]
                    before = re.split(r"[;}]", before)[-1].strip()
                    match = HEAD.search(before)
                    is_function = match and "=" not in before and not before.startswith("extern")
                    head = match.group(1) if is_function else None
                    start = number
                depth += 1
            elif char == "}":
                depth -= 1
                assert depth >= 0, f"{name}:{number}: braces do not match"
                if depth == 0:
                    if head:
                        yield head, start, number - start + 1
                    pending, head = [], None
    assert depth == 0, f"{name}: braces do not match"


def test_functions_are_not_too_long():
    findings, seen = [], 0
    for name in files(".c", under=("src/", "tests/", "guests/", "bench/")):
        for function, line, lines in functions(name):
            seen += 1
            if lines > FUNCTION_LINES_MAX:
                findings.append((f"{name}:{function}", f"line {line}: {lines} lines"))
    assert seen > 200, "the counter finds no functions any more"
    report("function-lines", findings)


def test_lines_are_not_too_long():
    """But for tables, where a row is a line, dependencies, and what rustfmt has formatted."""
    findings = []
    for name in files(*LINES):
        if name.endswith((".def", ".toml", ".rs")):
            continue
        if name.endswith(".txt") and not name.startswith(("tests/tidy/", "CMake")):
            continue
        for number, line in enumerate(text(name).splitlines(), 1):
            if len(line) > COLUMNS_MAX:
                findings.append((name, f"line {number} has {len(line)} columns"))
    report("columns", findings)


def test_no_tabs_and_no_trailing_whitespace():
    findings = []
    for name in filter(is_text, tracked()):
        if name.startswith(GENERATED) or name.endswith((".lock", "go.sum")):
            continue
        content = text(name)
        for number, line in enumerate(content.split("\n"), 1):
            if line != line.rstrip():
                findings.append((name, f"line {number} ends with whitespace"))
            if "\t" in line and name.endswith(C):
                findings.append((name, f"line {number} has a tab"))
        if content and not content.endswith("\n"):
            findings.append((name, "no newline at the end"))
    report("whitespace", findings)


SPDX = "SPDX-License-Identifier: Apache-2.0"
COMMENTED = LINES + (".yml", "CMakeLists.txt", "Makefile", ".clang-format")


def test_licence_in_the_first_line():
    findings = []
    for name in files(*COMMENTED):
        if name.endswith((".txt", "requirements.txt")) and not name.startswith("tests/tidy/") and (
                not name.endswith("CMakeLists.txt")):
            continue
        lines = text(name).splitlines()
        first = lines[1] if lines and lines[0].startswith("#!") and len(lines) > 1 else (
            lines[0] if lines else "")
        if SPDX not in first:
            findings.append((name, "no SPDX line"))
    for name in tracked():  # scripts without a suffix
        if is_text(name) and "." not in name.rpartition("/")[2] and text(name).startswith("#!"):
            if SPDX not in "\n".join(text(name).splitlines()[:3]):
                findings.append((name, "no SPDX line"))
    report("licence", findings)


def test_headers_have_guards_named_after_them():
    findings = []
    for name in files(".h", under=("src/", "include/")):
        guard = re.search(r"^#ifndef (\w+)\n#define \1$", text(name), re.M)
        if not guard:
            findings.append((name, "no include guard"))
    report("guard", findings)


# ---- words ----


def calls(name, functions_):
    names = "|".join(functions_)
    for match in re.finditer(rf"(?<![\w.>])({names})\s*\(", code(name)):
        yield match.group(1), code(name).count("\n", 0, match.start()) + 1


def test_no_banned_functions():
    findings = [(f"{name}:{function}", f"line {line}")
                for name in files(*C, under=("src/", "include/", "tests/", "bench/", "guests/"))
                for function, line in calls(name, BANNED)]
    report("banned", findings)


def test_the_host_allocates_through_its_door():
    """gb_alloc and its kin, so that tests can fail every allocation."""
    inside = ("src/base/alloc.c",)
    findings = [(f"{name}:{function}", f"line {line}")
                for name in files(".c", under=("src/",)) if name not in inside
                and not name.startswith(("src/backend/", "src/worker/"))
                for function, line in calls(name, HOST_HEAP)]
    report("heap", findings)


def test_no_variable_length_arrays_and_no_goto_upwards():
    findings = []
    for name in files(".c", under=("src/",)):
        content = code(name)
        for match in re.finditer(r"\bgoto (\w+);", content):
            label = re.search(rf"^\s*{match.group(1)}:", content[:match.start()], re.M)
            if label and content.rfind("\n}", 0, match.start()) < label.start():
                findings.append((name, f"goto {match.group(1)} goes back"))
    report("goto", findings)


MARKS = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
MACHINE = re.compile(r"(?<![\w.{}$/-])/(?:home|root|Users|work|mnt|media|tmp)/[\w.-]+")
OUTSIDE = re.compile(r"\.\./shared|\bshared/(?:facts|design|contract)")


def test_no_notes_to_ourselves():
    findings = []
    for name in filter(is_text, tracked()):
        if name.startswith(GENERATED):
            continue
        for number, line in enumerate(text(name).splitlines(), 1):
            match = MARKS.search(line)
            if match:
                findings.append((name, f"line {number}: {match.group(0)}"))
    report("notes", findings)


def test_no_paths_of_a_machine():
    findings = []
    for name in filter(is_text, tracked()):
        if name.startswith(GENERATED):
            continue
        for number, line in enumerate(text(name).splitlines(), 1):
            match = MACHINE.search(line) or OUTSIDE.search(line)
            if match:
                findings.append((name, f"line {number}: {match.group(0)}"))
    report("paths", findings)


def test_no_large_files_and_no_built_ones():
    findings = []
    for name in tracked():
        size = (ROOT / name).stat().st_size
        if size > FILE_BYTES_MAX:
            findings.append((name, f"{size} bytes"))
        if name.endswith((".so", ".a", ".wasm", ".pyc", ".gguf")) or (
                name.endswith(".o") and not name.startswith(GENERATED)):
            findings.append((name, "is built, not written"))
    report("large", findings)


def test_names_of_types_do_not_end_with_t():
    findings = [(name, match.group(0)) for name in files(*C, under=("src/", "include/"))
                for match in re.finditer(r"\btypedef\b[^;{]*\bgb_\w+_t\s*;", code(name))]
    report("names", findings)


# ---- headers compile alone ----

FLAGS = ["-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE"]


def include_folders():
    return ["-Isrc", "-Iinclude", "-Ibridge/host", "-isystem", "build/deps/ort/include", "-isystem",
            "build/deps/yyjson", "-isystem", "build/deps/llhttp"]


def headers():
    return files(".h", under=("src/", "include/")) + ["bridge/host/gb_wasm.h"]


def test_headers_compile_alone():
    findings = []
    for name in headers():
        out = subprocess.run(["gcc", "-std=gnu17", *FLAGS, *include_folders(), "-x", "c", "-"],
                             input=f'#include "{ROOT / name}"\ntypedef int not_empty;\n', text=True,
                             cwd=ROOT, capture_output=True)
        if out.returncode != 0:
            findings.append((name, out.stderr.splitlines()[0] if out.stderr else "failed"))
    report("alone", findings)


@pytest.mark.parametrize("language", [
    ["gcc", "-std=c11", "-Wpedantic", "-x", "c"],
    ["clang++-14", "-std=c++11", "-Wpedantic", "-x", "c++"],
    ["clang++-14", "-std=c++20", "-Wpedantic", "-x", "c++"],
], ids=lambda language: language[1])
def test_public_headers_compile_alone_everywhere(language):
    flags = [f for f in FLAGS if f != "-D_GNU_SOURCE"]
    findings = []
    for name in files(".h", under=("include/",)):
        header = name.removeprefix("include/")
        source = f'#include <{header}>\n#include <{header}>\nint main(void) {{ return 0; }}\n'
        if "++" in language[0]:
            source = source.replace("(void)", "()")
        out = subprocess.run([*language[:2], *flags, "-Iinclude", *language[2:], "-"], input=source,
                             text=True, cwd=ROOT, capture_output=True)
        if out.returncode != 0:
            findings.append((name, out.stderr[:300]))
    report("alone", findings)


# ---- pages made from tables ----


@pytest.mark.parametrize("page, path", [("cli", "docs/CLI.md"), ("errors", "docs/ERRORS.md"),
                                        ("limits", "docs/LIMITS.md"),
                                        ("manifest", "docs/MANIFEST.md"),
                                        ("schema", "docs/manifest.schema.json")])
def test_pages_equal_their_tables(page, path):
    out = subprocess.run([sys.executable, "tools/gen_docs.py", page], cwd=ROOT, capture_output=True,
                         text=True)
    assert out.returncode == 0, out.stderr
    assert out.stdout == text(path), f"run `tools/gen_docs.py --write`: {path} is not up to date"


# ---- the exceptions themselves; keep this test last ----


def test_every_exception_is_needed():
    ours = {key for key in exceptions()}
    assert _used == ours, f"not needed any more: {sorted(ours - _used)}"
