"""Rules for lists, mappings and records, which consist of other rules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic

from mlcommons_box.definition.nodes import MappingNode, Node, ScalarNode, SequenceNode
from mlcommons_box.definition.rules import Context, D, Invalid, JsonSchema, Rule, T, Text, V, Version, version_text
from mlcommons_box.errors import Location
from mlcommons_box.suggestions import did_you_mean, listed, nearest, quoted
from mlcommons_box.value import Value


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
