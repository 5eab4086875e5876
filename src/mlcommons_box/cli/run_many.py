"""Runs the runs of a pipeline, and shows or tells what happens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mlcommons_box.cli.progress import OneByOne, Progress, SideBySide
from mlcommons_box.cli.terminal import Terminal
from mlcommons_box.crew import Ended
from mlcommons_box.errors import BoxError, MissingInputError, UsageError
from mlcommons_box.pipeline import Pipeline
from mlcommons_box.planning import RunPlan
from mlcommons_box.presence import missing_inputs
from mlcommons_box.runners.interface import Runner
from mlcommons_box.scheduling import exit_status, run_all

if TYPE_CHECKING:
    from mlcommons_box.standstill import Picture, Standstill

_DESCRIPTORS = 12
"""Files that a run has open at most: its pipes, its logs, and what waits for it."""


def run_many(
    pipeline: Pipeline,
    runner: Runner,
    terminal: Terminal,
    *,
    at_once: int,
    keep_going: bool,
    standstill: Standstill | None,
    as_json: bool,
) -> int:
    """Run all of them and return the exit status.  Raises what keeps them from being started at all.

    With a ``standstill``, what is up to date is left out; when all is in the end, it is remembered.
    What ended the only run, a defect of ours, and a reader of our output who has left, are raised too.
    """
    plans = pipeline.plans
    at_once = min(at_once, len(plans))
    _check_descriptors(at_once)
    if not keep_going and len(plans) > 1:
        _check_inputs(pipeline)
    picture = None if standstill is None else standstill.picture(plans)
    is_unchanged = _unchanged(plans, runner) if standstill else lambda plan: None
    with _progress(plans, runner, terminal, at_once, as_json=as_json) as progress:
        ends = run_all(
            plans,
            runner,
            jobs=at_once,
            keep_going=keep_going,
            observer_for=progress.observer_for,
            on_event=progress.on_event,
            is_unchanged=is_unchanged,
        )
    progress.finish(ends)
    if standstill is not None:
        _remember(standstill, picture, ends, plans, runner)
    for each in ends:
        if each.error is not None and (len(plans) == 1 or not isinstance(each.error, BoxError)):
            raise each.error
    return exit_status(ends)


def _remember(
    standstill: Standstill, before: Picture | None, ends: Sequence[Ended], plans: Sequence[RunPlan], runner: Runner
) -> None:
    """Remember how things stand, if all is up to date: when something has just run, all is looked at once more."""
    if all(each.state == "unchanged" for each in ends):
        picture, reasons = before, {each.plan.run: each.reason for each in ends}
    elif all(each.state in ("unchanged", "succeeded") for each in ends):
        picture, is_unchanged = standstill.picture(plans), _unchanged(plans, runner)
        reasons = {} if picture is None else {plan.run: is_unchanged(plan) for plan in plans}
    else:
        return
    known = [(run, reason) for run, reason in reasons.items() if reason]
    if picture is not None and len(known) == len(reasons):
        standstill.keep(picture, known)


def _progress(
    plans: Sequence[RunPlan], runner: Runner, terminal: Terminal, at_once: int, *, as_json: bool
) -> Progress:
    if as_json:
        from mlcommons_box.cli.progress_json import JsonLines

        return JsonLines(terminal, len(plans))
    if at_once > 1:
        return SideBySide(terminal, runner, plans, at_once)
    return OneByOne(terminal, runner, len(plans))


def _unchanged(plans: Sequence[RunPlan], runner: Runner) -> Callable[[RunPlan], str | None]:
    """What says of a plan why it need not run."""
    from mlcommons_box.run_store import RunStore
    from mlcommons_box.up_to_date import Checker, LastRuns

    checker = Checker(runner, LastRuns(RunStore(plans[0].workspace)))
    return lambda plan: checker.check(plan).reason


def _check_inputs(pipeline: Pipeline) -> None:
    """Raise when something is missing that no run makes: better now than after hours."""
    missing = []
    for number in pipeline.order:
        inputs = pipeline.plans[number].inputs
        missing += missing_inputs(tuple(each for each in inputs if not pipeline.is_made(number, each)))
    if missing:
        raise MissingInputError(missing)


def _check_descriptors(at_once: int) -> None:
    import resource

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if at_once > 1 and limit != resource.RLIM_INFINITY and at_once * _DESCRIPTORS > limit:
        raise UsageError(
            f"{at_once} runs at a time need more open files than the {limit} that this shell allows",
            hint=f"run at most {max(1, limit // _DESCRIPTORS)} at a time, or raise the limit with 'ulimit -n'",
        )
