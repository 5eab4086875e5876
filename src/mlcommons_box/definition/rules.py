"""The vocabulary in which :mod:`mlcommons_box.definition.schema` states what a definition file may hold.

A rule checks one node, reports everything that is wrong with it, and returns the value.  The same rule prints
itself as JSON Schema, so that editors and this software cannot disagree.
"""

from __future__ import annotations

import re
from typing import Generic, TypeVar

from mlcommons_box.definition.nodes import Node, ScalarNode, kind_of, resolve
from mlcommons_box.definition.problems import Problems
from mlcommons_box.errors import Location
from mlcommons_box.suggestions import did_you_mean, listed, nearest, quoted, shortened
from mlcommons_box.value import Value

T = TypeVar("T", covariant=True)
V = TypeVar("V", covariant=True)
D = TypeVar("D")
JsonSchema = dict[str, object]
Version = tuple[int, int, int]

_INFINITY = float("inf")


class Invalid(Exception):
    """Raised by a rule after it reported why the node does not satisfy it."""


class Context(Value):
    """Where problems go, and the ``schema_version`` that the file declares."""

    problems: Problems
    version: Version

    def reject(self, code: str, message: str, location: Location, hint: str | None = None) -> Invalid:
        """Report a problem; the caller raises what this returns."""
        self.problems.report(code, message, location, hint=hint)
        return Invalid()

    def wrong_type(self, expected: str, node: Node, hint: str | None = None) -> Invalid:
        """Report that ``node`` is of the wrong type; the caller raises what this returns."""
        return self.reject("wrong-type", f"expected {expected}, found {kind_of(node)}", node.location, hint)


class Rule(Generic[T]):
    """What one value must be; ``takes`` is the kind of node that can be one."""

    takes: type[Node] = ScalarNode

    def check(self, node: Node, context: Context) -> T:
        """The value of ``node``; raises :class:`Invalid` once every problem in it is reported."""
        raise NotImplementedError

    def json_schema(self, version: Version) -> JsonSchema:
        """The same rule as JSON Schema (draft 2020-12), for files of one ``schema_version``."""
        raise NotImplementedError


class Text(Rule[str]):
    """A text; ``pattern`` has to match all of it and means the same in Python and in ECMA 262."""

    def __init__(
        self, expected: str = "a text", pattern: str = r"[^\x00-\x1f\x7f]+", hint: str | None = None
    ) -> None:
        self.expected = expected
        self.pattern = pattern
        self.hint = hint

    def check(self, node: Node, context: Context) -> str:
        value = resolve(node) if isinstance(node, ScalarNode) else None
        if not isinstance(value, str):
            hint = self.hint
            if isinstance(node, ScalarNode) and value is not None:
                text = shortened(node.value)
                hint = f'to mean the text, put it in quotes: "{text}"' if self.hint is None else self.hint
            raise context.wrong_type(self.expected, node, hint)
        if not re.fullmatch(self.pattern, value):
            found = quoted(value) if value else "an empty text"
            raise context.reject("bad-value", f"expected {self.expected}, found {found}", node.location, self.hint)
        return value

    def json_schema(self, version: Version) -> JsonSchema:
        return {"type": "string", "pattern": f"^(?:{self.pattern})$"}


