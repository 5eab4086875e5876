"""One preparation for runs that need the same and start at the same time, whether it ends well or not."""

from __future__ import annotations

import copy
import threading

from mlcommons_box.errors import BoxError
from mlcommons_box.planning import RunPlan, SetupPlan
from mlcommons_box.runners.interface import Observer, Outcome, Runner


def sharing(runner: Runner) -> Runner:
    """A runner like another, that several threads can use: when one has prepared, the others need not.

    A run that finds that something is missing, while another run prepares it, waits for that; if it fails, so do
    all that wait for it, in place of trying the same again one after the other.
    """
    shared = copy.copy(runner)
    preparation = _Preparation(runner)
    setattr(shared, "run", preparation.run)  # noqa: B010  # it stays of its own class, which says what it can do
    setattr(shared, "prepare", preparation.prepare)  # noqa: B010
    return shared


class _Preparation:
    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._lock = threading.Lock()
        self._rounds = 0
        self._failure: BoxError | None = None
        self._seen = threading.local()

    def run(self, plan: RunPlan, observer: Observer) -> Outcome:
        self._seen.rounds = self._rounds
        return self._runner.run(plan, observer)

    def prepare(self, plan: SetupPlan, observer: Observer) -> None:
        if not self._lock.acquire(blocking=False):
            observer.preparing("waiting: another run prepares the same")
            self._lock.acquire()
            observer.prepared()
        try:
            if self._rounds == getattr(self._seen, "rounds", self._rounds):
                self._prepare(plan, observer)
            elif self._failure is not None:
                raise self._failure
        finally:
            self._lock.release()

    def _prepare(self, plan: SetupPlan, observer: Observer) -> None:
        self._failure = None
        try:
            self._runner.prepare(plan, observer)
        except BoxError as error:
            self._failure = error
            raise
        finally:
            self._rounds += 1
