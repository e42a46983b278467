# SPDX-License-Identifier: Apache-2.0
"""docs/MANIFEST.md and docs/manifest.schema.json, from src/manifest/settings.def."""
import json
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[1]
SETTINGS = ROOT / "src" / "manifest" / "settings.def"
UNITS_OF_SIZE = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))

HEAD = """# Manifests

What a server serves, for whom and within which limits, is one file. `glovebox check FILE` says what
is wrong with it, all at once, without serving; `glovebox config FILE` shows every value that it
comes to and the line that set it. FILE is one of three things, told apart by content:

* a **`glovebox.toml`**, this page;
* a **Spin `spin.toml`**, version 2: see [below](#spin);
* a **program** (`.wasm`, `.wat`): one component `main` that answers every request.

```toml
[host]
listen = "127.0.0.1:8080"

[model.digits]
source = "models/digits.onnx"

[component.digits]
source = "digits.wasm"
models = ["digits"]

[[route]]
path = "/digits"
methods = ["POST"]
component = "digits"
```

**Values.** A size is a whole number of bytes, or a text with `KiB`, `MiB` or `GiB`. A duration is a
text: a whole number with `us`, `ms`, `s` or `m`. Paths are taken from the manifest's folder, may
lead anywhere and may be symbolic links: whoever writes the manifest is the operator. A key that is
not on this page is an error, and so is a key of a later version: nothing is silently ignored. An
error is `FILE:LINE:COLUMN: message` with the line to type as its hint; up to 20 are listed at once.

**Secrets.** In `env` and `variables` a value may be `{ env = "NAME" }` or `{ file = "PATH" }` (one
newline at its end is cut). It is read when the manifest is, and never printed or logged. Checking
does not need it.

**Tenants.** A request is of the tenant whose API key it carries, whose host name it asks for, or
whom a trusted proxy names in `tenant-header`. With no `[tenant.NAME]` there is one, `default`,
which takes every request. A `[tenant.default]` without keys, hosts and proxy-name takes what nobody
else claims; without it such a request is answered `unauthorized`.

**Routes.** Of the routes whose path, method and tenant fit, the most exact path wins: from the left
a text before a `:param` before `...`. `/x/...` takes `/x` and `/x/`, too; `GET` includes `HEAD`.
Two routes that take the same requests are an error; `glovebox check` lists which route comes before
which other.

**Limits.** Those of a component or a tenant win over `[limits]`; where both say something, the
smaller one holds.

**An editor** that knows JSON Schema completes and checks keys with
[manifest.schema.json](manifest.schema.json).
"""

TABLES = {
    "HOST": ("`[host]`", "The server."),
    "LIMITS": ("`[limits]`, and `limits = { }` of tenants and components",
               "What a call is held to ([LIMITS.md](LIMITS.md)). Only `[limits]` has defaults."),
    "MODEL": ("`[model.NAME]`", "A model, by the name that components open it by."),
    "TENANT": ("`[tenant.NAME]`", "Whose requests these are; beside the keys below it takes "
                                  "`limits = { }` and `budgets = { }`."),
    "BUDGETS": ("`budgets = { }` of a tenant", "What a tenant may use, over all of its calls."),
    "COMPONENT": ("`[component.NAME]`", "A program and what it may touch: nothing that is not "
                                        "named here. Takes `limits = { }`, too."),
    "ROUTE": ("`[[route]]`", "What answers which requests."),
}

