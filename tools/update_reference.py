"""Writes what the reference says of schemas, ``--help`` and docstrings; ``--check`` only tells what would change.

``docs/reference/json-schemas.md`` and ``run-record.md`` are made of the published schemas as a whole, and
``python-api.md`` of the public names.  In ``command-line.md`` the help of each command is renewed, and what stands
around it is left alone.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from python_reference import python_page

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
SCHEMAS = ROOT / "src/mlcommons_box/definition/schemas"
RECORD = ROOT / "src/mlcommons_box/report/run_record.json"
FIRST = ("mlbox_root", "mlbox_task", "mlbox_invoke", "mlbox_sweep")
"""The kinds of files that a box is made of; platforms follow."""
FORMS = {
    "tutorial": "the form of the 2020 tutorial, without `schema_type`",
    "release": "the form of release 0.2.3, without `schema_type`",
}
WORDS = {"string": "text", "integer": "whole number", "number": "number", "null": "nothing", "object": "map",
         "array": "list"}  # fmt: skip

Schema = dict[str, Any]

SCHEMAS_PAGE = """\
# JSON Schemas

Every kind of definition file has a JSON Schema (draft 2020-12), made of the same rules that `mlbox validate` uses.
What the keys are for is told in [Definition files](definition-files.md), with examples; this page has the exact
rules, for programs that write such files. It is made of the schemas by `make reference`.

`mlbox schema` prints them, and `mlbox schema --write DIR` puts them into files, for [editors](../guides/editor.md)
and others:

```console
$ mlbox schema mlbox_task | head -n 3
{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "MLCommons-Box: a task (mlbox_task)",
```

`x.y` is a key in a map, `x[].y` one in every item of a list, and `x.*` stands for keys that you choose. *Since* is
the first `schema_version` with the key. No file may have a key that is not here. Rules for texts are regular
expressions of ECMA-262, as JSON Schema has them.
"""

RECORD_PAGE = """\
# The record of a run

What `mlbox show --json` prints of one run, and `mlbox runs --json` of many. The guide is [Look at earlier
runs](../guides/records.md). `mlbox schema run_record` prints the same as JSON Schema, of which this page is made by
`make reference`.

```console
$ mlbox init hello
...
$ mlbox run hello --platform=local --quiet
...
$ mlbox show --mlbox=hello --json | grep -E '"(status|run|exit_status)"'
  "status": "succeeded",
  "run": "train",
  "exit_status": 0,
```

`schema_version` counts the forms of the record. Keys may be added to a form, so a reader leaves out what it does
not know. `mlbox show` adds `directory` and `logs`, the paths of what else is kept of the run.

