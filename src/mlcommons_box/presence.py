"""Whether what a plan reads is there, and what it writes has a place."""

from __future__ import annotations

import os
from pathlib import Path

from mlcommons_box.errors import EX_CANNOT_CREATE, EX_MISSING_INPUT, CannotCreateError, Problem
from mlcommons_box.planning import BoundParameter, RunPlan


def missing_inputs(parameters: tuple[BoundParameter, ...]) -> list[Problem]:
    """A problem for every input that does not exist or is not of its declared type."""
    problems = []
    for parameter in parameters:
        if parameter.direction != "input" or parameter.elsewhere:
            continue
        wanted = os.path.isdir if parameter.type == "directory" else os.path.isfile
        if wanted(parameter.path):
            continue
        if not os.path.lexists(parameter.path):
            what = "does not exist"
        elif not parameter.path.exists():
            what = "is a link to something that does not exist"
        else:
            what = f"is not a {parameter.type}"
        problems.append(
            Problem(
                code="missing-input",
                message=f"the input {parameter.name!r} {what}: {str(parameter.path)!r}",
                location=parameter.location,
                hint=_elsewhere(parameter),
                exit_status=EX_MISSING_INPUT,
            )
        )
    return problems


def _elsewhere(parameter: BoundParameter) -> str | None:
    """Relative paths are relative to the workspace; a path that exists from here may be what was meant."""
    if parameter.location is not None:
        return None
    here = Path.cwd() / parameter.path.name
    return f"relative paths are relative to the workspace; did you mean {str(here)!r}?" if here.exists() else None


def unusable_outputs(parameters: tuple[BoundParameter, ...]) -> list[Problem]:
    """A problem for every output whose place is taken by something of the other type."""
    problems = []
    for parameter in parameters:
        if parameter.direction != "output" or parameter.elsewhere or not os.path.lexists(parameter.path):
            continue
        is_directory = os.path.isdir(parameter.path)
        if is_directory == (parameter.type == "directory"):
            continue
        found = "a directory" if is_directory else "not a directory"
        problems.append(
            Problem(
                code="unusable-output",
                message=f"the output {parameter.name!r} is a {parameter.type}, but there is {found} in its place: "
                f"{str(parameter.path)!r}",
                location=parameter.location,
                exit_status=EX_CANNOT_CREATE,
            )
        )
    return problems


def create_output_directories(plan: RunPlan) -> None:
    """Create the directory of every output, owned by the caller; raises :class:`CannotCreateError`."""
    for output in (each for each in plan.outputs if not each.elsewhere):
        try:
            output.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotCreateError(
                f"cannot create the directory {str(output.directory)!r} for the output {output.name!r}: "
                f"{error.strerror}"
            ) from error