NOT_YET = """
Known and not built yet, so refused as `unsupported`: `guard` and `schema` of a component,
`mtls-subject` of a tenant, `max-batch` above 1, `tokens-per-minute` above 0.

## Spin

A `spin.toml` with `spin_manifest_version = 2` is served as it is. `[host]` and `[limits]` are at
their defaults.

"""
SPIN = [
    ("`[application]` `name`",
     "shown; `version`, `description`, `authors`, `targets`, `tool` are left alone"),
    ("`[application.trigger.http]` `base`",
     "put before every route"),
    ("`[variables.NAME]` `default`, `required`, `secret`",
     "a value is taken from `SPIN_VARIABLE_NAME` (in capitals), else the default; "
     "required without either is an error"),
    ("`[[trigger.http]]` `route`, `component`",
     "a route; `id` is left alone"),
    ("`static_response = { status_code, headers, body }`",
     "a static answer"),
    ('`executor = { type = "http" }`',
     "the same; `wagi` is refused"),
    ("`[component.NAME]` `source`",
     "a path; by URL or from a registry is refused"),
    ("`environment`",
     "as it is"),
    ("`files`",
     '`{ source, destination }` and whole folders (`"assets/**/*"`) are shared read-'
     "only; patterns for single files are refused, and so is `exclude_files`"),
    ("`allowed_outbound_hosts`",
     "with its templates; `*.spin.internal` is refused"),
    ("`key_value_stores`",
     "a list of labels; a table, as some tutorials write it, is accepted with a "
     "warning that shows the list"),
    ("`variables`",
     "templates `{{ name }}`; a text made with a secret is a secret"),
    ("`build`, `tool`, `targets`, `profile`, `description`",
     "of Spin's own tools: left alone"),
    ("other triggers, private routes, `sqlite_databases`, `ai_models`, "
     "`dependencies`, `allowed_http_hosts`, components inside of a trigger",
     "refused as `unsupported`, by name; empty lists are nothing"),
]
SPIN_TAIL = """
Components of Spin are linked with outgoing HTTP and key-value always, because its SDKs import them
whether they are used or not; what they may reach is in the two lists, and empty lists are nothing.
Manifests of version 1 are refused.
"""


def size_text(number):
    for name, size in UNITS_OF_SIZE:
        if number and number % size == 0:
            return f"{number // size}{name}"
    return str(number)


def duration_text(number):
    for name, size in (("s", 1000000), ("ms", 1000)):
        if number % size == 0:
            return f"{number // size}{name}"
    return f"{number}us"


def range_text(row):
    low, high = int(row["min"]), int(row["max"])
    if row["kind"] == "SIZE":
        return f"size, {size_text(low)} to {size_text(high)}"
    if row["kind"] == "DURATION":
        return f"duration, {duration_text(low)} to {duration_text(high)}"
    if row["kind"] == "COUNT":
        return f"number, {low} to {high}"
    return {"BOOL": "true or false", "CHOICE": ", ".join(row["choices"].split("|")),
            "TEXT": "text", "PATH": "path", "LIST": "list of texts",
            "OTHER": "list" if row["key"] == "dirs" else "table"}[row["kind"]]


def default_text(row):
    if row["form"] == "REQUIRED" or row["key"] == "path" and row["table"] == "ROUTE":
        return "required"
    if row["initial"] == "":
        return ""
    quoted = row["kind"] not in ("COUNT", "BOOL")
    return f"`\"{row['initial']}\"`" if quoted else f"`{row['initial']}`"


def escape(text):
    return text.replace("|", "\\|")


def page(rows):
    out = [HEAD]
    for table, (title, about) in TABLES.items():
        out.append(f"\n## {title}\n\n{about}\n\n| key | value | default | meaning |\n"
                   "|---|---|---|---|\n")
        for row in rows:
            if row["table"] == table:
                out.append(f"| `{row['key']}` | {escape(range_text(row))} | {default_text(row)} "
                           f"| {escape(row['doc'])} |\n")
    spin = "".join(f"| {ours} | {theirs} |\n" for ours, theirs in SPIN)
    return "".join(out) + NOT_YET + "| in spin.toml | here |\n|---|---|\n" + spin + SPIN_TAIL


# ---- JSON Schema ----

TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
SECRETS = {"type": "object", "additionalProperties": {"anyOf": [
    {"type": "string"},
    {"type": "object", "properties": {"env": {"type": "string"}, "file": {"type": "string"}},
     "minProperties": 1, "maxProperties": 1, "additionalProperties": False}]}}