class Choice(Rule[str]):
    """One of a few words."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def check(self, node: Node, context: Context) -> str:
        value = resolve(node) if isinstance(node, ScalarNode) else None
        if value in self.words:
            return str(value)
        code = "bad-value" if isinstance(value, str) else "wrong-type"
        hint = did_you_mean(nearest(value, self.words)) if isinstance(value, str) else None
        found = quoted(value) if isinstance(value, str) else kind_of(node)
        raise context.reject(code, f"expected {listed(self.words, 'or')}, found {found}", node.location, hint)

    def json_schema(self, version: Version) -> JsonSchema:
        return {"enum": list(self.words)}


class Whole(Rule[int]):
    """A whole number, at least ``minimum`` and at most ``maximum``, if given."""

    def __init__(self, minimum: int, maximum: int | None = None) -> None:
        self.minimum = minimum
        self.maximum = maximum

    def check(self, node: Node, context: Context) -> int:
        value = _whole_number(node)
        limits = f"{self.minimum} or more" if self.maximum is None else f"{self.minimum} to {self.maximum}"
        expected = f"a whole number, {limits}"
        if value is None:
            raise context.wrong_type(expected, node)
        if value < self.minimum or (self.maximum is not None and value > self.maximum):
            raise context.reject("bad-value", f"expected {expected}, found {value}", node.location)
        return value

    def json_schema(self, version: Version) -> JsonSchema:
        maximum: JsonSchema = {} if self.maximum is None else {"maximum": self.maximum}
        return {"type": "integer", "minimum": self.minimum, **maximum}


def _whole_number(node: Node) -> int | None:
    """The value of a node that is one; ``1.0`` is, as JSON Schema has it."""
    value = resolve(node) if isinstance(node, ScalarNode) else None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


class Positive(Rule[float]):
    """A number above zero, fractions allowed."""

    def check(self, node: Node, context: Context) -> float:
        value = resolve(node) if isinstance(node, ScalarNode) else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise context.wrong_type("a number above 0", node)
        if not 0 < value < _INFINITY:
            raise context.reject("bad-value", f"expected a number above 0, found {kind_of(node)}", node.location)
        return value

    def json_schema(self, version: Version) -> JsonSchema:
        return {"type": "number", "exclusiveMinimum": 0}


class Number(Rule[float]):
    """A finite number."""

    def check(self, node: Node, context: Context) -> float:
        value = resolve(node) if isinstance(node, ScalarNode) else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise context.wrong_type("a number", node)
        if not -_INFINITY < value < _INFINITY:
            raise context.reject("bad-value", f"expected a finite number, found {kind_of(node)}", node.location)
        return value

    def json_schema(self, version: Version) -> JsonSchema:
        return {"type": "number"}


class Flag(Rule[bool]):
    """``true`` or ``false``."""

    def check(self, node: Node, context: Context) -> bool:
        value = resolve(node) if isinstance(node, ScalarNode) else None
        if not isinstance(value, bool):
            raise context.wrong_type("true or false", node)
        return value

    def json_schema(self, version: Version) -> JsonSchema:
        return {"type": "boolean"}


class Scalar(Rule[str]):
    """Any single value, as the text that was written."""

    def check(self, node: Node, context: Context) -> str:
        if not isinstance(node, ScalarNode) or resolve(node) is None:
            raise context.wrong_type("a single value", node)
        if "\0" in node.value:
            raise context.reject("bad-value", "the value holds a NUL character", node.location)
        return node.value

    def json_schema(self, version: Version) -> JsonSchema:
        return {"type": ["string", "number", "boolean"], "pattern": r"^[^\x00]*$"}


class Nullable(Rule["T | None"], Generic[T]):
    """What another rule takes, or nothing."""

    def __init__(self, rule: Rule[T]) -> None:
        self.rule = rule

    def check(self, node: Node, context: Context) -> T | None:
        if isinstance(node, ScalarNode) and resolve(node) is None:
            return None
        return self.rule.check(node, context)

    def json_schema(self, version: Version) -> JsonSchema:
        return {"anyOf": [{"type": "null"}, self.rule.json_schema(version)]}


class WholeOr(Rule["int | str"]):
    """A whole number, at least ``minimum``, or one certain word."""

    def __init__(self, minimum: int, word: str) -> None:
        self.whole = Whole(minimum)
        self.word = word

    def check(self, node: Node, context: Context) -> int | str:
        if isinstance(node, ScalarNode) and resolve(node) == self.word:
            return self.word
        value = _whole_number(node)
        if value is None or value < self.whole.minimum:
            expected = f"a whole number, {self.whole.minimum} or more, or {self.word!r}"
            raise context.reject("bad-value", f"expected {expected}, found {kind_of(node)}", node.location)
        return value

    def json_schema(self, version: Version) -> JsonSchema:
        return {"anyOf": [self.whole.json_schema(version), {"const": self.word}]}


def version_text(version: Version) -> str:
    """``1.1.0``."""
    return ".".join(map(str, version))
