"""A run that goes on without us, as it is written down, so that any process can come back to it."""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

from mlcommons_box.errors import BoxError, CannotCreateError, ConfigurationError, Interrupted
from mlcommons_box.host import ConnectionLost, Host, LocalHost, Login, SshHost
from mlcommons_box.interruption import signals_noted
from mlcommons_box.journal import open_regular
from mlcommons_box.planning import RunPlan
from mlcommons_box.runners.batch import BatchBackend, Submitted
from mlcommons_box.runners.follower import Follower
from mlcommons_box.runners.inner import engine_failure
from mlcommons_box.runners.interface import Observer, Outcome, Status
from mlcommons_box.runners.job import IDENTITY_FILE
from mlcommons_box.runners.transfer import Output, bring_back
from mlcommons_box.shell_script import quoted
from mlcommons_box.value import Value, as_data, replace

FILE = "job.json"
"""In the run's directory on this machine."""
_LARGEST = 1 << 24
"""Bytes; what has more is none of ours."""
_QUEUES = ("process", "slurm")
_ID = re.compile(r"\w[\w.-]*(?:;[\w.-]+)?", re.ASCII)
"""What every queue of ours calls a run."""
_LONGEST_IDENTITY = 1 << 18
"""Bytes; a Python environment may have a thousand packages."""
_PAUSE = 2.0
"""Seconds before outputs are asked for again."""


class SubmittedRun(Value):
    """Which queue has a run, under which id, on which host (None: this one), and what it leaves where."""

    queue: str
    id: str
    directory: str
    login: Login | None = None
    engine: str | None = None
    box: str = ""
    """The box's directory there, from which the outputs are brought back."""
    outputs: tuple[Output, ...] = ()
    timeout: float | None = None
    outcome: Outcome | None = None
    """How it ended, once all of it is here."""
    identity: str = ""
    """What it used, as the script of its job has it."""

    @property
    def submitted(self) -> Submitted:
        """The same, as its queue knows it."""
        return Submitted(id=self.id, directory=self.directory)

    @property
    def native_id(self) -> str:
        """What the engine calls it, for people."""
        return self.id if self.login is None else f"{self.login.host}:{self.id}"

    def host(self) -> Host:
        """The machine that has it."""
        return LocalHost() if self.login is None else SshHost(self.login)

    def backend(self) -> BatchBackend:
        """The queue that has it."""
        if self.queue == "slurm":
            from mlcommons_box.runners.slurm_queue import SlurmBackend

            return SlurmBackend()
        from mlcommons_box.runners.process_queue import ProcessBackend

        return ProcessBackend()


def run_directory(plan: RunPlan) -> Path:
    """A run's directory on this machine, where its logs are."""
    return plan.workspace / ".mlbox" / "runs" / plan.id


def job_directory(plan: RunPlan) -> Path:
    """The directory of a run's job, below that of its logs."""
    return run_directory(plan) / "job"


def write(run: SubmittedRun, directory: Path) -> None:
    """Write it into the run's directory here; raises :class:`CannotCreateError`."""
    partial = directory / f"{FILE}.partial"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(as_data(run)) + "\n", "utf-8")
        partial.replace(directory / FILE)
    except OSError as error:
        raise CannotCreateError(f"cannot write {str(directory / FILE)!r}: {error.strerror}") from error


def begin(run: SubmittedRun, host: Host, directory: Path, observer: Observer) -> None:
    """Write down a run that has started, and tell of it; one that nobody would know of is ended."""
    try:
        write(run, directory)
        observer.started(run.native_id)
    except BaseException:
        with suppress(Exception):
            host.shell(run.backend().cancellation([run.submitted], at_once=False), timeout=60)
        raise


def read(directory: Path) -> SubmittedRun | None:
    """What was written; None when the run is not one that goes on without us.

    It may be a stranger's, and what is in it becomes words of commands: what we would not have written is refused.
    Raises :class:`ConfigurationError`.
    """
    try:
        with os.fdopen(open_regular(directory / FILE, os.O_RDONLY), "rb") as file:
            content = json.loads(file.read(_LARGEST))
        return _checked(content)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ConfigurationError(f"cannot read {str(directory / FILE)!r}: {error}") from error


def _checked(content: Any) -> SubmittedRun:
    login, outcome = content["login"], content.get("outcome")
    run = SubmittedRun(
        queue=_text(content["queue"]),
        id=_text(content["id"]),
        directory=_text(content["directory"]),
        login=None if login is None else Login(**login),
        engine=None if content["engine"] is None else _text(content["engine"]),
        box=_text(content.get("box", "")),
        outputs=tuple(_output(**each) for each in content["outputs"]),
        timeout=_number(content.get("timeout")),
        identity=_text(content.get("identity", "")),
        outcome=None if outcome is None else _outcome(**outcome),
    )
    if run.queue not in _QUEUES or not _ID.fullmatch(run.id):
        raise ValueError(f"there is no job {run.id[:40]!r} of {run.queue[:40]!r}")
    if run.login is not None:
        for text in (run.login.user, run.login.identity_file):
            _ = None if text is None else _text(text)
        port = run.login.port
        if _text(run.login.host).startswith("-") or not (port is None or 0 < _whole(port) < 1 << 16):
            raise ValueError("it has no such host")
    return run


