"""Reads records from plain data, whoever wrote it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlcommons_box.errors import ConfigurationError
from mlcommons_box.record import SCHEMA_VERSION, STATUSES, RunRecord, Supervisor, moment
from mlcommons_box.value import as_data, field_names, is_required

_DEEPEST = 100
"""Objects and lists in a record that are in each other; ours have a few."""
_DEFAULTS = {
    name: as_data(getattr(RunRecord, name)) for name in field_names(RunRecord) if not is_required(RunRecord, name)
}
"""What a line need not say."""
_KINDS: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "str": (str,),
    "int | None": (int, type(None)),
    "str | None": (str, type(None)),
    "float | None": (int, float, type(None)),
    "RecordStatus": (str,),
    "Supervisor": (dict,),
    "Mapping[str, Any]": (dict,),
    "tuple[str, ...]": (list,),
}
"""What JSON has for the types of fields."""


def record_of(content: Any, run_id: str, path: Path) -> RunRecord:
    """The record that was written as ``content``; raises :class:`ValueError` when it is none."""
    if not isinstance(content, dict):
        raise ValueError("it is not an object")
    if _is_deeper(content, _DEEPEST):
        raise ValueError("too much in it is nested")
    version = content.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ConfigurationError(
            f"the record {str(path)!r} was written by a newer version, {content.get('tool_version')}",
            hint="install that version or a newer one",
        )
    values = _values(RunRecord, content)
    values["supervisor"] = Supervisor(**_values(Supervisor, values["supervisor"]))
    values["commands"] = tuple(values.get("commands", ()))
    record = RunRecord(**values)
    if record.id != run_id:
        raise ValueError(f"it is the record of the run {record.id!r}")
    if record.status not in STATUSES:
        raise ValueError(f"it has the status {record.status!r}")
    for text in (record.started_at, record.ended_at):
        if text is not None:
            moment(text)
    if not all(isinstance(command, str) for command in record.commands):
        raise ValueError("'commands' are no texts")
    if not _are_parameters(record.plan.get("parameters", [])):
        raise ValueError("the parameters of its plan are none")
    return record


def _values(kind: type[RunRecord | Supervisor], content: Mapping[str, Any]) -> dict[str, Any]:
    """What the fields of a class have in data; keys that a later version has added are left out."""
    values = {}
    for name in field_names(kind):
        if name in content:
            value = content[name]
            kinds = _KINDS[kind.__annotations__[name]]
            wrong = not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)
            if wrong or (isinstance(value, float) and not math.isfinite(value)):
                raise ValueError(f"{name!r} cannot be {json.dumps(value)[:60]}")
            values[name] = value
        elif is_required(kind, name):
            raise ValueError(f"it has no {name!r}")
    return values


def _is_deeper(value: Any, limit: int) -> bool:
    """Whether objects and lists are in each other more often than that."""
    level = [value]
    for _ in range(limit):
        level = [
            each
            for holder in level
            for each in (holder.values() if isinstance(holder, dict) else holder)
            if isinstance(each, dict | list)
        ]
        if not level:
            return False
    return True


def _are_parameters(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, dict) and all(isinstance(each.get(key), str) for key in ("name", "direction", "path"))
        for each in value
    )
