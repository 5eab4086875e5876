"""Does what has to be done for one run of many, in this thread or in one of several, and tells how it ended."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, TypeAlias

from mlcommons_box import execution
from mlcommons_box.errors import Interrupted
from mlcommons_box.interruption import Relay, raise_when_told, signals_until_now
from mlcommons_box.planning import RunPlan
from mlcommons_box.runners.interface import Observer, Outcome, Runner, StillRunning
from mlcommons_box.value import Value, aside, replace

EndState = Literal["succeeded", "failed", "cancelled", "lost", "unchanged", "not started"]
EventKind = Literal["planned", "started", "unchanged", "ended", "not started"]

_AWAKE = 0.2
"""Seconds."""
_FAILURES: tuple[EndState, ...] = ("failed", "cancelled", "lost")
"""The states of a run that began and whose outputs cannot be relied on."""


class Ended(Value):
    """How a run of many ended; ``plan`` is the one that was executed.

    ``outcome`` is None for a run that was left out.  ``reason`` says in words what the rest does not.
    ``interrupted`` says that it ended so, or did not start, because we were asked to stop.  ``error`` is what kept
    the task from being started or followed.
    """

    plan: RunPlan
    state: EndState
    outcome: Outcome | None = None
    duration: float = 0.0
    reason: str | None = None
    interrupted: bool = False
    error: BaseException | None = aside(default=None)

    @property
    def is_failure(self) -> bool:
        """Whether it began, and not to a good end."""
        return self.state in _FAILURES


class Event(Value):
    """Something that happened to a run, ``at`` seconds since the epoch; ``ended`` says how it came to an end."""

    kind: EventKind
    plan: RunPlan
    at: float
    ended: Ended | None = None


Execute: TypeAlias = Callable[[RunPlan, Runner, Observer], Outcome]


class Work:
    """What is done for one run, in whichever thread."""

    def __init__(
        self,
        runner: Runner,
        is_unchanged: Callable[[RunPlan], str | None],
        adapt: Callable[[RunPlan], RunPlan],
        observer_for: Callable[[RunPlan], Observer],
        execute: Execute,
        after: Callable[[Ended], None],
    ) -> None:
        self.runner = runner
        self.is_unchanged = is_unchanged
        self.adapt = adapt
        self.observer_for = observer_for
        self.execute = execute
        self.after = after

    def do(self, plan: RunPlan, tell: Callable[[Event], None]) -> Ended:
        """Do it; whatever goes wrong is part of the answer."""
        began = time.monotonic()
        signals = signals_until_now()
        ended: Ended | None = None
        try:
            unchanged = self.is_unchanged(plan)
            if unchanged is not None:
                ended = Ended(plan=plan, state="unchanged", reason=unchanged)
            else:
                plan = self.adapt(plan)
                raise_when_told(signals)  # though what was asked before may have passed over it
                tell(Event(kind="started", plan=plan, at=time.time()))
                outcome = self.execute(plan, self.runner, self.observer_for(plan))
                ended = Ended(plan=plan, state=outcome.status, outcome=outcome, reason=outcome.reason)
        except BaseException as error:  # also an interrupt: nothing may keep the others from their end
            ended = _failed(plan, error)
        ended = replace(ended, duration=time.monotonic() - began)
        if ended.state == "cancelled" and signals_until_now() > signals:
            ended = replace(ended, interrupted=True)
        try:
            self.after(ended)
        except BaseException as error:
            ended = replace(_failed(plan, error), duration=ended.duration)
        return ended


def _failed(plan: RunPlan, error: BaseException) -> Ended:
    """How a run ended that an error ended."""
    outcome = execution.outcome_of_error(error)
    if isinstance(error, StillRunning):
        outcome = replace(outcome, status="lost")
    stops = isinstance(error, Interrupted | KeyboardInterrupt | BrokenPipeError)
    state: EndState = outcome.status
    return Ended(plan=plan, state=state, outcome=outcome, reason=outcome.reason, interrupted=stops, error=error)


class Crew:
    """Threads that do the work, and tell what happens."""

    def __init__(self, size: int, work: Work) -> None:
        self.size = size
        self.relay = Relay()
        self.news: queue.SimpleQueue[Event | tuple[int, Ended]] = queue.SimpleQueue()
        self._orders: queue.SimpleQueue[tuple[int, RunPlan] | None] = queue.SimpleQueue()
        self._work = work
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(size)]

    def __enter__(self) -> Crew:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for _thread in self._threads:
            self._orders.put(None)
        for thread in self._threads:
            thread.join()

    def begin(self, number: int, plan: RunPlan) -> None:
        """Have a run done by the next thread that is free."""
        self._orders.put((number, plan))

    def hear(self) -> Event | tuple[int, Ended]:
        """What happens next.

        Python may overlook a signal that comes just before it waits, until something wakes it.
        """
        while True:
            with suppress(queue.Empty):
                return self.news.get(timeout=_AWAKE)

    def _serve(self) -> None:
        with self.relay.heard():
            while (order := self._orders.get()) is not None:
                number, plan = order
                self.news.put((number, self._work.do(plan, self.news.put)))
