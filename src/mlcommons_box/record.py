"""What happened in one run: its record, as an immutable value.  :mod:`.run_store` keeps records on disk."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from mlcommons_box import __version__
from mlcommons_box.command import Command, redacted, redacted_words
from mlcommons_box.errors import BoxError
from mlcommons_box.model import EnvironmentVariable, PlatformOptions, SlurmOptions, SshOptions
from mlcommons_box.planning import BoundParameter, RunPlan
from mlcommons_box.process_tree import is_running, start_ticks
from mlcommons_box.value import Value, as_data, replace

SCHEMA_VERSION = 1
"""Raised when a reader of older records would misunderstand newer ones."""

RecordStatus = Literal["running", "succeeded", "failed", "cancelled", "lost"]
STATUSES: tuple[RecordStatus, ...] = get_args(RecordStatus)


class Supervisor(Value):
    """The process that watches a run: host name, process id, and when it began in clock ticks of that host."""

    host: str
    pid: int
    started_ticks: int

    def is_alive(self) -> bool | None:
        """Whether it still runs; None when only another host can tell."""
        return is_running(self.pid, self.started_ticks) if self.host == os.uname().nodename else None


class RunRecord(Value):
    """One run.  Times are UTC in ISO 8601; ``duration`` is in seconds; ``plan`` is what was to happen.

    ``detached`` says that the run goes on without its supervisor.  ``group`` says what the run is a part of, such
    as a sweep.  The rest is what :mod:`.evidence` found: ``inputs`` and ``outputs`` have a fingerprint for each
    parameter, ``code`` those of the definition files and of ``build/`` and the commit of git, ``image`` what
    the task ran in, ``hyperparameters`` what small YAML and JSON inputs hold, ``engine`` and ``machine`` what it
    ran on, ``usage`` the peak of memory in bytes and the time of the processor in seconds, ``metrics`` what the
    task says of its result.  ``unproved`` says why nobody may rely on the run as up to date; None when one may.
    """

    schema_version: int
    id: str
    status: RecordStatus
    box: str
    box_version: str
    run: str
    task: str
    platform: str
    runner: str
    started_at: str
    ended_at: str | None = None
    duration: float | None = None
    exit_status: int | None = None
    reason: str | None = None
    native_id: str | None = None
    tool_version: str
    supervisor: Supervisor
    plan: Mapping[str, Any] = MappingProxyType({})
    commands: tuple[str, ...] = ()
    detached: bool = False
    group: Mapping[str, Any] = MappingProxyType({})
    code: Mapping[str, Any] = MappingProxyType({})
    image: Mapping[str, Any] = MappingProxyType({})
    inputs: Mapping[str, Any] = MappingProxyType({})
    outputs: Mapping[str, Any] = MappingProxyType({})
    hyperparameters: Mapping[str, Any] = MappingProxyType({})
    engine: Mapping[str, Any] = MappingProxyType({})
    machine: Mapping[str, Any] = MappingProxyType({})
    usage: Mapping[str, Any] = MappingProxyType({})
    metrics: Mapping[str, Any] = MappingProxyType({})
    unproved: str | None = "the run has not ended"

    @property
    def parameters(self) -> tuple[BoundParameter, ...]:
        """The parameters of the plan, with the paths that they were bound to."""
        return tuple(
            BoundParameter(
                name=each["name"],
                type="directory" if each.get("type") == "directory" else "file",
                direction="output" if each["direction"] == "output" else "input",
                path=Path(each["path"]),
                elsewhere=each.get("elsewhere") is True,
            )
            for each in self.plan.get("parameters", ())
        )

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What IPython shows in place of all that a record holds."""
        took = "" if self.duration is None else f" in {self.duration:.1f} s"
        printer.text(f"<run {self.id} of {self.run!r}: {self.status}{took}>")

    def refreshed(self) -> RunRecord:
        """The record as it has to be read now: a run that nobody watches any more is lost, not running."""
        if self.status == "running" and not self.detached and self.supervisor.is_alive() is False:
            return replace(self, status="lost", reason="mlbox ended before the run did")
        return self


