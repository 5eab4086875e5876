"""Drives a runner through one run: check, prepare, create outputs, run."""

from __future__ import annotations

from mlcommons_box.errors import CannotCreateError, MissingInputError, ProblemsError
from mlcommons_box.planning import RunPlan, SetupPlan, missing_inputs, unusable_outputs
from mlcommons_box.runners.interface import Observer, Outcome, Runner


def check(plan: RunPlan, runner: Runner) -> None:
    """Raise with everything that stands in the way of a run; no side effects."""
    missing = missing_inputs(plan.parameters)
    problems = [*runner.check(plan), *unusable_outputs(plan.parameters)]
    if problems:
        raise ProblemsError([*problems, *missing])
    if missing:
        raise MissingInputError(missing)


def check_platform(plan: SetupPlan, runner: Runner) -> None:
    """Raise when the platform cannot do what the plan asks for; no side effects."""
    problems = runner.check(plan)
    if problems:
        raise ProblemsError(problems)


def configure(plan: SetupPlan, runner: Runner, observer: Observer) -> None:
    """Prepare what the platform needs, before any task runs."""
    check_platform(plan, runner)
    runner.prepare(plan, observer)


def execute(plan: RunPlan, runner: Runner, observer: Observer) -> Outcome:
    """Run a task to its end and return how it ended.

    Raises :class:`~mlcommons_box.errors.BoxError` for what goes wrong before the task starts; a task that
    fails is an outcome.
    """
    check(plan, runner)
    runner.prepare(plan, observer)
    create_output_directories(plan)
    return runner.run(plan, observer)


def create_output_directories(plan: RunPlan) -> None:
    """Create the directory of every output, owned by the caller; raises :class:`CannotCreateError`."""
    for output in plan.outputs:
        try:
            output.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotCreateError(
                f"cannot create the directory {str(output.directory)!r} for the output {output.name!r}: "
                f"{error.strerror}"
            ) from error
