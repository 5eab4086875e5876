"""A run that goes on without us, as it is written down, so that any process can come back to it."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from mlcommons_box.errors import BoxError, CannotCreateError, ConfigurationError
from mlcommons_box.host import Host, LocalHost, Login, SshHost, quoted
from mlcommons_box.planning import RunPlan
from mlcommons_box.runners.batch import BatchBackend, Follower, Submitted
from mlcommons_box.runners.inner import engine_failure
from mlcommons_box.runners.interface import Observer, Outcome
from mlcommons_box.runners.transfer import bring_back
from mlcommons_box.value import Value, as_data, replace

FILE = "job.json"
"""In the run's directory on this machine, beside its record."""


class Output(Value):
    """An output to bring back: where it is there, where it belongs here, and its type."""

    there: str
    here: str
    type: str


class SubmittedRun(Value):
    """Which queue has a run, under which id, on which host (None: this one), and what it leaves where."""

    queue: str
    id: str
    directory: str
    login: Login | None = None
    engine: str | None = None
    outputs: tuple[Output, ...] = ()
    outcome: Outcome | None = None
    """How it ended, once all of it is here."""

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
        from mlcommons_box.runners.ssh import ProcessBackend

        return ProcessBackend()


def run_directory(plan: RunPlan) -> Path:
    """A run's directory on this machine, where its record is."""
    return plan.workspace / ".mlbox" / "runs" / plan.id


def job_directory(plan: RunPlan) -> Path:
    """The directory of a run's job, below that of its record."""
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


def read(directory: Path) -> SubmittedRun | None:
    """What was written; None when the run is not one that goes on without us."""
    try:
        content = json.loads((directory / FILE).read_text("utf-8"))
        login = content["login"]
        return SubmittedRun(
            queue=str(content["queue"]),
            id=str(content["id"]),
            directory=str(content["directory"]),
            login=None if login is None else Login(**login),
            engine=content["engine"],
            outputs=tuple(Output(**each) for each in content["outputs"]),
            outcome=None if content.get("outcome") is None else Outcome(**content["outcome"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigurationError(f"cannot read {str(directory / FILE)!r}: {error}") from error


def outputs_of(plan: RunPlan, there: RunPlan) -> tuple[Output, ...]:
    """The outputs of a run that have to be brought back."""
    return tuple(
        Output(there=str(far.path), here=str(near.path), type=near.type)
        for near, far in zip(plan.parameters, there.parameters, strict=True)
        if near.direction == "output" and not near.elsewhere
    )


def follow(
    run: SubmittedRun, host: Host, observer: Observer, directory: Path, *, stays: bool = True
) -> Outcome | None:
    """Follow a run to its end and bring back what it made; None when it goes on.

    ``directory`` is the run's on this machine.  When all is here, nothing of the job is left where it ran.
    """
    if run.outcome is not None:
        return run.outcome
    follower = Follower(
        host,
        run.backend(),
        Submitted(id=run.id, directory=run.directory),
        observer,
        lambda status, said: engine_failure(run.engine, status, said),
    )
    outcome = None
    try:
        outcome = follower.follow(stays=stays)
    except BaseException:
        with suppress(Exception):  # what went wrong first is what has to be told
            collect(run, host, observer)
        raise
    if outcome is not None:
        collect(run, host, observer)
        write(replace(run, outcome=outcome), directory)
        with suppress(BoxError):
            parent = quoted(os.path.dirname(run.directory))
            host.shell(f"rm -rf -- {quoted(run.directory)}; rmdir -- {parent} 2>/dev/null", timeout=60)
    return outcome


def collect(run: SubmittedRun, host: Host, observer: Observer) -> None:
    """Bring the outputs back, of a run that failed as well: they are what tells why."""
    if run.login is None or not run.outputs:
        return
    observer.preparing(f"bringing the outputs from {host.name}")
    try:
        bring_back(
            host,
            [(each.there, Path(each.here), each.type) for each in run.outputs],
            lambda _, chunk: observer.preparation_output(chunk),
        )
    finally:
        observer.prepared()