OTHERS = {
    "env": SECRETS,
    "variables": SECRETS,
    "dirs": {"type": "array", "items": {"type": "string", "pattern": "^.+::/"}},
    "static": {"type": "object", "additionalProperties": False, "properties": {
        "status": {"type": "integer", "minimum": 200, "maximum": 599}, "headers": TEXTS,
        "body": {"type": "string"}}},
}
PATTERNS = {"DIGEST": "^sha256:[0-9a-f]{64}$", "KEY_HASH": "^(sha256:)?[0-9A-Fa-f]{64}$",
            "METHOD": "^[A-Z-]+$", "ROUTE": "^/", "LABEL": "^[A-Za-z0-9_-]{1,64}$",
            "NAME": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"}
GRANTS = ["nn-load", "http", "kv", "sockets", "memory64"]


def text_schema(row):
    found = {"type": "string"}
    if row["form"] in PATTERNS:
        found["pattern"] = PATTERNS[row["form"]]
    if row["form"] == "GRANT":
        found["enum"] = GRANTS
    return found


def value_schema(row):
    kind = row["kind"]
    if kind == "SIZE":
        found = {"anyOf": [{"type": "integer", "minimum": int(row["min"]),
                            "maximum": int(row["max"])},
                           {"type": "string", "pattern": "^[0-9]+(KiB|MiB|GiB)?$"}]}
    elif kind == "DURATION":
        found = {"type": "string", "pattern": "^[0-9]+(us|ms|s|m)$"}
    elif kind == "COUNT":
        found = {"type": "integer", "minimum": int(row["min"]), "maximum": int(row["max"])}
    elif kind == "BOOL":
        found = {"type": "boolean"}
    elif kind == "CHOICE":
        found = {"enum": row["choices"].split("|")}
    elif kind == "LIST":
        found = {"type": "array", "maxItems": 256, "uniqueItems": True, "items": text_schema(row)}
    elif kind == "OTHER":
        found = dict(OTHERS[row["key"]])
    else:
        found = text_schema(row)
    found["description"] = row["doc"]
    if row["initial"]:
        number = kind == "COUNT"
        found["default"] = (int(row["initial"]) if number else row["initial"] == "true"
                            if kind == "BOOL" else row["initial"])
    return found


def table_schema(rows, table, **more):
    found = {"type": "object", "additionalProperties": False, "properties": {}}
    for row in rows:
        if row["table"] != table:
            continue
        place = found["properties"]
        *outer, leaf = row["key"].split(".")
        for name in outer:
            inside = {"type": "object", "additionalProperties": False, "properties": {}}
            place = place.setdefault(name, inside)["properties"]
        place[leaf] = value_schema(row)
    found["properties"].update(more)
    required = [row["key"] for row in rows
                if row["table"] == table and default_text(row) == "required"]
    if required:
        found["required"] = required
    return found


def named(schema):
    return {"type": "object", "propertyNames": {"pattern": PATTERNS["NAME"]},
            "additionalProperties": schema}


def schema(rows):
    limits = {"$ref": "#/$defs/limits"}
    inner = table_schema([row for row in rows if row["key"] != "stack"], "LIMITS")
    for value in inner["properties"].values():
        value.pop("default", None)
    root = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "glovebox.toml",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "host": table_schema(rows, "HOST"),
            "limits": table_schema(rows, "LIMITS"),
            "model": named(table_schema(rows, "MODEL")),
            "tenant": named(table_schema(rows, "TENANT", limits=limits,
                                         budgets=table_schema(rows, "BUDGETS"))),
            "component": named(table_schema(rows, "COMPONENT", limits=limits)),
            "route": {"type": "array", "items": table_schema(rows, "ROUTE")},
        },
        "$defs": {"limits": inner},
    }
    return json.dumps(root, indent=2) + "\n"


def named_rows(table, unquote):
    """The rows of gen_docs.rows by name."""
    keys = ("table", "field", "key", "kind", "initial", "min", "max", "form", "choices", "doc")
    return [dict(zip(keys, [unquote(text) for text in row])) for row in table if row]


STRING = r'"((?:[^"\\]|\\.)*)"'
PATTERN = (rf"(\w+),\s*([\w.]+),\s*{STRING},\s*(\w+),\s*{STRING},\s*(\d+),\s*(\d+),\s*(\w+),"
           rf"\s*{STRING},\s*{STRING}\)")
