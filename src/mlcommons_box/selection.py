"""Which runs and which platform of a box somebody means."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from mlcommons_box.definition.built_in import BUILT_IN_PLATFORMS, built_in_platform
from mlcommons_box.definition.places import (
    PLATFORM_DIRECTORY,
    RUN_DIRECTORY,
    files_called,
    find_file,
    name_below,
    yaml_files,
)
from mlcommons_box.definition.remembered import RememberedDefinitions
from mlcommons_box.errors import ConfigurationError, UsageError
from mlcommons_box.model import Box, Platform, RunConfiguration
from mlcommons_box.planning import plan_setup
from mlcommons_box.runners.registry import runner_for

PLATFORM_VARIABLE = "MLCOMMONS_BOX_PLATFORM"
"""The platform to use where none is named."""
_BEST_FIRST = ("docker", "singularity")


def select_platform(
    definitions: RememberedDefinitions, box: Box, given: str | None, runner: str | None = None
) -> Platform:
    """The platform that ``given`` names; without it, the one of the variable, else the best one available.

    With ``runner``, the platform has to be of that kind, and without ``given`` it is the one of that name.
    """
    named = given or runner or os.environ.get(PLATFORM_VARIABLE)
    platform = _platform(definitions, box, named) if named else best_platform(definitions, box)
    if runner and platform.runner != runner:
        raise ConfigurationError(
            f"the platform {platform.name!r} is for the {platform.runner} runner, not for {runner}",
            hint=f"name a {runner} platform, or use 'mlbox'",
        )
    return platform


def best_platform(definitions: RememberedDefinitions, box: Box) -> Platform:
    """The first of the box's container platforms that this machine seems to have an engine for, else ``local``.

    Containers come first, because they keep a task from everything that it was not given.
    """
    platforms = [definitions.load_platform(file) for file in yaml_files(box.root / PLATFORM_DIRECTORY)]
    for runner in _BEST_FIRST:
        for platform in platforms:
            if platform.runner == runner and runner_for(platform).is_available(plan_setup(box, platform)):
                return platform
    own = (platform for platform in platforms if platform.runner == "local")
    return next(own, None) or built_in_platform(BUILT_IN_PLATFORMS[0])


def _platform(definitions: RememberedDefinitions, box: Box, given: str) -> Platform:
    if given in BUILT_IN_PLATFORMS and len(files_called(box.root, PLATFORM_DIRECTORY, given)) != 1:
        return built_in_platform(given)
    return definitions.load_platform(find_file(box.root, PLATFORM_DIRECTORY, given, "platform"))


def run_files(box: Box, given: Sequence[str]) -> list[Path]:
    """The files of the run configurations that are given.  Raises :class:`UsageError` for one that is not there."""
    found = (find_file(box.root, RUN_DIRECTORY, each, "run configuration") for each in given)
    return list(dict.fromkeys(found))


def select_runs(
    definitions: RememberedDefinitions,
    box: Box,
    given: Sequence[str],
    platform: Platform,
    *,
    every: bool,
    note: Callable[[str], object],
) -> list[RunConfiguration]:
    """The run configurations that are meant: those that are given, or all in the order of the box's tasks.

    With ``every`` those that only Kubernetes can run are left out elsewhere, which is told to ``note``.
    """
    if given:
        runs = [definitions.load_run_configuration(file, box) for file in run_files(box, given)]
        for run in runs:
            if not _suits(run, platform):
                raise ConfigurationError(
                    f"the run {run.name!r} keeps its data in Kubernetes volume claims",
                    hint="use a Kubernetes platform",
                )
        return runs
    files = yaml_files(box.root / RUN_DIRECTORY)
    if not files:
        raise UsageError(f"the box has no run configurations (no files in {RUN_DIRECTORY}/)")
    if len(files) > 1 and not every:
        choices = [f"--task={name_below(file, box.root / RUN_DIRECTORY)}" for file in files]
        listing = "\n".join(f"    {choice}" for choice in [*choices, "--all (in the order of the data)"])
        raise UsageError("the box has several run configurations", hint=f"choose one:\n{listing}")
    order = [task.name for task in box.tasks]
    runs = [definitions.load_run_configuration(file, box) for file in files]
    for run in runs:
        if not _suits(run, platform):
            note(f"left out: {run.name!r} keeps its data in Kubernetes volume claims")
    return sorted((run for run in runs if _suits(run, platform)), key=lambda run: (order.index(run.task), run.name))


def _suits(run: RunConfiguration, platform: Platform) -> bool:
    return platform.runner == "kubernetes" or not run.is_claimed
