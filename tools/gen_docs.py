#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints docs/ERRORS.md, docs/LIMITS.md, docs/MANIFEST.md or docs/manifest.schema.json from the
tables in the code, docs/CLI.md from the `--help` of the built program (GLOVEBOX_BIN, else
build/glovebox).

  tools/gen_docs.py cli|errors|limits|manifest|schema    prints the page
  tools/gen_docs.py --write                              writes all pages
"""
import os
import pathlib
import re
import subprocess
import sys

import manifest_docs

ROOT = pathlib.Path(__file__).resolve().parents[1]
ERRORS = ROOT / "src" / "base" / "errors.def"
LIMITS = ROOT / "src" / "sandbox" / "limits.def"

STRING = r'"((?:[^"\\]|\\.)*)"'
GROUPS = ["The program, its arguments, imports and grants", "Limits", "The guest", "Models",
          "Load", "HTTP"]

ERRORS_HEAD = """# Error codes

Every failure is one object: a `code` from this closed list, a `message` that names the thing, a
`hint` that says what to do, and where there is one the `cause`, an object of the same shape. The
command line prints `error: CODE: message` and `hint: …`; `--json` and HTTP carry the object.

Codes are added, never renamed. *Exit* is the exit status of `glovebox`; a guest that exits by
itself with 1 to 125 passes its own status on instead, and 143 stands for SIGTERM. *HTTP* is the
status of an answer where a guest is served. *Again* marks what may succeed when simply tried again.

**Which code wins.** A deadline, fuel, output or stack limit ends the call and is the code. A denied
growth of memory or a table returns -1 to the guest; if the call then traps with no successful
growth since, the code is `memory-limit` or `table-limit`, with the trap as cause. A host call that
failed is the guest's to handle; if it then returns an error, exits or traps, the code is
`guest-error`, `guest-exit` or `guest-trap` with the last host error as cause.
"""
LIMITS_HEAD = """# Limits

