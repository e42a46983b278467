# SPDX-License-Identifier: Apache-2.0
"""A strict reader of Prometheus' text format 0.0.4, with the rules that `promtool check metrics`
has beside the syntax. It knows nothing of the code that writes."""
import re

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
NUMBER = re.compile(r"NaN|[+-]Inf|[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
KINDS = ("counter", "gauge", "histogram", "summary", "untyped")
UNITS_WRONG = ("milliseconds", "microseconds", "ms", "us", "kilobytes", "megabytes", "kb", "mb",
               "minutes", "hours", "percent")


class Bad(Exception):
    pass


def _labels(line, at):
    labels = {}
    assert line[at] == "{"
    at += 1
    while line[at] != "}":
        name = LABEL.match(line, at)
        if not name or name.group() in labels or name.group().startswith("__"):
            raise Bad(f"label at {at}: {line}")
        at = name.end()
        if line[at:at + 2] != '="':
            raise Bad(f"no =\" at {at}: {line}")
        at += 2
        value = ""
        while line[at] != '"':
            if line[at] == "\\":
                escape = {"\\": "\\", '"': '"', "n": "\n"}.get(line[at + 1])
                if escape is None:
                    raise Bad(f"escape at {at}: {line}")
                value += escape
                at += 2
            else:
                value += line[at]
                at += 1
        labels[name.group()] = value
        at += 1
        if line[at] == ",":
            at += 1
        elif line[at] != "}":
            raise Bad(f"neither , nor }} at {at}: {line}")
    return labels, at + 1


def _sample(line):
    name = NAME.match(line)
    if not name:
        raise Bad(f"no name: {line}")
    at = name.end()
    labels = {}
    try:
        if line[at] == "{":
            labels, at = _labels(line, at)
    except IndexError:
        raise Bad(f"unfinished: {line}") from None
    if at >= len(line) or line[at] != " ":
        raise Bad(f"no value: {line}")
    number = NUMBER.fullmatch(line, at + 1)
    if not number:
        raise Bad(f"no number: {line}")
    return name.group(), labels, float(number.group().replace("Inf", "inf"))


class Family:
    def __init__(self, name, help_text):
        self.name, self.help, self.kind = name, help_text, None
        self.samples = {}  # (name, sorted labels) -> value

    def owns(self, name):
        if self.kind == "histogram":
            return name in (f"{self.name}_bucket", f"{self.name}_sum", f"{self.name}_count")
        return name == self.name


def _check_histogram(family):
    series = {}
    for (name, labels), value in family.samples.items():
        rest = tuple(pair for pair in labels if pair[0] != "le")
        part = series.setdefault(rest, {"buckets": []})
        if name.endswith("_bucket"):
            le = dict(labels).get("le")
            if le is None:
                raise Bad(f"a bucket of {family.name} without le")
            part["buckets"].append((float(le.replace("Inf", "inf")), value))
        elif name.endswith("_sum"):
            part["sum"] = value
        else:
            part["count"] = value
    for labels, part in series.items():
        bounds = [bound for bound, _ in part["buckets"]]
        counts = [count for _, count in part["buckets"]]
        if bounds != sorted(set(bounds)) or not bounds or bounds[-1] != float("inf"):
            raise Bad(f"the bounds of {family.name}{labels}: {bounds}")
        if counts != sorted(counts) or counts[-1] != part["count"] or "sum" not in part:
            raise Bad(f"the counts of {family.name}{labels}: {part}")


def _lint(family):
    name, kind = family.name, family.kind
    if not family.help:
        raise Bad(f"{name} has no help")
    if (kind == "counter") != name.endswith("_total"):
        raise Bad(f"{name} is a {kind}")
    if kind != "histogram" and re.search(r"_(bucket|count|sum)$", name):
        raise Bad(f"{name} ends like a part of a histogram")
    if any(part in UNITS_WRONG for part in name.split("_")):
        raise Bad(f"{name} is not in a base unit")
    if any(part in KINDS for part in name.split("_")) or re.search("[a-z][A-Z]", name):
        raise Bad(f"{name} names its kind, or is camel case")


def parse(text, lint=True):
    """{name: Family}; raises Bad."""
    if not text.endswith("\n") or "\r" in text:
        raise Bad("the last line has no end, or there is a carriage return")
    families, family = {}, None
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name, _, help_text = line[7:].partition(" ")
            if name in families:
                raise Bad(f"{name} comes twice")
            family = families[name] = Family(name, help_text)
        elif line.startswith("# TYPE "):
            name, _, kind = line[7:].partition(" ")
            if not family or family.name != name or family.kind or family.samples:
                raise Bad(f"the type of {name} stands at the wrong place")
            if kind not in KINDS:
                raise Bad(f"{name} is a {kind}")
            family.kind = kind
        else:
            name, labels, value = _sample(line)
            if not family or not family.kind or not family.owns(name):
                raise Bad(f"{name} stands outside of its family")
            key = (name, tuple(sorted(labels.items())))
            if key in family.samples:
                raise Bad(f"{key} comes twice")
            if family.kind == "counter" and not value >= 0:
                raise Bad(f"{key} is {value}")
            family.samples[key] = value
    for each in families.values():
        if each.kind == "histogram":
            _check_histogram(each)
        if lint:
            _lint(each)
    return families


def value(families, name, **labels):
    """Of one sample; None where there is none."""
    for family in families.values():
        if family.owns(name):
            return family.samples.get((name, tuple(sorted(labels.items()))))
    return None
