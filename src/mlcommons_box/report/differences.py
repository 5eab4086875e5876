"""Differences, and what was checked, as text for people."""

from __future__ import annotations

from collections.abc import Sequence

from mlcommons_box.differences import Difference
from mlcommons_box.replaying import Replayed
from mlcommons_box.report.problems import one_line
from mlcommons_box.verification import Checked


def differences_text(differences: Sequence[Difference], indent: str = "") -> str:
    """One line for each: its kind, its name and what became of it."""
    kinds = max((len(each.kind) for each in differences), default=0)
    names = min(max((len(each.name) for each in differences), default=0), 40)
    return "".join(
        f"{indent}{each.kind:{kinds}}  {one_line(each.name):{names}}  {one_line(each.says)}\n"
        for each in differences
    )


def checked_text(checked: Sequence[Checked]) -> str:
    """One line for each thing that was checked, and below it what has changed."""
    names = max((len(each.name) for each in checked), default=0)
    lines = []
    for each in checked:
        reason = f"  ({one_line(each.reason)})" if each.reason else ""
        lines.append(f"{each.state:7}  {each.kind:6}  {one_line(each.name):{names}}{reason}".rstrip() + "\n")
        lines.append(differences_text(each.changes, indent="           "))
    return "".join(lines)


def replayed_text(replayed: Sequence[Replayed]) -> str:
    """One line for each output, and below it where it differs."""
    states = max((len(each.state) for each in replayed), default=0)
    lines = []
    for each in replayed:
        lines.append(f"{each.state:{states}}  {one_line(each.name)}\n")
        lines.append(differences_text(each.changes, indent=" " * (states + 2)))
    return "".join(lines)
