"""The files of a box: where they are, how short names find them, and what they hold as checked fields."""

from __future__ import annotations

import os
from pathlib import Path

from mlcommons_box.definition import schema
from mlcommons_box.definition.rules import Entry, Fields, did_you_mean, nearest
from mlcommons_box.definition.source import Problems, read_source
from mlcommons_box.errors import UsageError
from mlcommons_box.model import EnvironmentVariable

BOX_FILE = "mlbox.yaml"
RUN_DIRECTORY = "run"
PLATFORM_DIRECTORY = "platforms"
SWEEP_DIRECTORY = "sweeps"
_SUFFIXES = (".yaml", ".yml")


def box_root(path: Path | str) -> Path:
    """The absolute directory of the box at ``path``, a directory or its ``mlbox.yaml``.

    Raises :class:`UsageError` when there is none.
    """
    given = Path(os.path.abspath(path))
    root = given.parent if given.name == BOX_FILE and not os.path.isdir(given) else given
    if os.path.lexists(root / BOX_FILE):
        return root
    if not os.path.exists(root):
        raise UsageError(f"there is no directory {str(path)!r}")
    raise UsageError(
        f"there is no box in {str(root)!r}: it has no {BOX_FILE}",
        hint="name one with --mlbox=DIR, or make one with 'mlbox init DIR'",
    )


def yaml_files(directory: Path) -> list[Path]:
    """Every YAML file in ``directory`` and below it, in the order of their names."""
    found = []
    for parent, _, names in os.walk(directory):
        found += [Path(parent, name) for name in names if name.endswith(_SUFFIXES)]
    return sorted(found)


def name_below(file: Path, directory: Path) -> str:
    """The short name of a file: its path below ``directory`` (else its own name) without the suffix."""
    try:
        relative = file.relative_to(directory)
    except ValueError:
        relative = Path(file.name)
    return relative.with_suffix("").as_posix() if relative.suffix in _SUFFIXES else relative.as_posix()


def find_file(root: Path, directory: str, given: str, what: str) -> Path:
    """The definition file that ``given`` means, a path or a short name.

    A path is looked for in the box first, then in the current directory; a short name below ``directory``
    of the box, where ``hello`` also finds ``alice/hello.yaml`` when that is the only one of its name.
    Raises :class:`UsageError` that lists what there is.
    """
    folder = root / directory
    candidates = [root / given, Path(given), *(folder / f"{given}{suffix}" for suffix in ("", *_SUFFIXES))]
    for candidate in candidates:
        if os.path.isfile(candidate):
            return Path(os.path.abspath(candidate))
    files = yaml_files(folder)
    names = {name_below(file, folder): file for file in files}
    same = [name for name in names if name.rsplit("/", 1)[-1] == given]
    if len(same) == 1:
        return names[same[0]]
    if same:
        raise UsageError(f"several {what}s are called {given!r}", hint=f"choose one of: {', '.join(same)}")
    known = f"this box has: {', '.join(names)}" if names else f"this box has none (no files in {directory}/)"
    raise UsageError(f"there is no {what} {given!r}", hint=did_you_mean(nearest(given, names)) or known)


def read_fields(file: Path, kinds: tuple[str, ...], problems: Problems) -> Fields | None:
    """The checked fields of a definition file of one of ``kinds``; None, with problems, when it is wrong."""
    checked = read_kind(file, kinds, problems)
    return None if checked is None else checked[1]


def read_kind(file: Path, kinds: tuple[str, ...], problems: Problems) -> tuple[str, Fields] | None:
    """The kind and the checked fields of a definition file."""
    before = len(problems)
    node = read_source(file, problems)
    checked = None if node is None else schema.check_file(node, kinds, problems)
    return checked if len(problems) == before else None


def environment_of(entries: tuple[Entry[str | None], ...]) -> tuple[EnvironmentVariable, ...]:
    """The variables of an ``environment`` mapping."""
    return tuple(EnvironmentVariable(name=entry.name, value=entry.value) for entry in entries)
