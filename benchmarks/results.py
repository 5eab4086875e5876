"""Results as a file: sections of rows, with the machine and the versions that they were measured on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.timing import Figure, Row


class OtherResult(Exception):
    """Two results are of different machines or versions."""


@dataclass
class Result:
    """All that was measured."""

    machine: dict[str, Any]
    versions: dict[str, str]
    date: str
    command: str = ""
    absent: dict[str, str] = field(default_factory=dict)
    """Tools and engines that are not here, and why."""
    sections: dict[str, list[Row]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    """What was special about a section on this machine."""

    def rows(self, section: str, group: str | None = None) -> list[Row]:
        """The rows of a section, or of one group of it."""
        return [row for row in self.sections.get(section, []) if group in (None, row.group)]

    def take(self, other: Result) -> None:
        """Add the sections of an earlier result, but for those that are here; raises OtherResult."""
        for name in ("machine", "versions"):
            ours, theirs = getattr(self, name), getattr(other, name)
            differing = sorted(key for key in ours.keys() & theirs.keys() if ours[key] != theirs[key])
            if differing:
                raise OtherResult(f"its {name} are not those of now: {', '.join(differing)}")
        self.versions = {**other.versions, **self.versions}
        self.command = other.command or self.command
        self.date = min(self.date, other.date)
        for section, rows in other.sections.items():
            self.sections.setdefault(section, rows)
            self.notes.setdefault(section, other.notes.get(section, []))
        self.absent = {**other.absent, **self.absent}

    def in_order(self, names: Iterable[str]) -> Result:
        """The same, with the sections in an order."""
        self.sections = {name: self.sections[name] for name in names if name in self.sections}
        self.notes = {name: self.notes[name] for name in names if self.notes.get(name)}
        return self


def write(result: Result, file: Path) -> None:
    """Write it whole, or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    part.write_text(json.dumps(asdict(result), indent=1) + "\n", "utf-8")
    part.replace(file)


def read(file: Path) -> Result:
    """The result in a file."""
    values = json.loads(file.read_text("utf-8"))
    values["sections"] = {name: [_row(row) for row in rows] for name, rows in values["sections"].items()}
    return Result(**values)


def _row(values: dict[str, Any]) -> Row:
    figures = {name: Figure(**values[name]) if values[name] else None for name in ("figure", "bare")}
    return Row(**{**values, **figures})