What every call is held to, with its default. A size is an integer, with `KiB`, `MiB` or `GiB` if
wanted; a time is an integer with `us`, `ms`, `s` or `m`. Past a limit the call ends with the code
named (see [ERRORS.md](ERRORS.md)); memory and tables first answer the guest with -1.
"""
LIMITS_TAIL = """
Two more are settings of the host and not of the call: `--stack` (512 KiB; `stack-overflow`), the
wasm stack of every call, and `--budget` (256 MiB; `budget-exceeded`), the tenant's ledger, which is
charged for linear memory, tables, handles, tensors and results before they are allocated. An
embedder also sets how many models loaded by guests the host holds at once (`loads_max`, 16; then
`overloaded`) and how many inferences one of those runs at once (`load_threads`, 1).
"""
UNITS = {"GB_KIB": 1 << 10, "GB_MIB": 1 << 20, "GB_GIB": 1 << 30}


def rows(path, macro, pattern):
    """The rows of a table, and None for each blank line between groups."""
    text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
    found = []
    calls = re.split(rf"^{macro}\(", text, flags=re.M)
    if calls[0].strip():
        sys.exit(f"{path}: text before the first {macro}")
    for call in calls[1:]:
        match = re.fullmatch(pattern, call.strip(), re.S)
        if not match:
            sys.exit(f"{path}: this row is not of the usual form: {macro}({call.strip()}")
        found.append(match.groups())
        if call.endswith("\n\n"):
            found.append(None)
    return found


def unquote(text):
    return re.sub(r"\\(.)", r"\1", re.sub(r'"\s*"', "", text))


def errors_page():
    table = rows(ERRORS, "GB_ERROR",
                 rf"\w+,\s*{STRING},\s*(\d+),\s*(\d+),\s*(true|false),\s*{STRING}\)")
    out = [ERRORS_HEAD]
    groups = iter(GROUPS)
    header = True
    for row in table:
        if row is None:
            header = True
            continue
        if header:
            out.append(f"\n## {next(groups)}\n\n| code | exit | HTTP | again | what it means |\n"
                       "|---|---|---|---|---|\n")
            header = False
        code, http, exit_status, again, what = row
        mark = "yes" if again == "true" else ""
        out.append(f"| `{code}` | {exit_status} | {http} | {mark} | {unquote(what)} |\n")
    return "".join(out)


def default_text(expression, unit):
    value = 1
    for factor in expression.split("*"):
        factor = factor.strip()
        value *= UNITS[factor] if factor in UNITS else int(factor)
    if unit == "BYTES":
        if value == 0:
            return "as `--memory`"
        for name, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if value % size == 0:
                return f"{value // size} {name}"
        return f"{value} bytes"
    if unit == "MICROSECONDS":
        return f"{value // 1_000_000} s" if value % 1_000_000 == 0 else f"{value} us"
    if unit == "FUEL":
        return "off" if value == 0 else f"{value:,}"
    if unit == "COUNT":
        return f"{value:,}"
    sys.exit(f"{LIMITS}: unknown unit {unit}")


def limits_page():
    table = rows(LIMITS, "GB_LIMIT",
                 rf"(\w+),\s*([^,]+),\s*(\w+),\s*{STRING},\s*{STRING},"
                 rf"\s*({STRING}(?:\s*{STRING})*)\)")
    out = [LIMITS_HEAD, "\n| option | default | code | what it bounds |\n|---|---|---|---|\n"]
    for row in table:
        if row is None:
            continue
        _, expression, unit, option, code, what = row[:6]
        shown = f"`{option}`" if option else "fixed"
        out.append(f"| {shown} | {default_text(expression, unit)} | `{code}` "
                   f"| {unquote(what.strip()[1:-1])} |\n")
    return "".join(out) + LIMITS_TAIL + constants_table()


# What is bounded by a constant of the code and not by an option: header, constant, unit, words.
CONSTANTS = [
    ("wire/wire.h", "GB_WIRE_PORTS_MAX", "COUNT", "inputs of a model, and outputs"),
    ("wire/wire.h", "GB_WIRE_RANK_MAX", "COUNT", "dimensions of a tensor"),
    ("wire/wire.h", "GB_WIRE_NAME_MAX", "BYTES", "the name of an input or output"),
    ("model/onnx_internal.h", "GB_ONNX_GRAPH_DEPTH_MAX", "COUNT", "graphs in graphs of a model"),
    ("model/onnx_internal.h", "GB_ONNX_NODES_MAX", "COUNT", "nodes of a model"),
    ("model/onnx_internal.h", "GB_ONNX_CONSTANT_BYTES_MAX", "BYTES",
     "a constant that an operator unfolds at load"),
    ("sandbox/sandbox_internal.h", "GB_HANDLES_PER_CALL_MAX", "COUNT",
     "handles that a guest holds, whatever --handles says"),
    ("model/quarantine.h", "GB_QUARANTINE_DEATHS", "COUNT",
     "workers that one request may kill before it is quarantined"),
    ("model/quarantine.h", "GB_QUARANTINE_MAX", "COUNT", "requests in quarantine"),
    ("sandbox/http_io.h", "GB_HTTP_CHUNK_BYTES", "BYTES",
     "one write of a guest to an HTTP body, and one read; two writes wait for the client"),
    ("host/host.h", "GB_METRICS_NAMES_MAX", "COUNT", "names of metrics of a tenant's guests"),
    ("host/host.h", "GB_METRICS_NAME_BYTES_MAX", "BYTES", "the name of a metric"),
    ("host/host.h", "GB_GUEST_LOG_LINE_MAX", "BYTES", "a line that a guest logs; the rest is cut"),
    ("host/host.h", "GB_GUEST_LOG_PER_S", "COUNT",
     "lines that a tenant's guests log in a second; the rest is dropped and counted"),
]


def constants_table():
    out = ["\nThese hold for everybody and have no option:\n\n| at most | what |\n|---|---|\n"]
    for header, name, unit, what in CONSTANTS:
        text = (ROOT / "src" / header).read_text()
        found = re.search(rf"#define {name}\s+\(?([^/\n]*?)\)?\s*(?:/\*|$)", text, re.M)
        if not found:
            sys.exit(f"{header}: no {name}")
        expression = re.sub(r"(?<=\d)u\b", "", found[1].replace("(uint64_t)", ""))
        out.append(f"| {default_text(expression, unit)} | {what} |\n")
    return "".join(out)


CLI_HEAD = """# Command line

