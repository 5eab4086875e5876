"""The one submit, poll and collect loop for runs that go on without us: on another host, or in a queue.

A run has a directory where its files are: ``job.sh``, the logs, and how it ended (:mod:`.job`).  That is where its
state is learned; what starts it and knows of it before it runs is a :class:`BatchBackend`.  Nothing is started
twice: the run's directory says that it was.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

from mlcommons_box.errors import (
    EX_CANNOT_CREATE,
    EX_TIMED_OUT,
    BoxError,
    CannotCreateError,
    Interrupted,
    PreparationError,
    UnavailableError,
)
from mlcommons_box.host import ConnectionLost, Host, quoted
from mlcommons_box.process import GRACE, Answer, Stream, signals_noted
from mlcommons_box.runners.failures import tail
from mlcommons_box.runners.interface import Observer, Outcome
from mlcommons_box.runners.job import ENDS, PREPARATION_LOG, SCRIPT_FILE, STATUS_FILE
from mlcommons_box.value import Value

_STREAMS: tuple[Stream, ...] = ("stdout", "stderr")
_AT_ONCE = 1 << 22
"""Bytes of each log that one look brings, at most."""
_LOOK = (0.05, 1.0)
"""Seconds between two looks at a run's directory: at first, and when nothing happens."""
_ASK = (1.0, 30.0)
"""Seconds between two questions to a queue: at first, and when nothing happens."""
_PATIENCE = 20.0
"""Seconds in which a run that the queue says has ended may still write down how: file systems are slow."""
_END = "MLBOX_END_OF_SCRIPT"
_SUBMITTED_BY_NOW = 30
"""Tenths of a second in which a submission that another process has begun is waited for."""


_ALIVE = """\
alive=unknown
if [ -s process ]; then
  alive=no
  read -r pid boot <process
  if [ "$boot" = "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)" ] && kill -0 "$pid" 2>/dev/null; then
    alive=yes
  fi
fi"""
"""Says whether the process of the current directory's run lives; without one, a queue has to be asked."""


_PHASES: Mapping[bytes, Literal["queued", "preparing", "running"]] = {
    b"queued": "queued",
    b"preparing": "preparing",
    b"running": "running",
}


class JobState(Value):
    """What a queue knows of a run: ``ended`` with how, where it knows; ``reason`` is in its own words."""

    phase: Literal["waiting", "running", "ended", "unknown"]
    outcome: Outcome | None = None
    reason: str | None = None


class BatchBackend(Protocol):
    """One kind of queue.  Pure: shell text for the host that has the queue, and the reading of what it says."""

    name: str

    def submission(self, directory: str, run_id: str) -> str:
        """Starts ``job.sh`` in the current directory, the run's own, and prints the native id."""

    def native_id(self, said: str) -> str:
        """The id in what a submission said; raises :class:`ValueError` when there is none."""

    def question(self, ids: Sequence[str]) -> str:
        """Asks for the state of all the runs at once; empty where the run's directory tells all."""

    def states(self, ids: Sequence[str], answer: Answer) -> Mapping[str, JobState]:
        """What the queue answered.  Raises :class:`ConnectionLost` when it did not: the runs go on meanwhile."""

    def cancellation(self, ids: Sequence[str], *, at_once: bool) -> str:
        """Asks the runs to end, or ends them ``at_once``."""

    def refused(self, answer: Answer) -> BoxError:
        """What it means that a submission failed."""


class Submitted(Value):
    """A run that was started: its id in the queue, and its directory on the queue's host."""

    id: str
    directory: str


class Report(Value):
    """One look at a run's directory."""

    status: str = ""
    is_alive: bool | None = None
    phase: Literal["queued", "preparing", "running"] = "queued"
    new: Mapping[Stream, bytes]


