"""The runner inside: what a host or a queue runs a box with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mlcommons_box.definition.built_in import BUILT_IN_PLATFORMS, built_in_platform
from mlcommons_box.definition.places import PLATFORM_DIRECTORY, handed_over_file
from mlcommons_box.errors import BoxError, ConfigurationError, Problem
from mlcommons_box.file_state import State, latest_settled, state_of
from mlcommons_box.model import Platform, SlurmOptions, SshOptions
from mlcommons_box.runners.container_run import Caller
from mlcommons_box.runners.failures import Failure, explained
from mlcommons_box.runners.job import CanBeJob, Elsewhere

_loaded: dict[tuple[str, State], Platform] = {}


def inner_platform(box: Path, name: str) -> Platform:
    """The platform that another hands over to: a file in ``platforms/``, with or without its suffix.

    Raises :class:`ConfigurationError` when there is none, and :class:`DefinitionError` when it is wrong.
    """
    from mlcommons_box.definition.loader import load_platform

    file = handed_over_file(box, name)
    if file is not None:
        state = state_of(os.stat(file))
        if max(state[:2]) > latest_settled():
            return load_platform(file)
        # It is asked for again and again in one run.
        key = str(file), state
        if key not in _loaded:
            _loaded[key] = load_platform(file)
        return _loaded[key]
    if name in BUILT_IN_PLATFORMS:
        return built_in_platform(name)
    raise ConfigurationError(f"there is no platform {name!r} in {str(box / PLATFORM_DIRECTORY)!r}")


def inner_files(box: Path, platform: Platform) -> list[Path]:
    """The files of the platforms that one hands over to, one after the other.  Raises as :func:`inner_platform`.

    One that is handed over to twice, as by itself, is refused by whoever has to run it.
    """
    files: list[Path] = []
    while isinstance(platform.options, SshOptions | SlurmOptions):
        platform = inner_platform(box, platform.options.platform)
        if platform.file is None or platform.file in files:
            break
        files.append(platform.file)
    return files


def inner_runner(
    platform: Platform,
    outer: Platform,
    environ: Mapping[str, str] = os.environ,
    caller: Caller | None = None,
    elsewhere: Elsewhere | None = None,
) -> CanBeJob:
    """The runner of a platform, for commands that run somewhere else.  Raises :class:`ConfigurationError`."""
    if platform.runner == "docker":
        from mlcommons_box.runners.docker import DockerRunner

        return DockerRunner(platform, environ, caller, selinux=False if elsewhere else None, elsewhere=elsewhere)
    if platform.runner == "singularity":
        from mlcommons_box.runners.singularity import SingularityRunner

        return SingularityRunner(platform, environ, caller, elsewhere)
    if platform.runner == "local":
        from mlcommons_box.runners.local import LocalRunner

        return LocalRunner(platform, environ, elsewhere)
    raise ConfigurationError(
        f"the platform {outer.name!r} cannot hand over to {platform.name!r}, which needs the "
        f"{platform.runner} runner",
        hint="use a local, Docker, Podman or Singularity platform there",
    )


def engine_failure(engine: str | None, exit_status: int, said: str) -> str | None:
    """What it means that an engine could not start a task, when that status and those words are such a case."""
    if engine is None:
        return None
    if engine in ("apptainer", "singularity"):
        from mlcommons_box.runners.engine_failures import SINGULARITY_FAILURES
        from mlcommons_box.runners.singularity import is_failure

        failures: tuple[Failure, ...] = SINGULARITY_FAILURES
    else:
        from mlcommons_box.runners.docker import is_failure
        from mlcommons_box.runners.engine_failures import failures_of

        failures = failures_of(engine)
    if not is_failure(exit_status, said.encode()):
        return None
    failure = explained(said, failures)
    return f"{failure.meaning}; {failure.remedy}" if failure else "the engine could not start the task"


def problem_of(error: BoxError, platform: Platform) -> Problem:
    """An error about a platform, as a problem of its file."""
    return Problem(
        code="cannot-run",
        message=error.message,
        location=platform.place,
        hint=error.hint,
        exit_status=error.exit_status,
    )