`glovebox VERB [OPTIONS] …`: what each verb's `--help` says. Every verb that prints a result takes
`--json` and then prints exactly one JSON object on stdout. Errors go to stderr as
`error: CODE: message` with `hint: …` on the next line; [ERRORS.md](ERRORS.md) lists the codes,
[LIMITS.md](LIMITS.md) the limits.

"""


def help_of(*verb):
    program = pathlib.Path(os.environ.get("GLOVEBOX_BIN") or ROOT / "build" / "glovebox")
    if not os.access(program, os.X_OK):
        sys.exit(f"{program} is missing: run `make` first, or set GLOVEBOX_BIN")
    out = subprocess.run([program, *verb, "--help"], capture_output=True, text=True, check=True)
    return out.stdout


def option_rows(lines, verb):
    """Options begin in column 2; their text begins in column 30, beside or below the name."""
    found = []
    for line in lines:
        if re.match(r"  -", line):
            name, _, text = line.strip().partition("  ")
            found.append([name, text.strip()])
        elif line.startswith(" " * 30) and found:
            found[-1][1] = f"{found[-1][1]} {line.strip()}".strip()
        else:
            sys.exit(f"glovebox {verb} --help: this line is not of the usual form: {line!r}")
    return "".join(f"| `{escape(name)}` | {escape(text)} |\n" for name, text in found)


def escape(text):
    return text.replace("|", "\\|")


def verb_section(verb):
    head, _, rest = help_of(verb).partition("\nOptions:\n")
    usage, _, about = head.partition("\n\n")
    options, _, notes = rest.partition("\n\n")
    usage = usage.removeprefix("Usage: ").strip()
    return (f"\n## {verb}\n\n```\n{usage}\n```\n\n{about.strip()}\n\n"
            f"| option | meaning [default] |\n|---|---|\n{option_rows(options.splitlines(), verb)}"
            + (f"\n{notes.strip()}\n" if notes.strip() else ""))


def cli_page():
    verbs = re.findall(r"^  ([a-z]+)  +(\S.*)$", help_of(), re.M)
    if not verbs:
        sys.exit("glovebox --help: no verbs found")
    table = "".join(f"| [`{verb}`](#{verb}) | {escape(what)} |\n" for verb, what in verbs)
    return (CLI_HEAD + "| verb | does |\n|---|---|\n" + table
            + "".join(verb_section(verb) for verb, _ in verbs))


def settings():
    table = rows(manifest_docs.SETTINGS, "GB_SETTING", manifest_docs.PATTERN)
    return manifest_docs.named_rows(table, unquote)


def manifest_page():
    return manifest_docs.page(settings())


def schema_page():
    return manifest_docs.schema(settings())


PAGES = {"cli": (cli_page, ROOT / "docs" / "CLI.md"),
         "errors": (errors_page, ROOT / "docs" / "ERRORS.md"),
         "limits": (limits_page, ROOT / "docs" / "LIMITS.md"),
         "manifest": (manifest_page, ROOT / "docs" / "MANIFEST.md"),
         "schema": (schema_page, ROOT / "docs" / "manifest.schema.json")}


def main():
    if sys.argv[1:] == ["--write"]:
        for make, path in PAGES.values():
            path.write_text(make())
    elif len(sys.argv) == 2 and sys.argv[1] in PAGES:
        sys.stdout.write(PAGES[sys.argv[1]][0]())
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
