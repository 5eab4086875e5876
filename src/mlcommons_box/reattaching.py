"""Comes back to runs that go on without us: how they are, what they write, how they end, and how to end them."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mlcommons_box.definition.places import BOX_FILE
from mlcommons_box.errors import BoxError, CannotCreateError, ConfigurationError, Interrupted, UsageError
from mlcommons_box.findings import evidence_at_end
from mlcommons_box.interruption import signals_noted, signals_until_now
from mlcommons_box.journal import open_regular
from mlcommons_box.log_writer import LogWriter
from mlcommons_box.process import Stream
from mlcommons_box.record import RunRecord, ended, moment
from mlcommons_box.run_store import RunStore
from mlcommons_box.runners import submitted_run
from mlcommons_box.runners.batch import JobState, look, survey
from mlcommons_box.runners.interface import Observer, Outcome
from mlcommons_box.runners.once import wait_for_lock
from mlcommons_box.runners.submitted_run import SubmittedRun
from mlcommons_box.value import replace

_PAUSE = (1.0, 30.0)
"""Seconds between two questions about runs: at first, and when nothing happens."""
_POLL = 0.2


def states(store: RunStore, records: Sequence[RunRecord]) -> dict[str, JobState]:
    """How runs are that go on without us, by their ids; one question for each host and queue.

    A host or a queue that does not answer makes its runs ``unreachable``, with the reason.
    """
    found: dict[str, JobState] = {}
    groups: dict[tuple[object, str], list[tuple[RunRecord, SubmittedRun]]] = {}
    for record in records:
        run = _submitted(store, record)
        if run is None:
            found[record.id] = JobState(phase="unknown", reason="it is not one that goes on without its mlbox")
        else:
            groups.setdefault((run.login, run.queue), []).append((record, run))
    for members in groups.values():
        first = members[0][1]
        host = first.host()
        try:
            answers = survey(host, first.backend(), [run.submitted for _, run in members])
        except Interrupted:
            raise
        except BoxError as error:
            answers = [JobState(phase="unreachable", reason=error.message.splitlines()[0])] * len(members)
        finally:
            host.close()
        found |= {record.id: answer for (record, _), answer in zip(members, answers, strict=True)}
    return found


def _submitted(store: RunStore, record: RunRecord) -> SubmittedRun | None:
    """What is written down of a run; None when it is not one that goes on without us.

    A workspace may come from a stranger, and the directory of a job is removed when all is here.  Raises
    :class:`ConfigurationError` for one that is none.
    """
    run = submitted_run.read(store.path(record.id))
    if run is not None and not run.directory.endswith(f"/.mlbox/runs/{record.id}/job"):
        raise ConfigurationError(
            f"the run {record.id} is written down with the directory {run.directory!r}, which is not that of a job",
            hint=f"'mlbox rm {record.id}' removes its record",
        )
    for output in () if run is None else run.outputs:
        if not _is_inside(output.here, (store.workspace, _box_of(record))):
            raise ConfigurationError(
                f"the run {record.id} is written down with the output {output.here!r}, which is neither in the "
                "workspace nor in the box",
                hint=f"'mlbox rm {record.id}' removes its record",
            )
    return run


def _box_of(record: RunRecord) -> Path | None:
    """The box that a record names, where there is one."""
    named = str(record.plan.get("box", ""))
    return Path(named) if named and os.path.isfile(os.path.join(named, BOX_FILE)) else None


def _is_inside(path: str, places: Iterable[Path | None]) -> bool:
    """Whether a path goes through one of some directories, whatever names lead to those."""
    around = [each for each in places if each is not None]
    with suppress(OSError, ValueError):
        return (
            os.path.isabs(path)
            and os.path.normpath(path) == path
            and any(os.path.samefile(parent, each) for parent in _existing(path) for each in around)
        )
    return False


def _existing(path: str) -> list[str]:
    """A path and those above it, of which there is something."""
    return [str(each) for each in (Path(path), *Path(path).parents) if os.path.exists(each)]


def attach(store: RunStore, record: RunRecord, observer: Observer, *, ends: bool = False) -> RunRecord:
    """Follow a run to its end, bring back what it made, and complete its record.

    An interrupt ends the following.  ``ends`` says that the run was asked to end; if it does not, it is killed.
    Raises :class:`UsageError` for a run that does not go on without its supervisor, and, once the record says so,
    what kept a task from being started.
    """
    run = _submitted(store, record)
    if run is None:
        raise UsageError(f"the run {record.id} ends with the command that started it", hint="wait for that one")
    with _alone(store, record, observer):
        record = store.read(record.id)
        if record.status != "running":
            return record
        run = _submitted(store, record) or run  # whoever followed it before may have got this far
        if run.outcome is not None:  # all is here but this
            return finish(store, record, run.outcome)
        host = run.host()
        try:
            with LogWriter(store, record.id, observer) as writer:
                outcome = submitted_run.follow(run, host, writer, store.path(record.id), stays=False, ends=ends)
        except BoxError:
            run = _submitted(store, record)
            if run is not None and run.outcome is not None:
                finish(store, record, run.outcome)
            raise
        finally:
            host.close()
        return record if outcome is None else finish(store, record, outcome)


def peek(store: RunStore, record: RunRecord, observer: Observer) -> None:
    """Show what a run has written until now."""
    run = _submitted(store, record)
    if run is None:
        return
    host = run.host()
    seen: dict[Stream, int] = {"stdout": 0, "stderr": 0}
    try:
        while any((report := look(host, run.directory, seen)).new.values()):
            for stream, chunk in report.new.items():
                seen[stream] += len(chunk)
                if chunk:
                    observer.output(stream, chunk)
    finally:
        host.close()


def cancel(store: RunStore, record: RunRecord, observer: Observer) -> RunRecord:
    """Ask a run to end, wait until it has, and bring back what it made."""
    run = _submitted(store, record)
    if run is None:
        raise UsageError(f"the run {record.id} ends with the command that started it", hint="end that one")
    host = run.host()
    try:
        answer = host.shell(run.backend().cancellation([run.submitted], at_once=False), timeout=60)
    finally:
        host.close()
    if not answer.succeeded:
        observer.preparing(
            f"{host.name} did not take the request: {answer.stderr.decode('utf-8', 'replace').strip()}"
        )
    return attach(store, record, observer, ends=True)


def wait_for_all(
    store: RunStore, records: Sequence[RunRecord], observer: Observer, ended_one: Callable[[RunRecord], None]
) -> bool:
    """Wait until all runs have ended, asking for all of them at once; False when an interrupt ended the waiting."""
    waiting = {record.id: record for record in records}
    pause = _PAUSE[0]
    heard = signals_until_now()  # of which some come while something else listens
    with signals_noted(), suppress(Interrupted):
        while waiting:
            over = [
                run_id
                for run_id, state in states(store, list(waiting.values())).items()
                if state.phase in ("ended", "unknown")
            ]
            for run_id in over:
                record = _attached(store, waiting[run_id], observer)
                if signals_until_now() > heard:
                    return False
                if record.status != "running":  # or else it is out of reach
                    del waiting[run_id]
                    ended_one(record)
                    pause = _PAUSE[0]
            until = time.monotonic() + pause if waiting else 0.0
            while time.monotonic() < until:
                time.sleep(_POLL)
                if signals_until_now() > heard:
                    return False
            pause = min(pause * 1.5, _PAUSE[1])
    return not waiting


def _attached(store: RunStore, record: RunRecord, observer: Observer) -> RunRecord:
    """Follow one of many runs; what kept its task from being started is in its record, and no matter for others."""
    try:
        return attach(store, record, observer)
    except BoxError:
        record = store.read(record.id)
        if record.status == "running":
            raise
        return record


def finish(store: RunStore, record: RunRecord, outcome: Outcome) -> RunRecord:
    """Complete the record of a run that has ended."""
    began = moment(record.started_at).timestamp()
    record = ended(
        replace(record, **evidence_at_end(record, store)),
        outcome.status,
        exit_status=outcome.exit_status,
        reason=outcome.reason,
        duration=max(0.0, time.time() - began),
    )
    store.write(record)
    return record


@contextmanager
def _alone(store: RunStore, record: RunRecord, observer: Observer) -> Iterator[None]:
    """Be the only one who follows a run; whoever started it and still watches it comes first."""
    path = store.path(record.id, "follower.lock")
    try:
        descriptor = open_regular(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise CannotCreateError(f"cannot create {str(path)!r}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            observer.preparing("another command follows this run")
            wait_for_lock(descriptor)
        if record.supervisor.pid != os.getpid():  # we ourselves may have started it, to wait for it now
            _wait_for_supervisor(store, record)
        yield
    finally:
        os.close(descriptor)


def _wait_for_supervisor(store: RunStore, record: RunRecord) -> None:
    """Wait until the command that started a run no longer follows it; raises :class:`Interrupted`."""
    with signals_noted() as signals:
        while record.status == "running" and record.supervisor.is_alive():
            if signals:
                raise Interrupted(signals[0])
            time.sleep(_POLL)
            record = store.read(record.id)