def submit(host: Host, backend: BatchBackend, directory: str, run_id: str, script: str) -> Submitted:
    """Start a run, unless that was done.  Raises :class:`BoxError` when it cannot be started."""
    prepared = host.shell(
        f"umask 077; mkdir -p -- {quoted(directory)} && cd -- {quoted(directory)} || exit 73\n"
        f"[ -d started ] || cat >{SCRIPT_FILE}.partial <<'{_END}' || exit 73\n{script}{_END}\n"
        f"[ -d started ] || mv -f {SCRIPT_FILE}.partial {SCRIPT_FILE}\n"
    )
    if not prepared.succeeded:
        raise CannotCreateError(
            f"cannot write the run's directory {directory!r} on {host.name}\n{tail(prepared.stderr)}",
            hint="free some space there, or name another 'directory' in the platform file",
        )
    answer = host.shell(
        f"cd -- {quoted(directory)} || exit 73\n"
        "submit() {\n"
        f"{backend.submission(directory, run_id)}\n"
        "}\n"
        "if mkdir started 2>/dev/null; then\n"
        "  submit >id.partial\n"
        "  status=$?\n"
        '  [ "$status" = 0 ] || { rmdir started; exit "$status"; }\n'
        "  mv -f id.partial id\n"
        "fi\n"
        f"tries={_SUBMITTED_BY_NOW}\n"
        'while [ ! -s id ] && [ "$tries" -gt 0 ]; do sleep 0.1; tries=$((tries - 1)); done\n'
        "cat id\n"
    )
    if not answer.succeeded:
        raise backend.refused(answer)
    try:
        return Submitted(id=backend.native_id(answer.stdout.decode("utf-8", "replace")), directory=directory)
    except ValueError as error:
        raise UnavailableError(
            f"{backend.name} on {host.name} did not say what the run is called: {error}"
        ) from error


def look(host: Host, directory: str, seen: Mapping[Stream, int]) -> Report:
    """What a run has written since ``seen`` bytes of each log, and whether it has ended.

    Raises :class:`UnavailableError` when its directory is gone.
    """
    lines = [
        f"cd -- {quoted(directory)} 2>/dev/null || exit 73",
        _ALIVE,
        f"status=$(cat {STATUS_FILE} 2>/dev/null)",  # before the logs, so that those are complete once it is there
        'size() { if [ -f "$1" ]; then wc -c <"$1"; else echo 0; fi; }',
        "out=$(size stdout.log) err=$(size stderr.log)",
        "phase=queued; [ -f began ] && phase=preparing; [ -f stdout.log ] && phase=running",
        'printf "%s\\n%s %s %s %s\\n" "$status" "$alive" "$phase" "$out" "$err"',
    ]
    for stream, size in zip(_STREAMS, ("out", "err"), strict=True):
        lines += [
            f"new=$(({size} - {seen[stream]}))",
            f'[ "$new" -le {_AT_ONCE} ] || new={_AT_ONCE}',
            f'[ "$new" -le 0 ] || tail -c +{seen[stream] + 1} {stream}.log | head -c "$new"',
        ]
    answer = host.shell("\n".join(lines) + "\n", timeout=60)
    if answer.completed.exit_status == EX_CANNOT_CREATE:
        raise UnavailableError(f"the run's directory {directory!r} is gone from {host.name}")
    status, _, rest = answer.stdout.partition(b"\n")
    line, _, content = rest.partition(b"\n")
    words = line.split()
    if not answer.succeeded or len(words) != len(("alive", "phase", *_STREAMS)):
        raise UnavailableError(f"{host.name} did not say how the run is\n{tail(answer.stderr)}")
    new: dict[Stream, bytes] = {}
    for stream, written in zip(_STREAMS, words[2:], strict=True):
        length = min(max(int(written) - seen[stream], 0), _AT_ONCE)
        new[stream], content = content[:length], content[length:]
    return Report(
        status=status.decode("ascii", "replace"),
        is_alive={b"yes": True, b"no": False}.get(words[0]),
        phase=_PHASES.get(words[1], "queued"),
        new=new,
    )


def survey(host: Host, backend: BatchBackend, directories: Mapping[str, str]) -> dict[str, JobState]:
    """How runs are, by their native ids, each of which has a directory: one question for all of them.

    Raises :class:`UnavailableError` when the host or the queue does not answer.
    """
    ids = list(directories)
    lines = []
    for directory in directories.values():
        lines += [
            f"if cd -- {quoted(directory)} 2>/dev/null; then",
            _ALIVE,
            f'printf "%s %s\\n" "$alive" "$(cat {STATUS_FILE} 2>/dev/null)"',
            "else echo gone; fi",
        ]
    answer = host.shell("\n".join(lines) + "\n", timeout=60)
    said = answer.stdout.decode("utf-8", "replace").splitlines()
    if not answer.succeeded or len(said) != len(ids):
        raise UnavailableError(f"{host.name} did not say how the runs are\n{tail(answer.stderr)}")
    states: dict[str, JobState] = {}
    for native_id, line in zip(ids, said, strict=True):
        alive, _, status = line.partition(" ")
        if status or alive in ("no", "gone"):
            states[native_id] = JobState(phase="ended")
        elif alive == "yes":
            states[native_id] = JobState(phase="running")
    asked = [native_id for native_id in ids if native_id not in states]
    question = backend.question(asked) if asked else ""
    if question:
        known = backend.states(asked, host.shell(question, timeout=60))
        states |= {native_id: known[native_id] for native_id in asked if native_id in known}
    return {native_id: states.get(native_id, JobState(phase="unknown")) for native_id in ids}