def new_record(plan: RunPlan, commands: list[Command]) -> RunRecord:
    """The record of a run that is about to start."""
    return RunRecord(
        schema_version=SCHEMA_VERSION,
        id=plan.id,
        status="running",
        box=plan.box.name,
        box_version=plan.box.version,
        run=plan.run,
        task=plan.task.name,
        platform=plan.platform.name,
        runner=plan.platform.runner,
        started_at=_now(),
        tool_version=__version__,
        supervisor=Supervisor(host=os.uname().nodename, pid=os.getpid(), started_ticks=start_ticks(os.getpid())),
        plan=plan_data(plan),
        commands=tuple(command.shell() for command in commands),
        group=dict(plan.group),
    )


def ended(
    record: RunRecord, status: RecordStatus, *, exit_status: int, reason: str | None, duration: float
) -> RunRecord:
    """The record of a run that has ended."""
    return replace(
        record,
        status=status,
        exit_status=exit_status,
        reason=reason and re.sub(r"\S+", lambda word: redacted(word[0]), reason),
        ended_at=_now(),
        duration=round(duration, 3),
    )


def plan_data(plan: RunPlan) -> dict[str, Any]:
    """A plan as plain data, without what is secret in it."""
    resources = plan.platform.resources
    varying = {each.name for each in plan.task.outputs if not each.reproducible}
    return {
        "box": str(plan.box.root),
        "workspace": str(plan.workspace),
        "parameters": [
            {
                "name": each.name,
                "type": each.type,
                "direction": each.direction,
                "path": str(each.path),
                **({"elsewhere": True} if each.elsewhere else {}),
                **({"reproducible": False} if each.name in varying else {}),
            }
            for each in plan.parameters
        ],
        "environment": _environment_data(plan.environment),
        "network": plan.network,
        "timeout": plan.timeout,
        "devices": list(plan.devices),
        "resources": as_data(resources),
        "options": _redacted_data(as_data(plan.platform.options)),
        "arguments": _redacted_data(plan.platform.arguments),
        "ca_bundle": str(plan.ca_bundle) if plan.ca_bundle else None,
        **_inner(plan.box.root, plan.platform.options),
    }


def _inner(root: Path, options: PlatformOptions) -> dict[str, Any]:
    """The platform that a host or a queue runs the task on, which decides more than their own."""
    if not isinstance(options, SshOptions | SlurmOptions):
        return {}
    from mlcommons_box.runners.inner import inner_platform

    try:
        inner = inner_platform(root, options.platform)
    except BoxError:
        return {}
    own = {"runner": inner.runner, "options": as_data(inner.options), "arguments": inner.arguments}
    theirs = {"environment": _environment_data(inner.environment), "network": inner.network}
    return {"inner": {**_redacted_data(own), **theirs, **_inner(root, inner.options)}}


def _environment_data(variables: Iterable[EnvironmentVariable]) -> dict[str, str | None]:
    """Variables without what is secret; None is for what the caller has."""
    return {
        each.name: None if each.value is None else redacted(f"{each.name}={each.value}").partition("=")[2]
        for each in variables
    }


def moment(text: str) -> datetime:
    """A time of a record; raises :class:`ValueError`."""
    if not text.endswith("Z"):
        raise ValueError(f"{text!r} is no time in UTC")
    return datetime.fromisoformat(text[:-1]).replace(tzinfo=timezone.utc)


def mapping_in(holder: Any, name: str) -> Mapping[str, Any]:
    """What a record has under a name where an object is meant; a stranger's may hold anything."""
    value = holder.get(name) if isinstance(holder, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _redacted_data(value: Any) -> Any:
    """Options of a runner, which may be another's, as plain data without passwords and tokens."""
    if isinstance(value, Mapping):
        return {str(key): _redacted_data(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        if all(isinstance(each, str) for each in value):
            return redacted_words(value)
        return [_redacted_data(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float) else redacted(str(value))


def _now() -> str:
    seconds = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(seconds % 1 * 1000):03d}Z"
