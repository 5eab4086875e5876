"""A YAML or JSON file of hyper-parameters, and copies of it in which some values are others.

A value is meant by its name, with dots between those that are nested.  It keeps its type: a number stays a number,
and a text a text.  In a copy of a YAML file nothing but the values changes, comments included.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from mlcommons_box.definition.nodes import ScalarNode, resolve
from mlcommons_box.errors import CannotReadError, ConfigurationError, Location, Problem, ProblemsError
from mlcommons_box.value import Value

LARGEST = 1 << 18
"""Bytes; a larger file is data."""
MOST_NAMES = 10_000
"""By aliases, a small file of YAML may have any number of them."""
LONGEST_NAME = 1000
"""Characters; each of ten thousand names may have a long one before it."""
Scalar = str | int | float | bool | None
_NOWHERE = Location(file="")
_LONG_NAME = f"a name in it has more than {LONGEST_NAME} characters"


class Leaf(Value):
    """One value of a file.  Its keys lead to it; in YAML it is the text from ``start`` to ``end``."""

    value: Scalar
    keys: tuple[Any, ...] = ()
    start: int = 0
    end: int = 0


class ParameterFile(Value):
    """What a file holds: its text, and its values by their names."""

    path: Path
    text: str
    leaves: Mapping[str, Leaf]
    groups: frozenset[str]
    """Names of what is no single value."""

    def with_values(self, values: Mapping[str, Scalar]) -> str:
        """The text of a copy in which some values are others.

        Raises :class:`ConfigurationError` when that is not possible, as for a value that YAML shares by an alias.
        """
        if self.path.suffix == ".json":
            return _json_with({self.leaves[name].keys: value for name, value in values.items()}, self.text)
        text = self.text
        for name in sorted(values, key=lambda name: self.leaves[name].start, reverse=True):
            leaf = self.leaves[name]
            end = "\n" if text[leaf.start : leaf.end].endswith("\n") else ""  # as a block of text does
            text = f"{text[: leaf.start]}{yaml_text(values[name])}{end}{text[leaf.end :]}"
        expected = {name: leaf.value for name, leaf in self.leaves.items()} | dict(values)
        try:
            found = {name: leaf.value for name, leaf in _yaml_leaves(text)[0].items()}
        except ValueError:
            found = {}
        if found != expected:
            names = ", ".join(map(repr, values))
            raise ConfigurationError(
                f"cannot replace {names} in {str(self.path)!r}",
                hint="write every value on its own, without anchors and aliases",
            )
        return text


def read_parameter_file(path: Path) -> ParameterFile:
    """The file at a path.

    Raises :class:`CannotReadError`, and :class:`ProblemsError` when it is neither YAML nor JSON, or has no names.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            content = stream.read(LARGEST + 1)
    except OSError as error:
        raise CannotReadError(f"cannot read {str(path)!r}: {error.strerror}") from error
    try:
        if len(content) > LARGEST:
            raise ValueError(f"it is larger than {LARGEST >> 10} KiB")
        text = content.decode("utf-8-sig")
        leaves, groups = _json_leaves(text) if path.suffix == ".json" else _yaml_leaves(text)
        if not leaves:
            raise ValueError("it has no names with values")
    except (ValueError, RecursionError) as error:
        message = f"the file of hyper-parameters cannot be used: {error}"
        raise ProblemsError(
            [Problem(code="bad-value", message=message, location=Location(file=str(path)))]
        ) from error
    return ParameterFile(path=path, text=text, leaves=leaves, groups=frozenset(groups))


def typed(text: str, like: Scalar) -> Scalar:
    """The value that a text means in the place of another, whose type it has to be of; raises ValueError."""
    if isinstance(like, str):
        return text
    value = resolve(ScalarNode(value=text, plain=True, location=_NOWHERE)) if text else text
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"expected a finite number, found {text!r}")
    if isinstance(like, bool) and not isinstance(value, bool):
        raise ValueError(f"expected true or false, as in the file, found {text!r}")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(like, int | float) and not isinstance(like, bool) and not is_number:
        raise ValueError(f"expected a number, as in the file, found {text!r}")
    return value


def yaml_text(value: Scalar) -> str:
    """A value as YAML of every version reads it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        # PyYAML takes 1e-05 for a text.
        return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))
    if isinstance(value, int):
        return str(value)
    import yaml

    return str(yaml.safe_dump(value, default_style='"', width=math.inf)).removesuffix("\n")


def _json_leaves(text: str) -> tuple[dict[str, Leaf], set[str]]:
    leaves: dict[str, Leaf] = {}
    groups: set[str] = set()
    for keys, value in islice(_items(json.loads(text), ()), MOST_NAMES):
        name = ".".join(map(str, keys))
        if isinstance(value, dict | list):
            groups.add(name)
        else:
            leaves.setdefault(name, Leaf(value=value, keys=keys))
    return leaves, groups


def _items(value: Any, keys: tuple[Any, ...], length: int = 0) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every value below one, with the keys that lead to it; ``length`` is that of the name that they make."""
    if length > LONGEST_NAME:
        raise ValueError(_LONG_NAME)
    if keys:
        yield keys, value
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _items(each, (*keys, key), length + len(key) + 1)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _items(each, (*keys, number), length + len(str(number)) + 1)


def _json_with(values: Mapping[tuple[Any, ...], Scalar], text: str) -> str:
    content = json.loads(text)
    for keys, value in values.items():
        place = content
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _yaml_leaves(text: str) -> tuple[dict[str, Leaf], set[str]]:
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"it is no YAML: {error}") from error
    leaves: dict[str, Leaf] = {}
    groups: set[str] = set()
    for name, node in islice(_nodes(root, "", ()), MOST_NAMES):
        if isinstance(node, yaml.ScalarNode):
            value = _yaml_value(node)
            leaves.setdefault(name, Leaf(value=value, start=node.start_mark.index, end=node.end_mark.index))
        elif name:
            groups.add(name)
    return leaves, groups


def _yaml_value(node: Any) -> Scalar:
    if node.style is not None:
        return str(node.value)
    if node.tag == "tag:yaml.org,2002:bool":  # 'yes' too, for those who read YAML 1.1 as most of Python does
        return node.value.lower() in ("yes", "on", "true")
    return resolve(ScalarNode(value=node.value, plain=True, location=_NOWHERE)) if node.value else None


def _nodes(node: Any, name: str, above: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    """Every node below one, with its name; a node that holds itself is looked into only once.

    What has no name is there without one, so that whoever counts the nodes counts it, too.
    """
    import yaml

    if node is None:
        return
    if len(name) > LONGEST_NAME:
        raise ValueError(_LONG_NAME)
    if any(each is node for each in above):
        yield "", None
        return
    if name:
        yield name, node
    if isinstance(node, yaml.MappingNode):
        for key, each in node.value:
            if isinstance(key, yaml.ScalarNode):
                yield from _nodes(each, f"{name}.{key.value}" if name else str(key.value), (*above, node))
            else:
                yield "", None
    elif isinstance(node, yaml.SequenceNode):
        for number, each in enumerate(node.value):
            yield from _nodes(each, f"{name}.{number}" if name else str(number), (*above, node))
