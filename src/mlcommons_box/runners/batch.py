"""The one submit, poll and collect loop for runs that go on without us: on another host, or in a queue.

A run has a directory where its files are: ``job.sh``, the logs, and how it ended (:mod:`.job`).  That is where its
state is learned; what starts it and knows of it before it runs is a :class:`BatchBackend`.  Nothing is started
twice: the run's directory says that it was.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Literal, Protocol

from mlcommons_box.errors import (
    EX_CANNOT_CREATE,
    BoxError,
    CannotCreateError,
    Interrupted,
    UnavailableError,
)
from mlcommons_box.host import ConnectionLost, Host
from mlcommons_box.process import Answer, Stream
from mlcommons_box.runners.failures import tail
from mlcommons_box.runners.interface import Outcome
from mlcommons_box.runners.job import SCRIPT_FILE, STATUS_FILE
from mlcommons_box.shell_script import quoted
from mlcommons_box.value import Value

STREAMS: tuple[Stream, ...] = ("stdout", "stderr")
AT_ONCE = 1 << 22
"""Bytes of each log that one look brings, at most."""
_PATIENCE = 20.0
"""Seconds in which a host that was lost while it started a run is asked again."""
_PAUSE = 1.0
_SIZE = re.compile(rb"[0-9]{1,18}")
KILLED = ("cancelled 143", "task 137")
"""What a run has written that somebody else ended; a queue may begin it again, or know why."""
_END = "MLBOX_END_OF_SCRIPT"
_WRITTEN = "mlbox-written"
"""Said when the script is where it belongs; what comes after it is the queue's."""
_SUBMITTED_BY_NOW = 30
"""Tenths of a second in which a submission that another process has begun is waited for."""
_WAIT_FOR_ID = f"""\
tries={_SUBMITTED_BY_NOW}
while [ ! -s id ] && [ "$tries" -gt 0 ]; do sleep 0.1; tries=$((tries - 1)); done
cat id
"""


IS_THIS_RUN = """\
[ "$boot" = "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)" ] &&
    { [ ! -e "/proc/$pid/cwd" ] || [ "/proc/$pid/cwd" -ef . ]; }"""
"""Whether the process ``$pid`` of the boot ``$boot`` is of the current directory's run: numbers are used again."""
_ALIVE = f"""\
alive=unknown
if [ -s process ]; then
  alive=no
  read -r pid boot <process
  if {IS_THIS_RUN} && kill -0 "$pid" 2>/dev/null; then
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
    """What a queue knows of a run: ``ended`` with how, where it knows; ``reason`` is in its own words.

    ``by_itself`` says that the run came to its own end, and so has written how; ``outcome`` is for want of that.
    """

    phase: Literal["waiting", "running", "ended", "unknown", "unreachable"]
    outcome: Outcome | None = None
    reason: str | None = None
    by_itself: bool = False


class DirectoryGone(UnavailableError):
    """A run's directory was removed, and with it how it ended."""


class Submitted(Value):
    """A run that was started: its id in the queue, and its directory on the queue's host."""

    id: str
    directory: str


class BatchBackend(Protocol):
    """One kind of queue.  Pure: shell text for the host that has the queue, and the reading of what it says."""

    name: str
    place: str | None
    """Where its runs are; None for the host itself."""

    def submission(self, directory: str, run_id: str) -> str:
        """Starts ``job.sh`` in the current directory, the run's own, and prints the native id."""

    def native_id(self, said: str) -> str:
        """The id in what a submission said; raises :class:`ValueError` when there is none."""

    def question(self, ids: Sequence[str]) -> str:
        """Asks for the state of all the runs at once; empty where the run's directory tells all."""

    def states(self, ids: Sequence[str], answer: Answer) -> Mapping[str, JobState]:
        """What the queue answered.  Raises :class:`ConnectionLost` when it did not: the runs go on meanwhile."""

    def cancellation(self, runs: Sequence[Submitted], *, at_once: bool) -> str:
        """Asks the runs to end, or ends them ``at_once``."""

    def refused(self, answer: Answer) -> BoxError:
        """What it means that a submission failed."""


class Report(Value):
    """One look at a run's directory."""

    status: str = ""
    is_alive: bool | None = None
    phase: Literal["queued", "preparing", "running"] = "queued"
    new: Mapping[Stream, bytes]


def submit(host: Host, backend: BatchBackend, directory: str, run_id: str, script: str) -> Submitted:
    """Start a run, unless that was done.  Raises :class:`BoxError` when it cannot be started.

    When the connection is lost meanwhile nobody knows whether it was: that is asked for a while.
    """
    deadline = time.monotonic() + _PATIENCE
    try:
        while True:
            try:
                return _submit(host, backend, directory, run_id, script)
            except ConnectionLost:
                if time.monotonic() > deadline:
                    raise
            time.sleep(_PAUSE)
    except (Interrupted, KeyboardInterrupt):
        with suppress(BoxError, ValueError):
            _withdraw(host, backend, directory)
        raise


def _withdraw(host: Host, backend: BatchBackend, directory: str) -> None:
    """End a run of which nobody knows whether it was started; it is not started any more."""
    answer = host.shell(f"cd -- {quoted(directory)} && ! mkdir started 2>/dev/null || exit 0\n{_WAIT_FOR_ID}")
    native_id = backend.native_id(answer.stdout.decode("utf-8", "replace"))
    run = Submitted(id=native_id, directory=directory)
    host.shell(backend.cancellation([run], at_once=False), timeout=60)


