"""The vocabulary in which :mod:`mlcommons_box.definition.schema` states what a definition file may hold.

A rule checks one node, reports everything that is wrong with it, and returns the value.  The same rule prints
itself as JSON Schema, so that editors and this software cannot disagree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from typing import Generic, TypeVar

from mlcommons_box.definition.source import (
    MappingNode,
    Node,
    Problems,
    ScalarNode,
    SequenceNode,
    kind_of,
    quoted,
    resolve,
    shortened,
)
from mlcommons_box.errors import Location
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


class Located(Value, Generic[T]):
    """A value and its place."""

    value: T
    location: Location


class Placed(Rule["Located[T]"], Generic[T]):
    """What another rule takes, with its place."""

    def __init__(self, rule: Rule[T]) -> None:
        self.rule = rule

    def check(self, node: Node, context: Context) -> Located[T]:
        return Located(value=self.rule.check(node, context), location=node.location)

    def json_schema(self, version: Version) -> JsonSchema:
        return self.rule.json_schema(version)


class ListOf(Rule["tuple[T, ...]"], Generic[T]):
    """A list whose items all satisfy one rule."""

    takes = SequenceNode

    def __init__(self, item: Rule[T], *, minimum: int = 0) -> None:
        self.item = item
        self.minimum = minimum

    def check(self, node: Node, context: Context) -> tuple[T, ...]:
        if not isinstance(node, SequenceNode):
            hint = (
                "write [] when there are none" if self.minimum == 0 else "begin each item on its own line with '- '"
            )
            raise context.wrong_type("a list", node, hint)
        if len(node.items) < self.minimum:
            raise context.reject("bad-value", f"expected at least {self.minimum} item, found none", node.location)
        return tuple(_check_each(((item, self.item) for item in node.items), context))

    def json_schema(self, version: Version) -> JsonSchema:
        minimum: JsonSchema = {"minItems": self.minimum} if self.minimum else {}
        return {"type": "array", "items": self.item.json_schema(version), **minimum}


class Entry(Value, Generic[V]):
    """One entry of a mapping whose keys the user chooses."""

    name: str
    value: V
    name_location: Location
    location: Location


class MapOf(Rule["tuple[Entry[V], ...]"], Generic[V]):
    """A mapping from names that the user chooses to values of one rule; order is kept."""

    takes = MappingNode

    def __init__(self, key: Text, value: Rule[V]) -> None:
        self.key = key
        self.value = value

    def check(self, node: Node, context: Context) -> tuple[Entry[V], ...]:
        if not isinstance(node, MappingNode):
            raise context.wrong_type("a mapping", node, "write {} when there are none")
        names = _check_each(((key, _KeyText(self.key)) for key, _ in node.entries), context, keep_going=True)
        values = _check_each(((value, self.value) for _, value in node.entries), context)
        if len(names) < len(node.entries):
            raise Invalid
        return tuple(
            Entry(name=name, value=value, name_location=key_node.location, location=value_node.location)
            for name, value, (key_node, value_node) in zip(names, values, node.entries, strict=True)
        )

    def json_schema(self, version: Version) -> JsonSchema:
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^(?:{self.key.pattern})$"},
            "additionalProperties": self.value.json_schema(version),
        }


class _KeyText(Rule[str]):
    """A key: a text however it is written, as JSON has it."""

    def __init__(self, rule: Text) -> None:
        self.rule = rule

    def check(self, node: Node, context: Context) -> str:
        if isinstance(node, ScalarNode):
            node = ScalarNode(value=node.value, plain=False, location=node.location)
        return self.rule.check(node, context)


class Either(Rule["T | V"], Generic[T, V]):
    """One of two rules for different kinds of node; ``second`` says which kind is its own."""

    def __init__(self, first: Rule[T], second: Rule[V]) -> None:
        self.first = first
        self.second = second

    def check(self, node: Node, context: Context) -> T | V:
        if isinstance(node, self.second.takes):
            return self.second.check(node, context)
        return self.first.check(node, context)

    def json_schema(self, version: Version) -> JsonSchema:
        return {"anyOf": [self.first.json_schema(version), self.second.json_schema(version)]}


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


class Field(Generic[T]):
    """A key of a :class:`Record`; also the typed way to read its value from :class:`Fields`."""

    def __init__(
        self, name: str, rule: Rule[T], description: str, *, required: bool = True, since: Version = (0, 0, 0)
    ) -> None:
        self.name = name
        self.rule = rule
        self.description = description
        self.required = required and since == (0, 0, 0)
        self.since = since


class Fields:
    """The values of a record that satisfied its rules."""

    def __init__(self, values: dict[str, object], locations: dict[str, Location]) -> None:
        self._values = values
        self.locations = locations

    def __getitem__(self, field: Field[T]) -> T:
        return self._values[field.name]  # type: ignore[return-value]  # the field's own rule made it

    def get(self, field: Field[T]) -> T | None:
        """The value, or None when the key is absent."""
        return self._values.get(field.name)  # type: ignore[return-value]

    def or_else(self, field: Field[D], default: D) -> D:
        """The value, or ``default`` when the key is absent."""
        return self[field] if field.name in self._values else default


class Record(Rule[Fields]):
    """A mapping whose keys are ours."""

    takes = MappingNode

    def __init__(self, *fields: Field[object]) -> None:
        self.fields = {field.name: field for field in fields}

    def check(self, node: Node, context: Context) -> Fields:
        if not isinstance(node, MappingNode):
            raise context.wrong_type(f"a mapping with the keys {listed(self.names(context.version))}", node)
        values: dict[str, object] = {}
        locations: dict[str, Location] = {}
        complete = True
        present = {key.value for key, _ in node.entries}
        for key, value in node.entries:
            if context.problems.full:
                raise Invalid
            field = self.fields.get(key.value)
            if field is None:
                complete = False
                meant = nearest(key.value, (name for name in self.fields if name not in present))
                if meant:
                    present.add(meant)
                hint = did_you_mean(meant) or f"known keys: {listed(self.names(context.version))}"
                context.problems.report("unknown-key", f"unknown key {quoted(key.value)}", key.location, hint=hint)
            elif field.since > context.version:
                complete = False
                needed, found = version_text(field.since), version_text(context.version)
                context.problems.report(
                    "needs-newer-schema",
                    f"{key.value!r} needs schema_version {needed}; this file says {found}",
                    key.location,
                    hint=f"write 'schema_version: {needed}'",
                )
            else:
                try:
                    values[field.name] = field.rule.check(value, context)
                    locations[field.name] = value.location
                except Invalid:
                    complete = False
        for field in self.fields.values():
            if field.required and field.name not in present:
                complete = False
                context.problems.report("missing-key", f"the key {field.name!r} is missing", node.location)
        if not complete:
            raise Invalid
        return Fields(values, locations)

    def names(self, version: Version) -> list[str]:
        """The keys that a file of this version may have."""
        return [name for name, field in self.fields.items() if field.since <= version]

    def json_schema(self, version: Version) -> JsonSchema:
        fields = [field for field in self.fields.values() if field.since <= version]
        return {
            "type": "object",
            "properties": {f.name: {"description": f.description, **f.rule.json_schema(version)} for f in fields},
            "required": [field.name for field in fields if field.required],
            "additionalProperties": False,
        }


def _check_each(pairs: Iterable[tuple[Node, Rule[T]]], context: Context, *, keep_going: bool = False) -> list[T]:
    """Check all, so that all problems are reported; raise afterwards unless told to keep going."""
    values = []
    complete = True
    for node, rule in pairs:
        if context.problems.full:
            raise Invalid
        try:
            values.append(rule.check(node, context))
        except Invalid:
            complete = False
    if not complete and not keep_going:
        raise Invalid
    return values


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that ``word`` may be a slip of; neither long texts nor long lists are searched to the end."""
    from difflib import get_close_matches

    near = get_close_matches(word, list(islice(known, 1000)), n=1) if len(word) <= 100 else []
    return near[0] if near else None


def did_you_mean(word: str | None) -> str | None:
    """The hint that names ``word``."""
    return f"did you mean {word!r}?" if word else None


def listed(words: Iterable[str], joint: str = "and") -> str:
    """``'a', 'b' and 'c'``; no more than a reader looks through."""
    every = list(words)
    items = [quoted(word) for word in every[:20]]
    if len(every) > 20:
        items.append(f"{len(every) - 20} more")
    return f" {joint} ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def version_text(version: Version) -> str:
    """``1.1.0``."""
    return ".".join(map(str, version))
