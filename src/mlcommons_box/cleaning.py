"""What earlier runs of a box left behind, and what of it may be removed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from mlcommons_box.definition.places import SWEEP_DIRECTORY, name_below, yaml_files
from mlcommons_box.errors import CannotCreateError, Problem
from mlcommons_box.model import Box, RunConfiguration
from mlcommons_box.planning import BoundParameter, bind, holds
from mlcommons_box.value import Value


class Leftover(Value):
    """A path that an earlier run made; ``reason`` says why it has to stay, None that it may go."""

    path: Path
    what: str
    reason: str | None = None

    def size(self) -> int:
        """Bytes in it; what cannot be read counts as nothing."""
        if self.path.is_symlink() or not self.path.is_dir():
            return _file_size(self.path)
        return sum(_file_size(Path(parent, name)) for parent, _, names in os.walk(self.path) for name in names)

    def remove(self) -> None:
        """Remove it; of a link, the link alone.  Raises :class:`CannotCreateError` when that fails."""
        try:
            if self.path.is_dir() and not self.path.is_symlink():
                shutil.rmtree(self.path)
            else:
                self.path.unlink()
        except FileNotFoundError:
            pass
        except RecursionError as error:
            message = f"cannot remove {str(self.path)!r}: it is nested too deep"
            raise CannotCreateError(message, hint="'rm -rf' can") from error
        except OSError as error:
            raise CannotCreateError(f"cannot remove {str(self.path)!r}: {error.strerror}") from error


def find_leftovers(box: Box, runs: Iterable[RunConfiguration], workspace: Path | None = None) -> list[Leftover]:
    """The outputs of the box's runs that exist, and all that its sweeps have made.

    An output stays when it lies outside the workspace (links followed), or when it is or holds an input that
    no other run writes to exactly that path.
    """
    place = workspace or box.workspace
    tasks = {task.name: task for task in box.tasks}
    problems: list[Problem] = []
    writers: dict[Path, set[str]] = {}
    inputs: list[tuple[str, BoundParameter]] = []
    for run in runs:
        for parameter in bind(box.root, tasks[run.task], run, place, problems):
            if parameter.direction == "output":
                writers.setdefault(parameter.path, set()).add(run.name)
            else:
                inputs.append((run.name, parameter))
    given = [parameter for run_name, parameter in inputs if not writers.get(parameter.path, set()) - {run_name}]
    found = []
    for path in sorted(writers):
        if os.path.lexists(path) and writers.keys().isdisjoint(path.parents):
            found.append(Leftover(path=path, what="output", reason=_reason_to_keep(path, place, given)))
    for file in yaml_files(box.root / SWEEP_DIRECTORY):
        path = place / SWEEP_DIRECTORY / name_below(file, box.root / SWEEP_DIRECTORY)
        if os.path.lexists(path):
            found.append(Leftover(path=path, what="sweep", reason=_reason_to_keep(path, place, given)))
    return found


def _reason_to_keep(path: Path, workspace: Path, inputs: list[BoundParameter]) -> str | None:
    real = path.parent.resolve() / path.name
    if not holds(workspace.resolve(), real) or real == workspace.resolve():
        return "it is not inside the workspace"
    for parameter in inputs:
        if holds(path, parameter.path):
            return f"it holds the input {parameter.name!r}"
    return None


def _file_size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
