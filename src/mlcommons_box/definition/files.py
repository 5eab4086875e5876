"""What the files of a box hold, as checked fields."""

from __future__ import annotations

from pathlib import Path

from mlcommons_box.definition import file_kinds
from mlcommons_box.definition.problems import Problems
from mlcommons_box.definition.source import read_source
from mlcommons_box.definition.structures import Entry, Fields
from mlcommons_box.model import EnvironmentVariable


def read_fields(file: Path, kinds: tuple[str, ...], problems: Problems) -> Fields | None:
    """The checked fields of a definition file of one of ``kinds``; None, with problems, when it is wrong."""
    checked = read_kind(file, kinds, problems)
    return None if checked is None else checked[1]


def read_kind(file: Path, kinds: tuple[str, ...], problems: Problems) -> tuple[str, Fields] | None:
    """The kind and the checked fields of a definition file."""
    before = len(problems)
    node = read_source(file, problems)
    checked = None if node is None else file_kinds.check_file(node, kinds, problems)
    return checked if len(problems) == before else None


def environment_of(entries: tuple[Entry[str | None], ...]) -> tuple[EnvironmentVariable, ...]:
    """The variables of an ``environment`` mapping."""
    return tuple(EnvironmentVariable(name=entry.name, value=entry.value) for entry in entries)
