"""Drives a runner through one run, and keeps its record: check, create outputs, prepare when it is due, run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from mlcommons_box.errors import (
    EX_CLOSED_OUTPUT,
    EX_INTERRUPTED,
    EX_SOFTWARE,
    BoxError,
    Interrupted,
    MissingInputError,
    PreparationError,
    ProblemsError,
    UsageError,
)
from mlcommons_box.evidence import Evidence
from mlcommons_box.lock import refuse_drift
from mlcommons_box.log_writer import LogWriter
from mlcommons_box.planning import RunPlan, SetupPlan
from mlcommons_box.presence import create_output_directories, missing_inputs, unusable_outputs
from mlcommons_box.record import RunRecord, ended, new_record
from mlcommons_box.run_store import RunStore
from mlcommons_box.runners.identity import Identity
from mlcommons_box.runners.interface import (
    Detachable,
    NotPrepared,
    Observer,
    Outcome,
    Runner,
    StartsMany,
    StillRunning,
)
from mlcommons_box.value import as_data, replace

_AT_ONCE = 250
"""Runs that are started at once: each has two logs open, and Slurm's arrays have a limit."""


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
    """Run a task to its end, record it, and return how it ended.

    Raises :class:`~mlcommons_box.errors.BoxError` for what goes wrong before the task starts; a task that
    fails is an outcome.
    """
    check(plan, runner)
    create_output_directories(plan)
    began = time.monotonic()
    with RecordingObserver(plan, runner, observer) as recording:
        try:
            refuse_drift(plan, runner, partial(runner.prepare, plan, recording))
            try:
                outcome = runner.run(plan, recording)
            except NotPrepared:
                runner.prepare(plan, recording)
                outcome = _run_what_is_prepared(plan, runner, recording)
        except StillRunning:
            raise
        except BaseException as error:
            recording.end(outcome_of_error(error), time.monotonic() - began)
            raise
        recording.end(outcome, time.monotonic() - began)
    return outcome


def _run_what_is_prepared(plan: RunPlan, runner: Runner, observer: Observer) -> Outcome:
    try:
        return runner.run(plan, observer)
    except NotPrepared:
        raise PreparationError(
            "what the run needs was prepared, and yet is not there",
            hint="does the preparation change build/ itself, or does something else remove what it makes?",
        ) from None


def detach(plan: RunPlan, runner: Runner, observer: Observer) -> None:
    """Start a task that goes on without us.  Raises :class:`~mlcommons_box.errors.BoxError`."""
    if isinstance(runner, Detachable):  # or else it is refused, whatever is wrong besides
        check(plan, runner)
    _detach(plan, runner, observer)


def _detach(plan: RunPlan, runner: Runner, observer: Observer) -> None:
    if not isinstance(runner, Detachable):
        raise UsageError(
            f"a run with the {plan.platform.runner} runner ends with the command that started it",
            hint="leave out --detach, or use a platform of SSH or Slurm",
        )
    create_output_directories(plan)
    began = time.monotonic()
    with RecordingObserver(plan, runner, observer) as recording:
        try:
            refuse_drift(plan, runner, partial(runner.prepare, plan, recording))
            runner.start(plan, recording)
        except BaseException as error:
            recording.end(outcome_of_error(error), time.monotonic() - began)
            raise
        recording.left()


def detach_all(plans: Sequence[RunPlan], runner: Runner, observer: Observer) -> None:
    """Start tasks that go on without us, all at once where the runner can."""
    for plan in plans:
        check(plan, runner)
    if not isinstance(runner, StartsMany):
        for plan in plans:
            _detach(plan, runner, observer)
        return
    for first in range(0, len(plans), _AT_ONCE):
        part = plans[first : first + _AT_ONCE]
        began = time.monotonic()
        with ExitStack() as stack:
            for plan in part:
                create_output_directories(plan)
            recordings = [stack.enter_context(RecordingObserver(plan, runner, observer)) for plan in part]
            try:
                runner.start_all(part, recordings)
            except BaseException as error:
                for recording in recordings:
                    if recording.record.native_id is None:
                        recording.end(outcome_of_error(error), time.monotonic() - began)
                raise
            for recording in recordings:
                recording.left()


def outcome_of_error(error: BaseException) -> Outcome:
    """How a run ended that an error ended; the exit status is that of the command."""
    if isinstance(error, Interrupted):
        return Outcome(status="cancelled", exit_status=error.exit_status, reason=error.message)
    if isinstance(error, BoxError):
        return Outcome(status="failed", exit_status=error.exit_status, reason=error.message)
    if isinstance(error, KeyboardInterrupt):
        return Outcome(status="cancelled", exit_status=EX_INTERRUPTED, reason="interrupted")
    if isinstance(error, BrokenPipeError):
        return Outcome(status="cancelled", exit_status=EX_CLOSED_OUTPUT, reason="nobody read its output any more")
    return Outcome(status="failed", exit_status=EX_SOFTWARE, reason=f"{type(error).__name__}: {error}")


class RecordingObserver(LogWriter):
    """Passes everything on to another observer, and keeps the run's record and logs meanwhile."""

    def __init__(self, plan: RunPlan, runner: Runner, observer: Observer) -> None:
        super().__init__(RunStore(plan.workspace), plan.id, observer)
        self.record: RunRecord = new_record(plan, runner.commands(plan))
        self.evidence = Evidence(plan, runner, self.store)
        self._detaches = isinstance(runner, Detachable)

    def __enter__(self) -> RecordingObserver:
        self.evidence.before()
        self.store.begin(self.record)
        self.evidence.starts()
        return self

    def end(self, outcome: Outcome, duration: float) -> None:
        """The run has ended."""
        self.record = ended(
            replace(
                self.record,
                **self._proof(outcome.identity),
                usage={} if outcome.usage is None else as_data(outcome.usage),
            ),
            outcome.status,
            exit_status=outcome.exit_status,
            reason=outcome.reason,
            duration=duration,
        )
        self.store.write(self.record)

    def left(self) -> None:
        """The run goes on by itself: write down what is known by now."""
        self.record = replace(self.record, **self.evidence.at_start())
        self.store.write(self.record)

    def _proof(self, seen: Identity | None) -> dict[str, Any]:
        """What was found out; whoever does not want to wait for it interrupts once more."""
        try:
            found = self.evidence.at_end()
        except (BoxError, KeyboardInterrupt) as error:
            found = {"unproved": getattr(error, "message", None) or "interrupted while its files were hashed"}
        if seen is not None:
            for name, value in (("image", seen.image), ("engine", seen.engine), ("machine", seen.machine)):
                found[name] = {**found.get(name, {}), **value}
        return found

    def started(self, native_id: str) -> None:
        self.evidence.begin()
        self.record = replace(self.record, native_id=native_id, detached=self._detaches)
        self.store.write(self.record)
        super().started(native_id)
