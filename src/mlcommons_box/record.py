"""What happened, on disk: one directory for each run, below ``.mlbox/runs`` in the workspace.

It holds ``record.json`` and what the task wrote, ``stdout.log`` and ``stderr.log``.  The record is written before
the run starts, and replaced in one step whenever it changes, so that a reader sees all of a state or none of it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mlcommons_box import __version__
from mlcommons_box.errors import CannotCreateError, ConfigurationError, UsageError
from mlcommons_box.planning import RunPlan
from mlcommons_box.process import Command, Stream, is_running, redacted, start_ticks

SCHEMA_VERSION = 1
"""Raised when a reader of older records would misunderstand newer ones."""
DIRECTORY = Path(".mlbox", "runs")
"""Below the workspace."""
RECORD_FILE = "record.json"

RecordStatus = Literal["running", "succeeded", "failed", "cancelled", "lost"]


@dataclass(frozen=True, kw_only=True)
class Supervisor:
    """The process that watches a run: host name, process id, and when it began in clock ticks of that host."""

    host: str
    pid: int
    started_ticks: int

    def is_alive(self) -> bool | None:
        """Whether it still runs; None when only another host can tell."""
        return is_running(self.pid, self.started_ticks) if self.host == os.uname().nodename else None


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run.  Times are UTC in ISO 8601; ``duration`` is in seconds; ``plan`` is what was to happen."""

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
    tool_version: str = __version__
    supervisor: Supervisor
    plan: Mapping[str, Any] = field(default_factory=dict)
    commands: tuple[str, ...] = ()

    def refreshed(self) -> RunRecord:
        """The record as it has to be read now: a run that nobody watches any more is lost, not running."""
        if self.status == "running" and self.supervisor.is_alive() is False:
            return replace(self, status="lost", reason="mlbox ended before the run did")
        return self


class RunStore:
    """The records of a workspace."""

    def __init__(self, workspace: Path) -> None:
        self.directory = workspace / DIRECTORY

    def path(self, run_id: str, name: str = "") -> Path:
        """A run's directory, or a file in it."""
        return self.directory / run_id / name

    def log(self, run_id: str, stream: Stream) -> Path:
        """What the task of a run wrote to one of its streams."""
        return self.path(run_id, f"{stream}.log")

    def write(self, record: RunRecord) -> None:
        """Write or replace a record in one step.  Raises :class:`CannotCreateError`."""
        target = self.path(record.id, RECORD_FILE)
        partial = target.with_name(f"{RECORD_FILE}.{os.getpid()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(asdict(record), indent=1) + "\n", "utf-8", "surrogateescape")
            partial.replace(target)
        except OSError as error:
            raise CannotCreateError(
                f"cannot write the record {str(target)!r}: {error.strerror}",
                hint="free some space, or use --workspace with a directory that you can write to",
            ) from error

    def ids(self) -> list[str]:
        """The runs, the oldest first."""
        try:
            return sorted(entry.name for entry in os.scandir(self.directory) if entry.is_dir())
        except FileNotFoundError:
            return []

    def read(self, run_id: str) -> RunRecord:
        """A run's record.

        Raises :class:`UsageError` when there is none, and :class:`ConfigurationError` when it cannot be read.
        """
        path = self.path(run_id, RECORD_FILE)
        try:
            content = json.loads(path.read_text("utf-8", "surrogateescape"))
        except FileNotFoundError:
            raise UsageError(f"there is no run {run_id!r}", hint="'mlbox runs' lists them") from None
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"cannot read the record {str(path)!r}: {error}") from error
        return _record(content, path).refreshed()

    def find(self, beginning: str | None) -> RunRecord:
        """The run whose id begins with a text, or the latest of that run configuration; None is the latest.

        Raises :class:`UsageError` when none or several do.
        """
        ids = self.ids()
        if not ids:
            raise UsageError("there are no runs yet", hint="'mlbox run' makes one")
        if beginning is None:
            return self.read(ids[-1])
        matching = [run_id for run_id in ids if run_id.startswith(beginning) or run_id.endswith(f"-{beginning}")]
        if len(matching) == 1:
            return self.read(matching[0])
        if matching:
            raise UsageError(
                f"several runs begin with {beginning!r}: {', '.join(matching)}", hint="write more of it"
            )
        for run_id in reversed(ids):
            record = self.read(run_id)
            if record.run == beginning:
                return record
        raise UsageError(f"there is no run {beginning!r}", hint="'mlbox runs' lists them")


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
        supervisor=Supervisor(host=os.uname().nodename, pid=os.getpid(), started_ticks=start_ticks(os.getpid())),
        plan=plan_data(plan),
        commands=tuple(command.shell() for command in commands),
    )


def ended(
    record: RunRecord, status: RecordStatus, *, exit_status: int, reason: str | None, duration: float
) -> RunRecord:
    """The record of a run that has ended."""
    return replace(
        record,
        status=status,
        exit_status=exit_status,
        reason=reason,
        ended_at=_now(),
        duration=round(duration, 3),
    )


def plan_data(plan: RunPlan) -> dict[str, Any]:
    """A plan as plain data, without what is secret in it."""
    resources = plan.platform.resources
    environment = {
        each.name: None if each.value is None else redacted(f"{each.name}={each.value}").partition("=")[2]
        for each in plan.environment
    }
    return {
        "box": str(plan.box.root),
        "workspace": str(plan.workspace),
        "parameters": [
            {"name": each.name, "type": each.type, "direction": each.direction, "path": str(each.path)}
            for each in plan.parameters
        ],
        "environment": environment,
        "network": plan.network,
        "timeout": plan.timeout,
        "resources": asdict(resources),
        "options": asdict(plan.platform.options),
        "arguments": [redacted(word) for word in plan.platform.arguments],
        "ca_bundle": str(plan.ca_bundle) if plan.ca_bundle else None,
    }


def _record(content: Any, path: Path) -> RunRecord:
    try:
        if content["schema_version"] > SCHEMA_VERSION:
            raise ConfigurationError(
                f"the record {str(path)!r} was written by a newer version, {content['tool_version']}",
                hint="install that version or a newer one",
            )
        content["supervisor"] = Supervisor(**content["supervisor"])
        content["commands"] = tuple(content["commands"])
        return RunRecord(**content)
    except (KeyError, TypeError) as error:
        raise ConfigurationError(f"the record {str(path)!r} is damaged: {error}") from error


def _now() -> str:
    seconds = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(seconds % 1 * 1000):03d}Z"
