from __future__ import annotations

import math

import pytest

from mlcommons_box.definition.nodes import MappingNode, ScalarNode, SequenceNode, kind_of, resolve
from mlcommons_box.definition.problems import Problems
from mlcommons_box.definition.source import parse_source
from mlcommons_box.errors import Location

HERE = Location(file="a.yaml")


def scalar(text: str, *, plain: bool = True) -> ScalarNode:
    return ScalarNode(value=text, plain=plain, location=HERE)


@pytest.mark.parametrize("text", ["", "~", "null", "Null", "NULL"])
def test_nothing(text: str) -> None:
    assert resolve(scalar(text)) is None


@pytest.mark.parametrize("text", ["true", "True", "TRUE", "false", "False", "FALSE"])
def test_booleans(text: str) -> None:
    assert resolve(scalar(text)) is (text.lower() == "true")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0), ("-0", 0), ("42", 42), ("+12", 12), ("-3", -3), ("007", 7), ("0o14", 12), ("0x1F", 31),
        ("0xff", 255), ("9" * 250, int("9" * 250)),
    ],
)  # fmt: skip
def test_whole_numbers(text: str, value: int) -> None:
    found = resolve(scalar(text))

    assert found == value
    assert isinstance(found, int)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.0", 1.0), ("-0.5", -0.5), (".5", 0.5), ("+.5", 0.5), ("5.", 5.0), ("1e3", 1000.0), ("12e03", 12000.0),
        ("-2E+05", -2e5), ("1.e-2", 0.01), ("1e999", math.inf), ("-1e999", -math.inf),
        (".inf", math.inf), (".Inf", math.inf), (".INF", math.inf), ("+.inf", math.inf), ("-.inf", -math.inf),
        ("-.Inf", -math.inf), ("-.INF", -math.inf),
    ],
)  # fmt: skip
def test_fractions(text: str, value: float) -> None:
    found = resolve(scalar(text))

    assert found == value
    assert isinstance(found, float)


@pytest.mark.parametrize("text", [".nan", ".NaN", ".NAN"])
def test_not_a_number(text: str) -> None:
    found = resolve(scalar(text))

    assert isinstance(found, float)
    assert math.isnan(found)


@pytest.mark.parametrize("digits", [251, 309, 5000, 1_000_000])
@pytest.mark.parametrize("base", ["1", "0x1", "0o1"])
def test_a_number_that_no_float_holds_is_infinite(base: str, digits: int) -> None:
    assert resolve(scalar(base + "0" * digits)) == math.inf
    if base == "1":
        assert resolve(scalar("-1" + "0" * digits)) == -math.inf


@pytest.mark.parametrize(
    "text",
    [
        "no", "No", "NO", "yes", "on", "off", "y", "n", "Y", "N",  # booleans in YAML 1.1
        "12:30:45", "1_000", "0b101", "2020-11-24", "-0x1", "+0o7", "0X1F", "0O7",  # numbers and dates there
        "1.0.0", "-", "+", ".", "..", ".e1", "e3", "1e", "1e+", "inf", "nan", ".iNf", "-.nan", "+.nan",
        "tRue", "nULL", "nil", "None", "<<", "=", "٣", "１", "1 ", "true ",
    ],
)  # fmt: skip
def test_everything_else_is_text(text: str) -> None:
    assert resolve(scalar(text)) == text


@pytest.mark.parametrize("text", ["", "~", "null", "true", "1", "1.5", ".inf", "0x1"])
def test_whatever_is_quoted_is_text(text: str) -> None:
    assert resolve(scalar(text, plain=False)) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "nothing"),
        ("null", "nothing"),
        ("True", "True"),
        ("1.0", "the number 1.0"),
        ("no", "the text 'no'"),
        ("it's", 'the text "it\'s"'),
        ("x" * 200, "the text '" + "x" * 77 + "...'"),
        ("1" * 200, "the number " + "1" * 77 + "..."),
    ],
)
def test_what_a_message_calls_a_value(text: str, words: str) -> None:
    assert kind_of(scalar(text)) == words


def test_what_a_message_calls_a_list_and_a_mapping() -> None:
    assert kind_of(SequenceNode(items=(), location=HERE)) == "a list"
    assert kind_of(MappingNode(entries=(), location=HERE)) == "a mapping"


PLACES = """# a comment
first: "in quotes"   # another
second:
  - plain text
  - {inner: 'x'}
třetí: |
  several
  lines
&anchor fourth: *anchor
"""


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
def test_every_value_knows_its_place(line_break: str) -> None:
    problems = Problems()
    node = parse_source(PLACES.replace("\n", line_break), "a.yaml", problems)

    assert problems == []
    assert isinstance(node, MappingNode)
    found = []

    def walk(each: ScalarNode | SequenceNode | MappingNode) -> None:
        place = each.location
        assert place.text == PLACES.splitlines()[place.line - 1]
        if isinstance(each, ScalarNode):
            found.append((place.line, place.column, place.text[place.column - 1 :][: place.length]))
        elif isinstance(each, SequenceNode):
            for item in each.items:
                walk(item)
        else:
            for key, value in each.entries:
                walk(key)
                walk(value)

    walk(node)
    assert found == [
        (2, 1, "first"),
        (2, 8, '"in quotes"'),
        (3, 1, "second"),
        (4, 5, "plain text"),
        (5, 6, "inner"),
        (5, 13, "'x'"),
        (6, 1, "třetí"),
        (6, 8, "|"),
        (9, 1, "&anchor fourth"),
        (9, 1, "&anchor fourth"),
    ]


def test_columns_count_characters() -> None:
    problems = Problems()
    node = parse_source("🐍山é: [🐍, 'x']", "a.yaml", problems)

    assert isinstance(node, MappingNode)
    ((key, value),) = node.entries
    assert isinstance(value, SequenceNode)
    assert [each.location.column for each in (key, value, *value.items)] == [1, 6, 7, 10]
    assert [each.location.length for each in (key, *value.items)] == [3, 1, 3]
