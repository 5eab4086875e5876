"""Follows a run that goes on without us, from what it writes and what its queue knows, to its end."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable

from mlcommons_box import process
from mlcommons_box.errors import (
    EX_TEMPORARY,
    EX_TIMED_OUT,
    BoxError,
    CannotCreateError,
    Interrupted,
    PreparationError,
    UnavailableError,
)
from mlcommons_box.host import ConnectionLost, Host
from mlcommons_box.interruption import signals_noted
from mlcommons_box.process import Stream
from mlcommons_box.runners.batch import (
    AT_ONCE,
    KILLED,
    STREAMS,
    BatchBackend,
    DirectoryGone,
    JobState,
    Report,
    Submitted,
    look,
)
from mlcommons_box.runners.failures import tail
from mlcommons_box.runners.interface import Observer, Outcome
from mlcommons_box.runners.job import ENDS, PREPARATION_LOG
from mlcommons_box.shell_script import quoted
from mlcommons_box.value import replace

_LOOK = (0.02, 1.0)
"""Seconds between two looks at a run's directory: at first, and when nothing happens."""
_GROWTH = 1.25
"""So much longer is each pause than the one before: an end is seen within a fifth of the time that it took."""
_ASK = (1.0, 30.0)
"""Seconds between two questions to a queue: at first, and when nothing happens."""
_PATIENCE = 60.0
"""Seconds in which a run that came to its end by itself may be seen to have written how: file systems are slow."""
_OWN_PATIENCE = 3.0
"""The same where its own host says that its process is gone, and writes to a file system of its own."""
_CLEANING_UP = (5.0, 30.0)
"""Seconds in which a queue may need to find out what became of a run that failed, or that a signal ended."""


