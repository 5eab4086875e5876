"""What a runner is.

A runner executes plans on one kind of engine.  It is built from a platform; building it does no work.  To write
one: implement :class:`Runner`, and name the class in an entry point of the group ``mlcommons_box.runners``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from mlcommons_box.command import Command
from mlcommons_box.errors import EX_TEMPORARY, EX_TIMED_OUT, BoxError, Problem
from mlcommons_box.planning import RunPlan, SetupPlan
from mlcommons_box.process import Completed, Stream, Usage
from mlcommons_box.runners.identity import Identity
from mlcommons_box.value import Value, aside

Status = Literal["succeeded", "failed", "cancelled", "lost"]


class Outcome(Value):
    """How a run ended.

    ``exit_status`` is the task's own; 124 when it ran out of time, 128 plus the signal's number when a signal
    ended it.  A status that could not be learned is ``lost``, never ``succeeded``.  ``reason`` says in words
    what the exit status does not.  ``usage`` is known where the task was a process of this machine's, and ours.
    ``identity`` is what the run was in, if only the runner could see it, and only while it went on.
    """

    status: Status
    exit_status: int
    reason: str | None = None
    usage: Usage | None = aside(default=None)
    identity: Identity | None = aside(default=None)


class NotPrepared(Exception):
    """What a run needs is not there yet; nothing of the task was started.  ``prepare``, then run again."""


class StillRunning(BoxError):
    """The run goes on without us, where nobody can be asked to end it now."""

    exit_status = EX_TEMPORARY

    def __init__(self, run_id: str, host: str) -> None:
        super().__init__(
            f"the run goes on, on {host}, which cannot be reached",
            hint=f"'mlbox wait {run_id}' comes back to it, and 'mlbox cancel {run_id}' ends it",
        )


def outcome_of(completed: Completed, timeout: float | None) -> Outcome:
    """How a run ended whose task was one process, or whose client passes on the task's exit status."""
    status = completed.exit_status
    if completed.interrupted_by is not None:
        return Outcome(status="cancelled", exit_status=128 + completed.interrupted_by, reason="interrupted")
    if completed.timed_out:
        return Outcome(status="failed", exit_status=EX_TIMED_OUT, reason=f"it ran longer than {timeout or 0:g} s")
    reason = f"signal {status - 128} ended it" if 128 < status <= 128 + 64 else None
    if completed.left_behind:
        count = completed.left_behind
        left = "a process" if count == 1 else f"{count} processes"
        reason = f"it left {left} running, which we ended"
    return Outcome(status="failed" if status else "succeeded", exit_status=status, reason=reason)


class Observer(Protocol):
    """Who is told what happens, while it happens."""

    def preparing(self, what: str) -> None:
        """A step of the preparation begins."""

    def preparation_output(self, chunk: bytes) -> None:
        """A tool that prepares wrote something."""

    def prepared(self) -> None:
        """The preparation has ended, well or not."""

    def started(self, native_id: str) -> None:
        """The task runs; ``native_id`` is what the engine calls it (a process id, a container, a job)."""

    def output(self, stream: Stream, chunk: bytes) -> None:
        """The task wrote something."""


class Unheard:
    """An observer that is told everything, and keeps nothing."""

    def preparing(self, what: str) -> None:
        pass

    def preparation_output(self, chunk: bytes) -> None:
        pass

    def prepared(self) -> None:
        pass

    def started(self, native_id: str) -> None:
        pass

    def output(self, stream: Stream, chunk: bytes) -> None:
        pass


class PassesOn:
    """An observer that tells another one everything."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer

    def preparing(self, what: str) -> None:
        self.observer.preparing(what)

    def preparation_output(self, chunk: bytes) -> None:
        self.observer.preparation_output(chunk)

    def prepared(self) -> None:
        self.observer.prepared()

    def started(self, native_id: str) -> None:
        self.observer.started(native_id)

    def output(self, stream: Stream, chunk: bytes) -> None:
        self.observer.output(stream, chunk)


class Runner(Protocol):
    """Executes plans on one kind of engine."""

    def is_available(self, plan: SetupPlan) -> bool:
        """Whether it is worth a try, where nobody has said which platform to use.  Quick; starts nothing."""

    def check(self, plan: SetupPlan) -> list[Problem]:
        """What stands in the way: a tool that is missing, a part of the plan that is not supported.

        No side effects.
        """

    def notes(self, plan: SetupPlan) -> list[str]:
        """What the user should know before this plan runs here; empty when there is nothing unusual."""

    def commands(self, plan: SetupPlan) -> list[Command]:
        """Every command that would be started now, those of a preparation that is still due first.  Pure."""

    def prepare(self, plan: SetupPlan, observer: Observer) -> None:
        """Build, pull or copy what the platform needs; nothing when that was done.

        Safe to interrupt; two at once on one machine do the work once.  Raises
        :class:`~mlcommons_box.errors.PreparationError`.
        """

    def built(self, plan: SetupPlan) -> list[Path]:
        """What preparations left on this machine's disk and can make again; empty when nothing is there."""

    def run(self, plan: RunPlan, observer: Observer) -> Outcome:
        """Run the task to its end.  On an interrupt everything that was started is stopped first.

        Raises :class:`NotPrepared` when the preparation is due, and
        :class:`~mlcommons_box.errors.UnavailableError` when the engine itself fails.
        """


@runtime_checkable
class Detachable(Protocol):
    """A runner whose runs go on without us, and are written down as :mod:`.submitted_run` has it."""

    def start(self, plan: RunPlan, observer: Observer) -> None:
        """Start a run, and leave it to itself."""


@runtime_checkable
class Identifiable(Protocol):
    """A runner that can say what a run uses."""

    def identity(self, plan: SetupPlan) -> Identity:
        """The image or environment of a run, and the engine; asks it, and is called while the run goes on."""


@runtime_checkable
class StartsMany(Detachable, Protocol):
    """A runner that can start many runs at once."""

    def start_all(self, plans: Sequence[RunPlan], observers: Sequence[Observer]) -> None:
        """Start runs of one platform, each with its own observer, and leave them to themselves."""
