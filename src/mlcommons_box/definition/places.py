"""Where the files of a box are, and how short names find them.  Nothing here reads a definition file."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from mlcommons_box.errors import UsageError

BOX_FILE = "mlbox.yaml"
RUN_DIRECTORY = "run"
PLATFORM_DIRECTORY = "platforms"
SWEEP_DIRECTORY = "sweeps"
_SUFFIXES = (".yaml", ".yml")
_LEVELS = 32
"""Directories in each other in which files are looked for."""


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
    """Every YAML file in ``directory`` and some levels below it, in the order of their names; links are files."""
    found = []
    waiting = [(os.fspath(directory), 1)]
    while waiting:
        parent, level = waiting.pop()
        with suppress(OSError), os.scandir(parent) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if level < _LEVELS:
                        waiting.append((entry.path, level + 1))
                elif entry.name.endswith(_SUFFIXES) and not os.path.isdir(entry.path):
                    found.append(Path(entry.path))
    return sorted(found)


def name_below(file: Path, directory: Path) -> str:
    """The short name of a file: its path below ``directory`` (else its own name) without the suffix."""
    try:
        relative = file.relative_to(directory)
    except ValueError:
        relative = Path(file.name)
    return relative.with_suffix("").as_posix() if relative.suffix in _SUFFIXES else relative.as_posix()


def files_called(root: Path, directory: str, given: str) -> list[Path]:
    """The definition files that ``given`` may mean, a path or a short name; one alone is meant.

    A path is looked for in the box first, then in the current directory; a short name below ``directory``
    of the box, where ``hello`` also finds ``alice/hello.yaml``.  A word with neither a slash nor a suffix is no
    path: a program called ``train`` beside the box is not the run of that name.
    """
    folder = root / directory
    paths = [root / given, Path(given)] if "/" in given or given.endswith(_SUFFIXES) else []
    for candidate in [*paths, *(folder / f"{given}{suffix}" for suffix in ("", *_SUFFIXES))]:
        if os.path.isfile(candidate):
            return [Path(os.path.abspath(candidate))]
    names = {name_below(file, folder): file for file in yaml_files(folder)}
    return [file for name, file in names.items() if name.rsplit("/", 1)[-1] == given]


def handed_over_file(root: Path, name: str) -> Path | None:
    """The file in ``platforms/`` that another platform names, with or without its suffix; None if there is none."""
    candidates = (root / PLATFORM_DIRECTORY / f"{name}{suffix}" for suffix in ("", *_SUFFIXES))
    return next((each for each in candidates if os.path.isfile(each)), None)


def find_file(root: Path, directory: str, given: str, what: str) -> Path:
    """The one definition file that ``given`` means, as :func:`files_called` finds it.

    Raises :class:`UsageError` that lists what there is.
    """
    found = files_called(root, directory, given)
    if len(found) == 1:
        return found[0]
    folder = root / directory
    if found:
        same = ", ".join(name_below(file, folder) for file in found)
        raise UsageError(f"several {what}s are called {given!r}", hint=f"choose one of: {same}")
    from mlcommons_box.suggestions import did_you_mean, nearest

    names = dict.fromkeys(name_below(file, folder) for file in yaml_files(folder))
    known = f"this box has: {', '.join(names)}" if names else f"this box has none (no files in {directory}/)"
    raise UsageError(f"there is no {what} {given!r}", hint=did_you_mean(nearest(given, names)) or known)