`x.y` is a key in a map, `x[].y` one in every item of a list, and `x.*` stands for keys of any name.
"""


def value(schema: Schema) -> str:
    """What a value may be, in words."""
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return _either([kind for each in schema[several] for kind in _kinds(each)])
    return _either(_kinds(schema))


def _kinds(schema: Schema) -> list[str]:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return [f"[{name}](#{name})"]
    if "const" in schema:
        return [f"`{schema['const']}`"]
    if "enum" in schema:
        return [f"`{each}`" for each in schema["enum"]]
    kinds = schema.get("type", "object")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return [
        word for kind in kinds for word in (("`true`", "`false`") if kind == "boolean" else (_kind(kind, schema),))
    ]


def _kind(kind: str, schema: Schema) -> str:
    inside = schema.get({"array": "items", "object": "additionalProperties"}.get(kind, ""))
    if kind in ("array", "object"):
        count = f" of {schema['minItems']} or more" if schema.get("minItems") else ""
        return WORDS[kind] + count + (f" ({value(inside)})" if inside else "")
    if "exclusiveMinimum" in schema:
        return f"{WORDS[kind]} > {schema['exclusiveMinimum']}"
    if kind in ("integer", "number") and "minimum" in schema:
        upper = f" and ≤ {schema['maximum']}" if "maximum" in schema else ""
        return f"{WORDS[kind]} ≥ {schema['minimum']}{upper}"
    return WORDS[kind]


def _either(words: list[str]) -> str:
    *others, last = dict.fromkeys(words)
    return f"{', '.join(others)} or {last}" if others else last


def keys(schema: Schema, prefix: str = "") -> Iterator[tuple[str, bool, Schema]]:
    """Every key that a map may have, those of maps inside of it too: its path, whether it is required, its rule."""
    for name, rule in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        yield path, name in schema.get("required", ()), rule
        yield from _inside(rule, path)


def _inside(rule: Schema, path: str) -> Iterator[tuple[str, bool, Schema]]:
    for each in (rule, *rule.get("anyOf", ()), *rule.get("oneOf", ())):
        yield from keys(each, f"{path}.")
        if isinstance(each.get("items"), dict):
            yield from _inside(each["items"], f"{path}[]")
        if isinstance(each.get("additionalProperties"), dict):
            yield from _inside(each["additionalProperties"], f"{path}.*")


def patterns(schema: Schema, path: str = "") -> Iterator[tuple[str, str]]:
    """The rules for texts: of which value, and which rule."""
    if "pattern" in schema:
        yield path, schema["pattern"]
    for name, rule in schema.get("properties", {}).items():
        yield from patterns(rule, f"{path}.{name}" if path else name)
    for each in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from patterns(each, path)
    for where, mark in (("items", "[]"), ("additionalProperties", ".*")):
        if isinstance(schema.get(where), dict):
            yield from patterns(schema[where], path + mark)
    if isinstance(schema.get("propertyNames"), dict):
        yield from patterns(schema["propertyNames"], f"the keys of {path}")


def table(schema: Schema, since: dict[str, str] | None) -> Iterator[str]:
    """A table of all keys, and a list of the rules for texts."""
    yield f"| key | required | value |{' since |' if since else ''} meaning |"
    yield f"|---|---|---|{'---|' if since else ''}---|"
    for path, required, rule in keys(schema):
        version = f" {since[path]} |" if since else ""
        cells = (f"`{path}`", "yes" if required else "no", value(rule))
        yield f"| {' | '.join(cells)} |{version} {_sentence(rule.get('description', ''))} |"
    rules: dict[str, list[str]] = {}
    for path, pattern in dict.fromkeys(patterns(schema)):
        rules.setdefault(pattern, []).append(path)
    if rules:
        yield ""
        yield "Rules for texts:"
        yield ""
    for pattern, paths in rules.items():
        yield f"- {', '.join(map(_path, paths))}: {_code(pattern)}"


def _path(path: str) -> str:
    before, _, key = path.rpartition("the keys of ")
    return f"the keys of `{key}`" if before or path.startswith("the keys of ") else f"`{key}`"


def _code(text: str) -> str:
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}"


def _sentence(text: str) -> str:
    """A description as it stands in a table: without a full stop at the end of a single sentence."""
    return (text[:-1] if text.endswith(".") and ". " not in text else text).replace("|", "&#124;")


def versions(schema: Schema) -> list[str]:
    """The versions of a kind of file, the oldest first."""
    named = [name for name in schema["$defs"] if re.fullmatch(r"\d+\.\d+\.\d+", name)]
    return sorted(named, key=lambda name: tuple(map(int, name.split("."))))


def schemas_page() -> str:
    """The page of the definition files' schemas."""
    found = {file.stem: json.loads(file.read_text("utf-8")) for file in SCHEMAS.glob("*.json")}
    lines = [SCHEMAS_PAGE]
    for name in (*FIRST, *sorted(found.keys() - set(FIRST))):
        schema = found[name]
        known = versions(schema)
        since: dict[str, str] = {}
        for version in known:
            for path, _, _ in keys(schema["$defs"][version]):
                since.setdefault(path, version)
        what = schema["title"].removeprefix("MLCommons-Box: ").partition(" (")[0]
        lines += [f"## {name}", "", f"{what[0].upper()}{what[1:]}. `schema_version`: {', '.join(known)}.", ""]
        latest = schema["$defs"][known[-1]]
        own = {key: rule for key, rule in latest["properties"].items() if key != "schema_version"}
        required = ["schema_type", *latest.get("required", ())]
        lines += [*table({**latest, "properties": own, "required": required}, since), ""]
        for form, told in FORMS.items():
            if form in schema["$defs"]:
                heading = told.partition(",")[0]
                lines += [f"### {name}: {heading}", "", f"{told[0].upper()}{told[1:]}.", ""]
                lines += [*table(schema["$defs"][form], None), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def record_page() -> str:
    """The page of a record's schema."""
    schema = json.loads(RECORD.read_text("utf-8"))
    lines = [RECORD_PAGE, "## Keys", "", *table({**schema, "$defs": {}}, None), ""]
    for name, part in schema["$defs"].items():
        lines += [f"## {name}", ""]
        if part.get("description"):
            lines += [part["description"].replace("`", "'"), ""]
        if part.get("properties"):
            lines += list(table(part, None))
        else:
            lines += [f"A {value(part)} that matches {_code(part['pattern'])}."]
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def command_line_page() -> str:
    """The page of the commands, with the help that they print now."""

    def renewed(found: re.Match[str]) -> str:
        command = found["command"].split()[1:]
        printed = subprocess.run(
            [sys.executable, "-m", "mlcommons_box", *command, "--help"],
            env={**os.environ, "COLUMNS": "80"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
        # Where lines are broken depends on the version of Python.
        text = found["text"] if found["text"].split() == printed.split() else printed
        return f"{found['before']}{text}```\n"

    page = (REFERENCE / "command-line.md").read_text("utf-8")
    block = r"^(?P<before>## (?P<command>mlbox[ a-z]*)\n\n```text\n)(?P<text>.*?)^```\n"
    return re.sub(block, renewed, page, flags=re.MULTILINE | re.DOTALL)


PAGES = {
    "json-schemas.md": schemas_page,
    "run-record.md": record_page,
    "command-line.md": command_line_page,
    "python-api.md": python_page,
}


def main() -> None:
    """Write the pages, or tell which are not what they should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 when a page would change")
    check = parser.parse_args().check
    changed = []
    for name, page in PAGES.items():
        file, text = REFERENCE / name, page()
        if not file.is_file() or file.read_text("utf-8") != text:
            changed.append(name)
            if not check:
                file.write_text(text, "utf-8")
    for name in changed:
        print(f"docs/reference/{name}: {'would change' if check else 'renewed'}")
    sys.exit(1 if check and changed else 0)


if __name__ == "__main__":
    main()
