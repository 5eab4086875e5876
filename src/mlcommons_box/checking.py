"""Everything that can be said about a box without running it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mlcommons_box.definition.loader import read_box
from mlcommons_box.definition.places import (
    PLATFORM_DIRECTORY,
    RUN_DIRECTORY,
    SWEEP_DIRECTORY,
    box_root,
    yaml_files,
)
from mlcommons_box.definition.platforms import check_referenced_platform, read_platform
from mlcommons_box.definition.run_configurations import read_run_configuration
from mlcommons_box.definition.source import Problems
from mlcommons_box.definition.sweeps import read_sweep
from mlcommons_box.errors import Problem
from mlcommons_box.model import Box, Platform, RunConfiguration, Task
from mlcommons_box.planning import BoundParameter, bind, holds
from mlcommons_box.presence import missing_inputs
from mlcommons_box.value import Value


class Report(Value):
    """What checking a box found.

    ``box`` is None when ``mlbox.yaml`` or a task is wrong; ``runs`` and ``platforms`` are those that are right.
    """

    root: Path
    box: Box | None
    runs: tuple[RunConfiguration, ...]
    platforms: tuple[Platform, ...]
    problems: tuple[Problem, ...]


def check_box(path: Path | str, *, workspace: Path | None = None, inputs: bool = True) -> Report:
    """Read every definition file of a box and report all problems, in the order of the files.

    With ``inputs``, an input that does not exist, and that no run of the box makes, is a problem too.
    Raises :class:`~mlcommons_box.errors.UsageError` when there is no box.
    """
    root = box_root(path)
    problems = Problems()
    draft = read_box(root, problems)
    runs = []
    for file in yaml_files(root / RUN_DIRECTORY):
        run = read_run_configuration(file, root, draft.tasks, problems)
        if run:
            runs.append(run)
    found = list(problems)
    found += _path_problems(root, draft.tasks or {}, runs, workspace, inputs=inputs)
    problems.clear()
    platforms = []
    for file in yaml_files(root / PLATFORM_DIRECTORY):
        platform = read_platform(file, problems)
        if platform:
            check_referenced_platform(platform, root, problems)
            platforms.append(platform)
    for file in yaml_files(root / SWEEP_DIRECTORY):
        read_sweep(file, runs, problems)
    return Report(
        root=root,
        box=draft.box,
        runs=tuple(runs),
        platforms=tuple(platforms),
        problems=(*found, *problems),
    )


def _path_problems(
    root: Path,
    tasks: Mapping[str, Task | None],
    runs: list[RunConfiguration],
    workspace: Path | None,
    *,
    inputs: bool,
) -> list[Problem]:
    """Paths that cannot be used, and inputs that neither exist nor are made by a run of the box."""
    problems: list[Problem] = []
    bound: list[BoundParameter] = []
    for run in runs:
        task = tasks.get(run.task)
        if task:
            bound += bind(root, task, run, workspace or root / "workspace", problems)
    made = [parameter.path for parameter in bound if parameter.direction == "output"]
    if inputs:
        wanted = [p for p in bound if not any(holds(path, p.path) or holds(p.path, path) for path in made)]
        problems += missing_inputs(tuple(parameter for parameter in wanted if parameter.location))
    return problems
