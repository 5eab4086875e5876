"""What a runner is.

A runner executes plans on one kind of engine.  It is built from a platform; building it does no work.  To write
one: implement :class:`Runner`, and name the class in an entry point of the group ``mlcommons_box.runners``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from mlcommons_box.errors import Problem
from mlcommons_box.planning import RunPlan, SetupPlan
from mlcommons_box.process import Command, Stream

Status = Literal["succeeded", "failed", "cancelled", "lost"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended.

    ``exit_status`` is the task's own; 124 when it ran out of time, 128 plus the signal's number when a signal
    ended it.  A status that could not be learned is ``lost``, never ``succeeded``.  ``reason`` says in words
    what the exit status does not.
    """

    status: Status
    exit_status: int
    reason: str | None = None


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


class Runner(Protocol):
    """Executes plans on one kind of engine."""

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
        """Run the task to its end.  On an interrupt everything that was started is stopped first."""