def _output(there: object, here: object, type: object, inputs: Any) -> Output:
    texts = [_text(each) for each in inputs] if isinstance(inputs, list) else [_text(inputs)]
    return Output(there=_text(there), here=_text(here), type=_text(type), inputs=tuple(texts))


def _outcome(status: Any, exit_status: object, reason: object = None) -> Outcome:
    if status not in get_args(Status):
        raise ValueError("it has no such end")
    return Outcome(status=status, exit_status=_whole(exit_status), reason=None if reason is None else _text(reason))


def _text(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(f"expected a text, found {str(value)[:40]!r}")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"expected a whole number, found {str(value)[:40]!r}")
    return value


def _number(value: object) -> float | None:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e12):
        return value
    raise ValueError(f"expected a time, found {str(value)[:40]!r}")


def outputs_of(plan: RunPlan, there: RunPlan) -> tuple[Output, ...]:
    """The outputs of a run that have to be brought back."""
    inputs = [each.path for each in plan.inputs if not each.elsewhere]
    return tuple(
        Output(
            there=str(far.path),
            here=str(near.path),
            type=near.type,
            inputs=tuple(str(each) for each in inputs if near.path in each.parents),
        )
        for near, far in zip(plan.parameters, there.parameters, strict=True)
        if near.direction == "output" and not near.elsewhere
    )


def follow(
    run: SubmittedRun,
    host: Host,
    observer: Observer,
    directory: Path,
    *,
    stays: bool = True,
    ends: bool = False,
) -> Outcome | None:
    """Follow a run to its end and bring back what it made; None when it goes on.

    ``directory`` is the run's on this machine.  When all is here, nothing of the job is left where it ran.
    """
    if run.outcome is not None:
        return run.outcome
    follower = Follower(
        host,
        run.backend(),
        run.submitted,
        observer,
        lambda status, said: engine_failure(run.engine, status, said),
        run.timeout,
    )
    outcome = None
    try:
        outcome = follower.follow(stays=stays, ends=ends)
    except BaseException as error:
        with suppress(Exception):  # what went wrong first is what has to be told
            collect(run, host, observer)
        if follower.never_began and isinstance(error, BoxError):
            failed = Outcome(status="failed", exit_status=error.exit_status, reason=error.message)
            _end(run, failed, host, directory)
        elif stays:  # nobody would ever come back to it
            with suppress(Exception):
                host.shell(run.backend().cancellation([run.submitted], at_once=False), timeout=60)
        raise
    if outcome is not None:
        if not _collect_at_last(run, host, observer):
            return None
        _end(run, outcome, host, directory)
    return outcome


def _end(run: SubmittedRun, outcome: Outcome, host: Host, directory: Path) -> None:
    """All is here: nothing of the job is left where it ran."""
    identity = ""
    with suppress(BoxError):
        file = quoted(os.path.join(run.directory, IDENTITY_FILE))
        answer = host.shell(f"head -c {_LONGEST_IDENTITY} {file} 2>/dev/null", timeout=60)
        identity = answer.stdout.decode("utf-8", "replace")
    write(replace(run, outcome=outcome, identity=identity), directory)
    with suppress(BoxError):
        parent = quoted(os.path.dirname(run.directory))
        host.shell(f"rm -rf -- {quoted(run.directory)}; rmdir -- {parent} 2>/dev/null", timeout=60)


def _collect_at_last(run: SubmittedRun, host: Host, observer: Observer) -> bool:
    """Bring the outputs back, however long the host cannot be reached; False when an interrupt ended that."""
    while True:
        try:
            collect(run, host, observer)
            return True
        except Interrupted:
            return False
        except ConnectionLost as error:
            observer.preparing(f"{error.message.splitlines()[0]}; the outputs are there, and we try again")
        with signals_noted() as signals:
            time.sleep(_PAUSE)
        if signals:
            return False


def collect(run: SubmittedRun, host: Host, observer: Observer) -> None:
    """Bring the outputs back, of a run that failed as well: they are what tells why."""
    if run.login is None or not run.outputs:
        return  # they are where they belong
    observer.preparing(f"bringing the outputs from {host.name}")
    try:
        bring_back(host, run.box, run.outputs, lambda _, chunk: observer.preparation_output(chunk))
    finally:
        observer.prepared()
