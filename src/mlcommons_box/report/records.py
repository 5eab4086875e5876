"""Records of runs as text for people and as data for machines.

Times are UTC in both, as they are in the ids of runs.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from mlcommons_box.process import Stream
from mlcommons_box.record import RunRecord, moment
from mlcommons_box.report.problems import one_line, shown
from mlcommons_box.run_store import RunStore
from mlcommons_box.value import as_data

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

RECORD_SCHEMA = Path(__file__).with_name("run_record.json")
"""The JSON Schema of records."""
_LARGEST = 1e100
_LONG_SCRIPT = 12
"""Lines of one command that a person still wants to see."""
_STYLES = {
    "running": ("cyan", "36;1"),
    "succeeded": ("green", "32;1"),
    "failed": ("red", "31;1"),
    "cancelled": ("yellow", "33;1"),
    "lost": ("magenta", "35;1"),
}
"""A status's colour, for rich and as an ANSI style."""


def record_json(record: RunRecord, store: RunStore) -> dict[str, object]:
    """A record as data, as it has to be read now, and where the files of the run are, if it has any."""
    logs = {stream: str(store.log(record.id, stream)) for stream in get_args(Stream)}
    return {**as_data(record), "directory": str(store.path(record.id)), "logs": logs}


def runs_table(records: Sequence[RunRecord], now: datetime | None = None) -> Table:
    """One line for each run, of 80 columns if names are short.

    Ids are cut to their random ends where these differ: they are enough to name a run.
    """
    from rich import box as frames
    from rich.table import Table
    from rich.text import Text

    table = Table(box=frames.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("id", "run", "platform", "status", "exit", "started (UTC)", "duration"):
        is_name = name in ("run", "platform")
        right = name in ("exit", "duration")
        table.add_column(
            name, overflow="fold", no_wrap=not is_name, justify="right" if right else "left", min_width=len(name)
        )
    ends = Counter(_end(record.id) for record in records)
    for record in records:
        end = _end(record.id)
        table.add_row(
            Text(one_line(end if ends[end] == 1 else record.id)),
            Text(one_line(record.run)),
            Text(one_line(record.platform)),
            status_cell(record.status),
            "" if record.exit_status is None else str(record.exit_status),
            time_text(record.started_at),
            duration_text(duration_of(record, now)),
        )
    return table


def status_cell(status: str) -> Text:
    """A status in its colour, for a table; what is none is dim."""
    from rich.text import Text

    return Text(status, _STYLES[status][0] if status in _STYLES else "dim")


def record_text(record: RunRecord, store: RunStore, *, colour: bool = False, now: datetime | None = None) -> str:
    """All that a person wants to know of a run: keys with their values, then parameters, commands and logs."""
    status = f"\x1b[{_STYLES[record.status][1]}m{record.status}\x1b[0m" if colour else record.status
    if record.exit_status is not None:
        status += f", exit status {record.exit_status}"
    watcher = record.supervisor
    rows = [
        ("run", record.run),
        ("id", record.id),
        ("status", status),
        ("reason", record.reason),
        ("box", f"{record.box} {record.box_version}"),
        ("task", record.task),
        ("platform", _platform(record)),
        ("started", f"{time_text(record.started_at)} UTC"),
        ("ended", record.ended_at and f"{time_text(record.ended_at)} UTC"),
        ("duration", duration_text(duration_of(record, now))),
        ("code", _code(record)),
        ("image", _image(record)),
        ("engine", _named(record.engine, "name", "version")),
        ("machine", _machine(record)),
        ("engine's id", record.native_id),
        ("used", _usage(record)),
        ("part of", _named(record.group, "kind", "name", "trial", "of")),
        ("not proved", record.unproved if record.status != "running" else None),
        ("started by", f"mlbox {record.tool_version}, process {watcher.pid} of {watcher.host}"),
    ]
    if record.status == "running" and watcher.is_alive() is None:
        rows.append(("", f"only {watcher.host} can tell whether it still runs"))
    width = max(len(key) for key, _ in rows)
    lines = [f"{key:{width}}  {value if key == 'status' else one_line(value)}" for key, value in rows if value]
    parts = (_parameters(record), _metrics(record), _commands(record), _logs(record, store))
    return "\n".join([*lines, *(line for part in parts for line in part)]) + "\n"


def duration_of(record: RunRecord, now: datetime | None = None) -> float | None:
    """Seconds that a run took, or has taken until now; None where nobody knows."""
    if record.status != "running":
        return record.duration
    return max(0.0, ((now or datetime.now(timezone.utc)) - moment(record.started_at)).total_seconds())


def duration_text(seconds: float | None) -> str:
    """``2.4 s``, ``3m 20s``, ``26h 05m``; empty for None."""
    if seconds is None:
        return ""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02}m"


