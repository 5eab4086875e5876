"""What the small YAML and JSON inputs of a run hold: the hyper-parameters, by which two runs are told apart."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

from mlcommons_box.journal import open_regular
from mlcommons_box.planning import BoundParameter

SUFFIXES = (".json", ".yaml", ".yml")
_LARGEST = 1 << 16
"""Bytes; a larger file is data."""
_MOST = 500
_MOST_PARTS = 20_000
_DEEPEST = 50
_LONGEST = 500
"""Characters of a text that are kept, and of a name; what has a longer one is left out."""
_LARGEST_NUMBER = 1 << 1024
Scalar = str | int | float | bool | None


def read_hyperparameters(inputs: Sequence[BoundParameter]) -> dict[str, dict[str, Scalar]]:
    """For every input that is such a file, its values by their names, with dots between those that are nested."""
    found = {}
    for each in inputs:
        if each.type == "file" and not each.elsewhere and each.path.suffix in SUFFIXES:
            values = read_file(each.path)
            if values:
                found[each.name] = values
    return found


def read_file(file: Path) -> dict[str, Scalar]:
    """The values in a file by their names; none when it is large, or holds something else."""
    try:
        with os.fdopen(open_regular(file.resolve(), os.O_RDONLY), "rb") as stream:
            content = stream.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            return {}
        value = json.loads(content) if file.suffix == ".json" else _yaml(content)
    except Exception:  # what is no YAML is no matter: it is an input like any other
        return {}
    return _flat(value)


def _yaml(content: bytes) -> Any:
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # one or the other
        """A safe one, in which no keys that are merged again and again outgrow the memory."""

        def flatten_mapping(self, node: Any) -> None:
            before = len(node.value)
            super().flatten_mapping(node)
            if len(node.value) > max(before, _MOST):
                raise ValueError("it merges too many keys")

    depth = 0
    for event in yaml.parse(content, Loader=Loader):  # the reader of values is in C, and calls itself
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ValueError("it is nested too deep")
    return yaml.load(content, Loader=Loader)  # noqa: S506  # it is a safe one


def _flat(value: Any) -> dict[str, Scalar]:
    """The values in nested data by their names, in the order of the file.

    YAML may hold a thing within itself, or a few lines that stand for more than a memory holds: what is looked at
    is limited.
    """
    values: dict[str, Scalar] = {}
    for name, each in islice(_parts(value, "", 0), _MOST_PARTS):
        if name and _is_single(each):
            values[name] = _plain(each)
            if len(values) == _MOST:
                break
    return values


def _parts(value: Any, name: str, depth: int) -> Iterator[tuple[str, Any]]:
    """All that is in nested data, with its name; one after another, as a list of them may be too long."""
    yield name, value
    if isinstance(value, dict | list) and depth < _DEEPEST:
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            inner = f"{name}.{_text(key)}" if name else _text(key)
            if len(inner) <= _LONGEST:
                yield from _parts(part, inner, depth + 1)
            else:
                yield "", None


def _is_single(value: Any) -> bool:
    """Whether it is one value: YAML has sets and pairs as well, in which anything may be."""
    return value is None or (
        isinstance(value, str | bool | int | float | date | bytes)
        and not (isinstance(value, float) and not math.isfinite(value))
    )


def _plain(value: Any) -> Scalar:
    if (
        value is None
        or isinstance(value, bool | float)
        or (isinstance(value, int) and abs(value) < _LARGEST_NUMBER)
    ):
        return value
    return _text(value)


def _text(value: Any) -> str:
    """A key or a value of YAML as a text; Python refuses to write a very long number in decimal."""
    is_long = isinstance(value, int) and abs(value) >= _LARGEST_NUMBER
    return (hex(value) if is_long else str(value))[:_LONGEST]
