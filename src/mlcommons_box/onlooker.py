"""Who is told how a sweep goes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from mlcommons_box.crew import Event
from mlcommons_box.errors import (
    BoxError,
)
from mlcommons_box.planning import RunPlan
from mlcommons_box.record import RunRecord
from mlcommons_box.runners.interface import Observer

if TYPE_CHECKING:
    pass


class TrialWatcher(Protocol):
    """Who is told of trials that run here, at most some of them at a time."""

    def add(self, numbers: Mapping[str, int]) -> None:
        """These are about to run: the numbers of trials, by the ids of their runs."""

    def observer_for(self, plan: RunPlan) -> Observer:
        """Who is told what happens in one trial."""

    def on_event(self, event: Event) -> None:
        """Something happened to one trial."""

    def waits(self, plan: RunPlan, devices: int) -> None:
        """A trial waits until so many GPUs are free."""


class Onlooker(Protocol):
    """Who is told what a sweep does."""

    def step(self, message: str) -> None:
        """Something begins."""

    def success(self, message: str) -> None:
        """Something has come to a good end."""

    def note(self, message: str) -> None:
        """Something worth knowing."""

    def failure(self, error: BoxError) -> None:
        """What kept the only trial from being started."""

    def ended(self, number: object, record: RunRecord) -> None:
        """A trial that went on without us has ended."""

    def observer(self) -> Observer:
        """Who is told how trials are started that go on without us."""

    def watching(self, total: int, at_once: int) -> AbstractContextManager[TrialWatcher]:
        """Who is told of trials that run here."""