def time_text(text: str) -> str:
    """``2026-07-27 15:30:00``."""
    return f"{moment(text):%Y-%m-%d %H:%M:%S}"


def _end(run_id: str) -> str:
    return run_id.rpartition("-")[2] or run_id


def _platform(record: RunRecord) -> str:
    same = record.platform == record.runner
    return record.platform if same else f"{record.platform} ({record.runner} runner)"


def _parameters(record: RunRecord) -> list[str]:
    parameters = record.plan.get("parameters", [])
    width = max((len(one_line(each["name"])) for each in parameters), default=0)
    lines = []
    for each in parameters:
        direction = {"input": "in", "output": "out"}.get(each["direction"], "")
        holder = record.inputs if direction == "in" else record.outputs
        digest = _digest(holder.get(each["name"]))
        lines.append(f"  {direction:3}  {one_line(each['name']):{width}}  {digest:12}  {one_line(each['path'])}")
    return ["", "parameters", *lines] if lines else []


def _digest(fingerprint: object) -> str:
    """The beginning of a SHA-256; a stranger's record may hold anything."""
    digest = fingerprint.get("digest") if isinstance(fingerprint, dict) else None
    return one_line(digest)[:12] if isinstance(digest, str) else ""


def _code(record: RunRecord) -> str | None:
    build = _digest(record.code.get("build"))
    git = record.code.get("git")
    if not isinstance(git, dict):
        return build and f"build/ {build}"
    states = {"True": ", changed since", "False": ""}
    dirty = states.get(str(git.get("dirty")), ", perhaps changed since")
    return f"build/ {build}, commit {str(git.get('commit'))[:12]}{dirty}"


def _image(record: RunRecord) -> str | None:
    packages = record.image.get("packages")
    if isinstance(packages, dict):
        return f"Python {record.image.get('python')} with {len(packages)} packages"
    return _named(record.image, "reference", "id")


def _machine(record: RunRecord) -> str | None:
    if not record.machine.get("host"):
        return None
    gpus = record.machine.get("gpus")
    count = f", {len(gpus)} GPUs" if isinstance(gpus, list) and gpus else ""
    processors = f"{record.machine.get('processors')} x {record.machine.get('processor')}"
    return f"{_named(record.machine, 'host')}: {processors}{count}"


def _usage(record: RunRecord) -> str | None:
    memory, seconds = record.usage.get("peak_memory"), record.usage.get("cpu_time")
    texts = [f"{memory / 1e6:.0f} MB of memory at most"] if memory and _is_plausible(memory) else []
    texts += [f"{seconds:.1f} s of processor time"] if _is_plausible(seconds) else []
    return ", ".join(texts) or None


def _is_plausible(value: object) -> bool:
    """Whether it is a number of that a text can be made; a stranger's record may hold anything."""
    return isinstance(value, int | float) and abs(value) < _LARGEST


def _metrics(record: RunRecord) -> list[str]:
    width = max((len(one_line(name)) for name in record.metrics), default=0)
    lines = [f"  {one_line(name):{width}}  {one_line(str(value))}" for name, value in record.metrics.items()]
    return ["", "metrics", *lines] if lines else []


def _named(holder: Mapping[str, Any], *names: str) -> str | None:
    return " ".join(str(holder[name]) for name in names if holder.get(name) is not None) or None


def _commands(record: RunRecord) -> list[str]:
    return (
        ["", "commands", *(f"  {_cut(shown(command))}" for command in record.commands)] if record.commands else []
    )


def _cut(command: str) -> str:
    """A command without most of a script that it is given."""
    first, *others = command.split("\n")
    if len(others) <= _LONG_SCRIPT:
        return command
    return f"{first}\n  ({len(others)} lines more: 'mlbox show --json')"


def _logs(record: RunRecord, store: RunStore) -> list[str]:
    lines = ["", "logs"]
    for stream in get_args(Stream):
        path = store.log(record.id, stream)
        lines.append(f"  {one_line(str(path))}" + ("" if os.path.lexists(path) else "  (not there)"))
    return lines
