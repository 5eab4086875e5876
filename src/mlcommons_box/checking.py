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
from mlcommons_box.definition.problems import Problems
from mlcommons_box.definition.run_configurations import read_run_configuration
from mlcommons_box.definition.sweeps import read_sweep
from mlcommons_box.errors import Problem, ProblemsError
from mlcommons_box.model import Box, Platform, RunConfiguration, Sweep, Task
from mlcommons_box.planning import BoundParameter, bind
from mlcommons_box.presence import missing_inputs
from mlcommons_box.value import Value


class Report(Value):
    """What checking a box found.

    ``box`` is None when ``mlbox.yaml`` or a task is wrong; ``runs``, ``platforms`` and ``sweeps`` are those that
    are right.
    """

    root: Path
    box: Box | None
    runs: tuple[RunConfiguration, ...]
    platforms: tuple[Platform, ...]
    sweeps: tuple[Sweep, ...]
    problems: tuple[Problem, ...]


def check_box(path: Path | str, *, workspace: Path | None = None, inputs: bool = True) -> Report:
    """Read every definition file of a box and report all problems, in the order of the files.

    With ``inputs``, an input that does not exist, and that no run of the box makes, is a problem too, and so is
    what a sweep varies and the file of its hyper-parameters does not have.
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
    sweeps = []
    for file in yaml_files(root / SWEEP_DIRECTORY):
        sweep = read_sweep(file, root, runs, problems)
        if sweep:
            sweeps.append(sweep)
    found += problems
    if inputs:
        found += _hyperparameter_problems(root, draft.tasks or {}, runs, sweeps, workspace)
    return Report(
        root=root,
        box=draft.box,
        runs=tuple(runs),
        platforms=tuple(platforms),
        sweeps=tuple(sweeps),
        problems=tuple(found),
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
    made = {parameter.path for parameter in bound if parameter.direction == "output"}
    if inputs:
        around = {parent for path in made for parent in path.parents} | made
        wanted = [each for each in bound if each.path not in around and made.isdisjoint(each.path.parents)]
        problems += missing_inputs(tuple(parameter for parameter in wanted if parameter.location))
    return problems


def _hyperparameter_problems(
    root: Path,
    tasks: Mapping[str, Task | None],
    runs: list[RunConfiguration],
    sweeps: list[Sweep],
    workspace: Path | None,
) -> list[Problem]:
    """What sweeps vary and their files do not have; a file that is not there yet may have anything."""
    problems: list[Problem] = []
    with_file = [sweep for sweep in sweeps if sweep.parameters_file]
    if not with_file:
        return problems
    from mlcommons_box.parameter_file import read_parameter_file
    from mlcommons_box.sweep import space_of

    known = {run.name: run for run in runs}
    for sweep in with_file:
        run = known[sweep.run]
        task = tasks.get(run.task)
        bound = bind(root, task, run, workspace or root / "workspace", []) if task else ()
        for parameter in bound:
            if parameter.name == sweep.parameters_file and parameter.path.is_file():
                try:
                    space_of(sweep, read_parameter_file(parameter.path))
                except ProblemsError as error:
                    problems += error.problems
    return problems