class Follower:
    """Follows one run to its end, whatever happens to the connection."""

    def __init__(
        self,
        host: Host,
        backend: BatchBackend,
        submitted: Submitted,
        observer: Observer,
        explain: Callable[[int, str], str | None] = lambda status, said: None,
    ) -> None:
        self.host = host
        self.backend = backend
        self.submitted = submitted
        self.observer = observer
        self.explain = explain
        self.seen: dict[Stream, int] = dict.fromkeys(_STREAMS, 0)
        self.errors = b""
        self._said: str | None = None
        self._cancelled_at: float | None = None
        self._interrupted_by: int | None = None
        self._fate: Outcome | None = None

    def follow(self, *, stays: bool = True) -> Outcome | None:
        """Show what the run writes until it has ended.

        An interrupt ends the run; with ``stays`` of False only the following.  None is returned when the run goes
        on: then, or when it cannot be reached to be ended and a second interrupt comes.
        """
        look_at, ask_at = 0.0, time.monotonic() + _ASK[0]
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
                    if self._interrupted_by is not None:
                        self._cancel(force=len(signals) > 1)
                    report = self._look()
                    if report.new["stdout"] or report.new["stderr"]:
                        look_pause = _LOOK[0]
                        continue
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
                    if ended_at is not None and time.monotonic() - ended_at > self._patience(state):
                        return self._without_status(state)
                    self._tell(report, state)
                except Interrupted as interrupted:
                    signals.append(interrupted.signal_number)
                    continue
                except ConnectionLost as error:
                    self._say(f"{error.message.splitlines()[0]}; the run goes on, and we try again")
                    look_pause = _LOOK[1]
                    if len(signals) > 1:
                        return None
                time.sleep(max(look_pause, look_at - time.monotonic()))
                look_pause = min(look_pause * 1.5, _LOOK[1])

    def _patience(self, state: JobState | None) -> float:
        """A queue that tells how a run ended need not be doubted for long."""
        return 2.0 if state is not None and (state.outcome is not None or self._interrupted_by) else _PATIENCE

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
            self._say(f"waiting for {self.submitted.id} to begin on {self.host.name}")
        elif report.phase == "preparing":
            self._say(f"preparing on {self.host.name}")
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
            self.host.shell(self.backend.cancellation([self.submitted.id], at_once=False), timeout=60)
        elif force or now - self._cancelled_at > GRACE + 5:
            self._cancelled_at = now
            self.host.shell(self.backend.cancellation([self.submitted.id], at_once=True), timeout=60)

    def _goes_on(self, status: str) -> bool:
        """Whether a run that ended by a signal of somebody else's was put into the queue again."""
        self._fate = None
        if self._interrupted_by is not None or status not in ("cancelled 143", "task 137"):
            return False
        for _ in range(10):
            state = self._ask()
            if state.phase == "waiting":
                return True
            if state.phase in ("ended", "unknown"):
                self._fate = state.outcome
                return False
            time.sleep(0.5)
        return False

    def _outcome(self, status: str) -> Outcome:
        """What a status file says.  Raises :class:`BoxError` when the task was never started."""
        what, _, number = status.partition(" ")
        if what not in ENDS or not number.isdigit():
            return Outcome(status="lost", exit_status=75, reason=f"its status file is damaged: {status[:60]!r}")
        code = int(number)
        if self._fate is not None and self._fate.status != "succeeded":
            return self._fate  # it only knows that it was asked to end, the queue knows why
        if what == "cancelled":
            return self._cancelled()
        if what == "time":
            return Outcome(status="failed", exit_status=EX_TIMED_OUT, reason="it ran longer than its time limit")
        if what != "task":
            raise self._not_started(what)
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
                f"what the run needs is not on {self.host.name}\n{shown}",
                hint="install it there, or use another platform there",
            )
        if what == "preparation":
            reason = self.explain(1, said.decode("utf-8", "replace"))
            return PreparationError(f"the preparation failed on {self.host.name}\n{shown}", hint=reason)
        return CannotCreateError(
            f"cannot create directories on {self.host.name}\n{shown}", hint="free some space there"
        )

    def _without_status(self, state: JobState | None) -> Outcome:
        """The run is over and has not written how: what the queue knows, and never success."""
        if self._interrupted_by is not None:
            return self._cancelled()
        if state is not None and state.outcome is not None and state.outcome.status != "succeeded":
            return state.outcome
        reason = (state.reason if state else None) or "its process is gone and has not said how it ended"
        return Outcome(status="lost", exit_status=75, reason=reason)
