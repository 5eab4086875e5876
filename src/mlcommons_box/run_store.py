"""What happened, on disk: one directory for each run, below ``.mlbox/runs`` in the workspace.

It holds ``record.json`` and what the task wrote, ``stdout.log`` and ``stderr.log``.  The record is written before
the run starts, and replaced in one step whenever it changes, so that a reader sees all of a state or none of it.

A workspace may come from a stranger: what is read from it is checked, and no name in it, nor one that the user
gives, leads out of the directory of the runs.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NoReturn

from mlcommons_box.errors import CannotCreateError, ConfigurationError, UsageError
from mlcommons_box.process import Stream
from mlcommons_box.record import SCHEMA_VERSION, STATUSES, RunRecord, Supervisor, moment
from mlcommons_box.value import as_data, field_names, is_required

DIRECTORY = Path(".mlbox", "runs")
"""Below the workspace."""
RECORD_FILE = "record.json"
_SHOWN_MATCHES = 5


class RunStore:
    """The records of a workspace."""

    def __init__(self, workspace: Path) -> None:
        self.directory = workspace / DIRECTORY

    def path(self, run_id: str, name: str = "") -> Path:
        """A run's directory, or a file in it; raises :class:`UsageError` for an id that is no plain name."""
        if run_id in ("", ".", "..") or "/" in run_id or "\0" in run_id:
            raise _no_such_run(run_id)
        return self.directory / run_id / name

    def log(self, run_id: str, stream: Stream) -> Path:
        """What the task of a run wrote to one of its streams."""
        return self.path(run_id, f"{stream}.log")

    def open_log(self, run_id: str, stream: Stream) -> IO[bytes]:
        """The same, open for reading; raises :class:`OSError`."""
        return _open_file(self.log(run_id, stream))

    def write(self, record: RunRecord) -> None:
        """Write or replace a record in one step.  Raises :class:`CannotCreateError`.

        Nothing waits for the disk: when the machine itself fails, the record may be lost with what the run made.
        """
        target = self.path(record.id, RECORD_FILE)
        partial = target.with_name(f"{RECORD_FILE}.{os.getpid()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(_text(record), "ascii")
            partial.replace(target)
        except OSError as error:
            with suppress(OSError):
                partial.unlink()
            raise CannotCreateError(
                f"cannot write the record {str(target)!r}: {error.strerror}",
                hint="free some space, or use --workspace with a directory that you can write to",
            ) from error

    def ids(self) -> list[str]:
        """The runs by their ids, which begin with the time when a run was planned.

        What else lies in the directory is left out.  Raises :class:`ConfigurationError`.
        """
        try:
            with os.scandir(self.directory) as entries:
                return sorted(
                    entry.name
                    for entry in entries
                    if entry.is_dir(follow_symlinks=False) and os.path.lexists(Path(entry.path, RECORD_FILE))
                )
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ConfigurationError(
                f"cannot read the records in {str(self.directory)!r}: {error.strerror}"
            ) from error

    def read(self, run_id: str) -> RunRecord:
        """A run's record.

        Raises :class:`UsageError` when there is none, and :class:`ConfigurationError` when it cannot be read.
        """
        record = self._read(run_id)
        refreshed = record.refreshed()
        # Between the two looks the run may have ended well, and its supervisor after it.
        return refreshed if refreshed is record else self._read(run_id).refreshed()

    def read_all(self) -> tuple[list[RunRecord], dict[str, ConfigurationError]]:
        """The records in the order in which the runs started; by their ids, what is wrong with the others."""
        records = []
        unreadable = {}
        for run_id in self.ids():
            try:
                records.append(self.read(run_id))
            except UsageError:
                continue  # removed meanwhile
            except ConfigurationError as error:
                unreadable[run_id] = error
        return sorted(records, key=lambda record: (record.started_at, record.id)), unreadable

    def find(self, text: str | None) -> RunRecord:
        """The run that a text means; the latest one for None.

        A text is the beginning or the random end of an id, or the name of a run configuration, which means its
        latest run.  Raises :class:`UsageError` when it means none or several, and :class:`ConfigurationError`
        when the record cannot be read.
        """
        ids = self.ids()
        if not ids:
            raise UsageError("there are no runs yet", hint="'mlbox run' makes one")
        if text is None:
            return self._latest()
        matching = [run_id for run_id in ids if text and (run_id.startswith(text) or run_id.endswith(f"-{text}"))]
        if text in matching or len(matching) == 1:
            return self.read(text if text in matching else matching[0])
        records, _ = self.read_all()
        names = {record.run for record in records}
        same = sorted(name for name in names if name.rpartition("/")[2] == text)
        if text in names or len(same) == 1:
            name = text if text in names else same[0]
            return next(record for record in reversed(records) if record.run == name)
        if matching:
            raise UsageError(f"several runs begin with {text!r}: {_listed(matching)}", hint="write more of it")
        if same:
            raise UsageError(f"several run configurations are called {text!r}: {_listed(same)}", hint="choose one")
        raise _no_such_run(text, names)

    def _latest(self) -> RunRecord:
        """The run that started last.  One whose record cannot be read counts by its id: it may be the one."""
        records, unreadable = self.read_all()
        last = max(unreadable, default="")
        if unreadable and (not records or last > records[-1].id):
            raise unreadable[last]
        if not records:
            raise UsageError("there are no runs yet", hint="'mlbox run' makes one")
        return records[-1]

    def _read(self, run_id: str) -> RunRecord:
        """A run's record as it was written."""
        path = self.path(run_id, RECORD_FILE)
        try:
            with _open_file(path) as file:
                content = json.loads(file.read(), parse_constant=_refuse_constant)
            return _record(content, run_id, path)
        except FileNotFoundError:
            raise _no_such_run(run_id) from None
        except OSError as error:
            raise ConfigurationError(f"cannot read the record {str(path)!r}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(
                f"the record {str(path)!r} is damaged: {error}", hint="remove its directory if it is of no use"
            ) from error


def _text(record: RunRecord) -> str:
    """A record as JSON, a field a line: the indented form of the standard library takes ten times as long."""
    lines = (f" {json.dumps(name)}: {json.dumps(value)}" for name, value in as_data(record).items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


_KINDS: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "str": (str,),
    "int | None": (int, type(None)),
    "str | None": (str, type(None)),
    "float | None": (int, float, type(None)),
    "RecordStatus": (str,),
    "Supervisor": (dict,),
    "Mapping[str, Any]": (dict,),
    "tuple[str, ...]": (list,),
}
"""What JSON has for the types of fields."""


def _record(content: Any, run_id: str, path: Path) -> RunRecord:
    """The record that was written as ``content``; raises :class:`ValueError` when it is none."""
    if not isinstance(content, dict):
        raise ValueError("it is not an object")
    version = content.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ConfigurationError(
            f"the record {str(path)!r} was written by a newer version, {content.get('tool_version')}",
            hint="install that version or a newer one",
        )
    values = _values(RunRecord, content)
    values["supervisor"] = Supervisor(**_values(Supervisor, values["supervisor"]))
    values["commands"] = tuple(values.get("commands", ()))
    record = RunRecord(**values)
    if record.id != run_id:
        raise ValueError(f"it is the record of the run {record.id!r}")
    if record.status not in STATUSES:
        raise ValueError(f"it has the status {record.status!r}")
    for text in (record.started_at, record.ended_at):
        if text is not None:
            moment(text)
    if not all(isinstance(command, str) for command in record.commands):
        raise ValueError("'commands' are no texts")
    if not _are_parameters(record.plan.get("parameters", [])):
        raise ValueError("the parameters of its plan are none")
    return record


def _values(kind: type[RunRecord | Supervisor], content: Mapping[str, Any]) -> dict[str, Any]:
    """What the fields of a class have in data; keys that a later version has added are left out."""
    values = {}
    for name in field_names(kind):
        if name in content:
            value = content[name]
            kinds = _KINDS[kind.__annotations__[name]]
            wrong = not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)
            if wrong or (isinstance(value, float) and not math.isfinite(value)):
                raise ValueError(f"{name!r} cannot be {json.dumps(value)[:60]}")
            values[name] = value
        elif is_required(kind, name):
            raise ValueError(f"it has no {name!r}")
    return values


def _are_parameters(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, dict) and all(isinstance(each.get(key), str) for key in ("name", "direction", "path"))
        for each in value
    )


def _open_file(path: Path) -> IO[bytes]:
    """A file to read; a link, which may lead anywhere, or a pipe, which may never end, is none."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a file", str(path))
    return os.fdopen(descriptor, "rb")


def _refuse_constant(name: str) -> NoReturn:
    """JSON has no NaN and no Infinity, whatever Python thinks."""
    raise ValueError(f"{name} is no JSON")


def _no_such_run(text: str, known: Iterable[str] = ()) -> UsageError:
    from mlcommons_box.definition.rules import did_you_mean, nearest

    hint = did_you_mean(nearest(text, sorted(known))) or "'mlbox runs' lists them"
    return UsageError(f"there is no run {text!r}", hint=hint)


def _listed(texts: list[str]) -> str:
    more = len(texts) - _SHOWN_MATCHES
    return ", ".join(texts[:_SHOWN_MATCHES]) + (f" and {more} more" if more > 0 else "")
