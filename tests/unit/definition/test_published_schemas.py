from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from mlcommons_box.definition import json_schema
from mlcommons_box.definition.file_kinds import check_file
from mlcommons_box.definition.nodes import Node
from mlcommons_box.definition.problems import Problems
from mlcommons_box.definition.source import parse_source, read_source
from tests.unit.definition.definition_corpus import (
    KINDS,
    VALID,
    Plain,
    as_yaml,
    every_file,
    name_of,
    plain,
    single_files,
)
from tests.unit.definition.hypothesis_settings import quick_or_thorough


def _pattern(validator: Any, pattern: str, instance: object, _: object) -> Iterator[ValidationError]:
    """``pattern`` as in ECMA 262, where ``$`` is the end of a text and not also the place before a line break."""
    assert pattern.endswith("$")
    if isinstance(instance, str) and not re.search(rf"{pattern[:-1]}\Z", instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _finite(_: object, instance: object) -> bool:
    """A number as in JSON, which has neither infinity nor NaN."""
    return isinstance(instance, int | float) and not isinstance(instance, bool) and math.isfinite(instance)


Validator = extend(  # type: ignore[no-untyped-call]  # the stubs of jsonschema
    Draft202012Validator,
    validators={"pattern": _pattern},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("number", _finite),
)
VALIDATORS = {name.removesuffix(".json"): Validator(content) for name, content in json_schema.published().items()}


def accepted_by_rules(node: Node, kind: str) -> bool:
    problems = Problems()
    checked = check_file(node, (kind,), problems)
    assert (checked is None) == bool(problems), "a file is either accepted, or has a problem"
    return checked is not None


def test_the_files_are_what_the_rules_make() -> None:
    published = {name: json_schema.text_of(content) for name, content in json_schema.published().items()}

    assert {file.name: file.read_text("utf-8") for file in json_schema.DIRECTORY.iterdir()} == published


@pytest.mark.parametrize("kind", KINDS)
def test_each_schema_is_itself_valid(kind: str) -> None:
    content = json.loads((json_schema.DIRECTORY / f"{kind}.json").read_text("utf-8"))

    assert content["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(content)


@pytest.mark.parametrize("file", every_file(), ids=name_of)
def test_rules_and_schemas_accept_and_refuse_the_same_files(file: Path) -> None:
    problems = Problems()
    node = read_source(file, problems)
    if node is None or problems:
        return  # not well-formed: no validator of JSON Schema ever sees it
    for kind in KINDS:
        assert VALIDATORS[kind].is_valid(plain(node)) == accepted_by_rules(node, kind), kind


VALUES: list[Plain] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2.0,
    0.5,
    1e300,
    10**200,
    "",
    "a",
    "a b",
    "-a",
    "a\n",
    "a\0b",
    "1.0.0",
    "8G",
    "30m",
    "all",
    "docker",
    "none",
    "\x85",
    "\ufeff",
    "a\u2028",
    [],
    ["a"],
    [1],
    {},
    {"a": "b"},
    {"low": 0, "high": 1},
    {"": 1},
]
NAMES = ["description", "network", "resources", "user", "host", "runtime", "schema_type", "schema_version", "x", ""]
WELL_FORMED = [plain(node) for file in single_files(VALID) if (node := read_source(file, Problems()))]


values = st.sampled_from(VALUES).map(copy.deepcopy)


@st.composite
def changed_files(draw: st.DrawFn) -> Plain:
    """A valid file in which something was replaced, removed or added, up to three times."""
    data = json.loads(json.dumps(draw(st.sampled_from(WELL_FORMED))))
    for _ in range(draw(st.integers(1, 3))):
        place = data
        while isinstance(place, dict | list) and place:
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            inner = place[key]
            if inner and isinstance(inner, dict | list) and draw(st.booleans()):
                place = inner
                continue
            action = draw(st.sampled_from(["replace", "remove", "add"]))
            if action == "replace":
                place[key] = draw(values)
            elif action == "remove":
                del place[key]
            elif isinstance(place, dict):
                place[draw(st.sampled_from(NAMES))] = draw(values)
            else:
                place.append(draw(values))
            break
    changed: Plain = data
    return changed


@quick_or_thorough(250)
@given(changed_files())
def test_rules_and_schemas_agree_on_changed_files(data: Plain) -> None:
    node = parse_source(as_yaml(data), "changed.yaml", problems := Problems())
    assert node is not None, problems
    for kind in KINDS:
        assert VALIDATORS[kind].is_valid(plain(node)) == accepted_by_rules(node, kind), kind