def _submit(host: Host, backend: BatchBackend, directory: str, run_id: str, script: str) -> Submitted:
    answer = host.shell(
        f"(umask 077; mkdir -p -- {quoted(directory)}) && cd -- {quoted(directory)} || exit 73\n"
        f"[ -d started ] || (umask 077; cat >{SCRIPT_FILE}.partial) <<'{_END}' || exit 73\n{script}{_END}\n"
        f"[ -d started ] || mv -f {SCRIPT_FILE}.partial {SCRIPT_FILE} || exit 73\n"
        f"echo {_WRITTEN}\n"
        "submit() {\n"
        f"{backend.submission(directory, run_id)}\n"
        "}\n"
        "if mkdir started 2>/dev/null; then\n"
        "  submit >id.partial\n"
        "  status=$?\n"
        '  [ "$status" = 0 ] || { rmdir started; exit "$status"; }\n'
        "  mv -f id.partial id\n"
        "fi\n"
        f"{_WAIT_FOR_ID}"
    )
    _, is_written, said = answer.stdout.decode("utf-8", "replace").partition(f"{_WRITTEN}\n")
    if not is_written:
        raise CannotCreateError(
            f"cannot write the run's directory {directory!r} on {host.name}\n{tail(answer.stderr)}",
            hint="free some space there, or name another 'directory' in the platform file",
        )
    if not answer.succeeded:
        raise backend.refused(answer)
    try:
        return Submitted(id=backend.native_id(said), directory=directory)
    except ValueError as error:
        raise UnavailableError(
            f"{backend.name} on {host.name} did not say what the run is called: {error}"
        ) from error


def look(host: Host, directory: str, seen: Mapping[Stream, int]) -> Report:
    """What a run has written since ``seen`` bytes of each log, and whether it has ended.

    Raises :class:`DirectoryGone`.
    """
    lines = [
        f"cd -- {quoted(directory)} 2>/dev/null || exit 73",
        _ALIVE,
        f"[ -f {STATUS_FILE} ] || ls >/dev/null",  # without which a network's file system may not show it for long
        f"status=$(cat {STATUS_FILE} 2>/dev/null)",  # before the logs, so that those are complete once it is there
        'size() { if [ -f "$1" ]; then wc -c <"$1"; else echo 0; fi; }',
        "out=$(size stdout.log) err=$(size stderr.log)",
        "phase=queued; [ -f began ] && phase=preparing; [ -f stdout.log ] && phase=running",
        'printf "%s\\n%s %s %s %s\\n" "$status" "$alive" "$phase" "$out" "$err"',
    ]
    for stream, size in zip(STREAMS, ("out", "err"), strict=True):
        lines += [
            f"new=$(({size} - {seen[stream]}))",
            f'[ "$new" -le {AT_ONCE} ] || new={AT_ONCE}',
            f'[ "$new" -le 0 ] || tail -c +{seen[stream] + 1} {stream}.log | head -c "$new"',
        ]
    answer = host.shell("\n".join(lines) + "\n", timeout=60)
    if answer.completed.exit_status == EX_CANNOT_CREATE:
        raise DirectoryGone(f"the run's directory {directory!r} is gone from {host.name}")
    status, _, rest = answer.stdout.partition(b"\n")
    line, _, content = rest.partition(b"\n")
    words = line.split()
    sizes = words[len(("alive", "phase")) :]
    if not answer.succeeded or len(sizes) != len(STREAMS) or not all(map(_SIZE.fullmatch, sizes)):
        raise UnavailableError(f"{host.name} did not say how the run is\n{tail(answer.stderr)}")
    new: dict[Stream, bytes] = {}
    for stream, written in zip(STREAMS, sizes, strict=True):
        length = min(max(int(written) - seen[stream], 0), AT_ONCE)
        new[stream], content = content[:length], content[length:]
    return Report(
        status=status.decode("ascii", "replace"),
        is_alive={b"yes": True, b"no": False}.get(words[0]),
        phase=_PHASES.get(words[1], "queued"),
        new=new,
    )


def survey(host: Host, backend: BatchBackend, runs: Sequence[Submitted]) -> list[JobState]:
    """How runs are, in their order: one question for all of them.

    Raises :class:`UnavailableError` when the host or the queue does not answer.
    """
    lines = []
    for run in runs:
        lines += [
            f"if cd -- {quoted(run.directory)} 2>/dev/null; then",
            _ALIVE,
            f'printf "%s %s\\n" "$alive" "$(cat {STATUS_FILE} 2>/dev/null)"',
            "else echo gone; fi",
        ]
    answer = host.shell("\n".join(lines) + "\n", timeout=60)
    said = answer.stdout.decode("utf-8", "replace").splitlines()
    if not answer.succeeded or len(said) != len(runs):
        raise UnavailableError(f"{host.name} did not say how the runs are\n{tail(answer.stderr)}")
    states: list[JobState | None] = []
    over: set[int] = set()
    for number, line in enumerate(said):
        alive, _, status = line.partition(" ")
        state = JobState(phase="running") if alive == "yes" else None
        if status or alive in ("no", "gone"):
            over.add(number)
            state = None if status in KILLED else JobState(phase="ended")
        states.append(state)
    asked = [run.id for run, state in zip(runs, states, strict=True) if state is None]
    question = backend.question(asked) if asked else ""
    if question:
        known = backend.states(asked, host.shell(question, timeout=60))
        states = [known.get(run.id) if state is None else state for run, state in zip(runs, states, strict=True)]
    for number in over:
        state = states[number]
        if state is None or state.phase != "waiting":
            states[number] = JobState(phase="ended")
    return [state or JobState(phase="unknown") for state in states]
