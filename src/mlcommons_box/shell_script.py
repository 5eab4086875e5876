"""Quoting for the POSIX shell: the one place where words become shell text."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable

from mlcommons_box.command import CallerVariable, Command

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"


def quoted(word: str | os.PathLike[str]) -> str:
    """One word, whatever is in it."""
    return shlex.quote(os.fspath(word))


def script_of(command: Command, caller: Iterable[str], *, through: str = "") -> str:
    """The lines that become a command in a shell of its own: directory, environment, and the program itself.

    ``caller`` names the variables that are set there.  ``through`` is shell text before the program.  Values are
    assigned by the shell, so that none is ever an argument of a process.
    """
    known = set(caller)
    lines = []
    if command.directory is not None:
        lines.append(f"cd {quoted(command.directory)} || exit 73")
    values = [
        (name, CallerVariable(name=name) if value is None else value) for name, value in command.environment or ()
    ]
    values += command.added
    for name, value in values:  # a variable under another name first, as it may be removed next
        if isinstance(value, CallerVariable) and value.name != name and value.name in known:
            lines.append(f'{name}="${value.name}"')
    if command.environment is not None:
        names = "|".join(sorted({name for name, _ in values}))
        lines += [
            "for mlbox_name in $(env | sed -n 's/^\\([A-Za-z_][A-Za-z0-9_]*\\)=.*/\\1/p'); do",
            f'  case "$mlbox_name" in ({names or "-"}) ;; (*) unset "$mlbox_name" ;; esac',
            "done",
        ]
    lines += [f"unset {name}" for name in command.removed if re.fullmatch(_NAME, name)]
    for name, value in values:
        if isinstance(value, str):
            lines.append(f"{name}={quoted(value)}")
        if isinstance(value, str) or value.name in known:
            lines.append(f"export {name}")
    lines.append(f"exec {through}{shlex.join(command.argv)}")
    return "\n".join(lines)