class Follower:
    """Follows one run to its end, whatever happens to the connection."""

    def __init__(
        self,
        host: Host,
        backend: BatchBackend,
        submitted: Submitted,
        observer: Observer,
        explain: Callable[[int, str], str | None] = lambda status, said: None,
        timeout: float | None = None,
    ) -> None:
        self.host = host
        self.backend = backend
        self.place = host.name if backend.place is None else backend.place
        self.submitted = submitted
        self.observer = observer
        self.explain = explain
        self.timeout = timeout
        self.seen: dict[Stream, int] = dict.fromkeys(STREAMS, 0)
        self.errors = b""
        self._said: str | None = None
        self.never_began = False
        """Whether the run has ended, though what it was for was never begun."""
        self._ends = False
        self._cancelled_at: float | None = None
        self._interrupted_by: int | None = None
        self._fate: Outcome | None = None
        self._doubted_at: float | None = None
        self._doubt_again_at = 0.0

    def follow(self, *, stays: bool = True, ends: bool = False) -> Outcome | None:
        """Show what the run writes until it has ended.

        An interrupt ends the run; with ``stays`` of False only the following.  None is returned when the run goes
        on: then, or when it cannot be reached to be ended and a second interrupt comes.  ``ends`` says that the
        run was asked to end; if it does not, it is killed.
        """
        self._ends = ends
        self._cancelled_at = time.monotonic() if ends else None
        ask_at = time.monotonic() + _ASK[0]
        look_pause, ask_pause = _LOOK[0], _ASK[0]
        ended_at: float | None = None
        state: JobState | None = None
        with signals_noted() as signals:
            while True:
                if signals and self._interrupted_by is None:
                    self._interrupted_by = signals[0]
                    if not stays:
                        return None
                try:
                    if self._is_to_end():
                        self._cancel(force=len(signals) > 1)
                    report = self._look()
                    if any(len(chunk) == AT_ONCE for chunk in report.new.values()):
                        continue  # there is more
                    if any(report.new.values()):
                        look_pause = _LOOK[0]
                    if report.status and not self._goes_on(report.status):
                        return self._outcome(report.status)
                    if report.is_alive is False:
                        ended_at = ended_at or time.monotonic()
                        state = JobState(phase="ended")
                    if report.is_alive is None and time.monotonic() >= ask_at:
                        state = self._ask()
                        ask_pause = min(ask_pause * 1.5, _ASK[1])
                        ask_at = time.monotonic() + ask_pause
                        if state.phase in ("ended", "unknown"):
                            ended_at = ended_at or time.monotonic()
                            ask_at = time.monotonic() + _ASK[0]
                        else:
                            ended_at = None
                    patience = _OWN_PATIENCE if report.is_alive is False else self._patience(state)
                    if ended_at is not None and time.monotonic() - ended_at > patience:
                        return self._without_status(state)
                    self._tell(report, state)
                except Interrupted as interrupted:
                    signals.append(interrupted.signal_number)
                    continue
                except DirectoryGone as error:
                    return Outcome(status="lost", exit_status=EX_TEMPORARY, reason=error.message)
                except ConnectionLost as error:
                    self._say(f"{error.message.splitlines()[0]}; the run goes on, and we try again")
                    look_pause = _LOOK[1]
                    if len(signals) > 1:
                        return None
                time.sleep(look_pause)
                look_pause = min(look_pause * _GROWTH, _LOOK[1])

    def _patience(self, state: JobState | None) -> float:
        """A queue that tells how a run was ended need not be doubted for long."""
        is_known = state is not None and state.outcome is not None and not state.by_itself
        return 2.0 if is_known or (state is not None and self._is_to_end()) else _PATIENCE

    def _is_to_end(self) -> bool:
        return self._ends or self._interrupted_by is not None

    def _look(self) -> Report:
        report = look(self.host, self.submitted.directory, self.seen)
        for stream, chunk in report.new.items():
            self.seen[stream] += len(chunk)
            if chunk:
                self._said = None
                self.observer.prepared()
                self.observer.output(stream, chunk)
        self.errors = (self.errors + report.new["stderr"])[-(1 << 14) :]
        return report

    def _ask(self) -> JobState:
        ids = [self.submitted.id]
        question = self.backend.question(ids)
        if not question:
            return JobState(phase="unknown")
        states = self.backend.states(ids, self.host.shell(question, timeout=60))
        return states.get(self.submitted.id, JobState(phase="unknown"))

    def _tell(self, report: Report, state: JobState | None) -> None:
        if state is not None and state.phase == "waiting":
            self._say(f"waiting in the queue{f' ({state.reason})' if state.reason else ''}")
        elif report.phase == "queued":
            self._say(f"waiting for {self.submitted.id} to begin on {self.place}")
        elif report.phase == "preparing":
            self._say(f"preparing on {self.place}")
        elif self._said is not None:
            self._said = None
            self.observer.prepared()

    def _say(self, what: str) -> None:
        if what != self._said:
            self._said = what
            self.observer.preparing(what)

    def _cancel(self, *, force: bool) -> None:
        now = time.monotonic()
        if self._cancelled_at is None:
            self._cancelled_at = now
            self.host.shell(self.backend.cancellation([self.submitted], at_once=False), timeout=60)
        elif force or now - self._cancelled_at > process.GRACE + 5:
            self._cancelled_at = now
            self.host.shell(self.backend.cancellation([self.submitted], at_once=True), timeout=60)

    def _goes_on(self, status: str) -> bool:
        """Whether the queue begins a run again that has ended, as when a more urgent one took its place.

        Of a run that failed or was ended by a signal, the queue may know why; it needs a moment to find that out.
        """
        is_killed = status in KILLED
        if self._is_to_end() or not (is_killed or re.fullmatch(r"task [1-9][0-9]*", status)):
            return False
        now = time.monotonic()
        if now < self._doubt_again_at:
            return True
        self._doubted_at = self._doubted_at or now
        try:
            state = self._ask()
        except ConnectionLost:
            if is_killed:
                raise
            return False  # what it said itself has to do
        if state.phase == "waiting":
            self._doubted_at, self._doubt_again_at = None, now + _ASK[1]
            return True
        if state.phase == "running" and now - self._doubted_at < _CLEANING_UP[is_killed]:
            return True
        self._fate = None if state.by_itself else state.outcome
        return False

    def _outcome(self, status: str) -> Outcome:
        """What a status file says.  Raises :class:`BoxError` when the task was never started."""
        what, _, number = status.partition(" ")
        if what not in ENDS or not re.fullmatch(r"[0-9]{1,9}", number):
            damaged = f"its status file is damaged: {status[:60]!r}"
            return Outcome(status="lost", exit_status=EX_TEMPORARY, reason=damaged)
        code = int(number)
        if self._fate is not None and self._fate.status != "succeeded":
            is_out_of_memory = self._fate.exit_status == 128 + 9 and what == "task"
            # It only knows that it was ended, the queue knows why.
            return replace(self._fate, exit_status=code) if is_out_of_memory else self._fate
        if what == "cancelled":
            return self._cancelled()
        if what == "time":
            limit = "its time limit" if self.timeout is None else f"{self.timeout:g} s"
            return Outcome(status="failed", exit_status=EX_TIMED_OUT, reason=f"it ran longer than {limit}")
        if what != "task":
            error = self._not_started(what)
            self.never_began = True
            raise error
        reason = self.explain(code, self.errors.decode("utf-8", "replace")) if code else None
        if reason is None and 128 < code <= 128 + 64:
            reason = f"signal {code - 128} ended it"
        return Outcome(status="failed" if code else "succeeded", exit_status=code, reason=reason)

    def _cancelled(self) -> Outcome:
        number = self._interrupted_by or 15
        return Outcome(
            status="cancelled",
            exit_status=128 + number,
            reason="interrupted" if self._interrupted_by else "cancelled",
        )

    def _not_started(self, what: str) -> BoxError:
        said = self.host.shell(
            f"tail -n 12 {quoted(os.path.join(self.submitted.directory, PREPARATION_LOG))} 2>/dev/null", timeout=60
        ).stdout
        shown = tail(said)
        if what == "missing":
            return UnavailableError(
                f"what the run needs is not on {self.place}\n{shown}",
                hint="install it there, or use another platform there",
            )
        if what == "preparation":
            reason = self.explain(1, said.decode("utf-8", "replace"))
            return PreparationError(f"the preparation failed on {self.place}\n{shown}", hint=reason)
        return CannotCreateError(
            f"cannot create directories on {self.place}\n{shown}", hint="free some space there"
        )

    def _without_status(self, state: JobState | None) -> Outcome:
        """The run is over and has not written how: what the queue knows, and never success."""
        if self._is_to_end():
            return self._cancelled()
        if state is not None and state.outcome is not None and state.outcome.status != "succeeded":
            return state.outcome
        reason = (state.reason if state else None) or "its process is gone and has not said how it ended"
        return Outcome(status="lost", exit_status=EX_TEMPORARY, reason=reason)
