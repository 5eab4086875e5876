"""What happened, on disk: the records of a workspace, in one file to which only is added (:mod:`.journal`).

``.mlbox/runs.jsonl`` has a line for a run before it starts, with all that is known, and one for each change, with
what has changed.  What the task wrote is in ``.mlbox/runs/ID``, ``stdout.log`` and ``stderr.log``, once it has
written something.

A workspace may come from a stranger: what is read from it is checked, and no name in it, nor one that the user
gives, leads out of the directory of the runs.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from mlcommons_box.errors import CannotCreateError, ConfigurationError, UsageError
from mlcommons_box.journal import Journal, entry_of, open_regular
from mlcommons_box.process import Stream
from mlcommons_box.record import RunRecord
from mlcommons_box.record_data import _DEFAULTS, record_of
from mlcommons_box.value import as_data

DIRECTORY = Path(".mlbox", "runs")
"""Below the workspace."""
FILE = Path(".mlbox", "runs.jsonl")
"""The same, of the records."""
JOB_FILE = "job.json"
"""In the directory of a run that goes on without us (:mod:`.runners.submitted_run`)."""
_LINE = re.compile(rb'^\{"id": "([^"\\\x00-\x1f]+)".*', re.MULTILINE)
_SHOWN_MATCHES = 5


class RunStore:
    """The records of a workspace."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self.directory = workspace / DIRECTORY
        self.journal = Journal(workspace / FILE)
        self._written: dict[str, dict[str, Any]] = {}

    def path(self, run_id: str, name: str = "") -> Path:
        """A run's directory, or a file in it; raises :class:`UsageError` for an id that is no plain name."""
        if run_id in ("", ".", "..") or "/" in run_id or "\0" in run_id:
            raise _no_such_run(run_id)
        return self.directory / run_id / name

    def log(self, run_id: str, stream: Stream) -> Path:
        """What the task of a run wrote to one of its streams; not there when it wrote nothing."""
        return self.path(run_id, f"{stream}.log")

    def open_log(self, run_id: str, stream: Stream) -> IO[bytes]:
        """The same, open for reading; raises :class:`OSError`."""
        return os.fdopen(open_regular(self.log(run_id, stream), os.O_RDONLY), "rb")

    def begin(self, record: RunRecord) -> None:
        """Write the first line of a run that nobody has written of before; raises as :meth:`write` does."""
        self._written[record.id] = _DEFAULTS
        self.write(record)

    def write(self, *records: RunRecord) -> None:
        """Write records, or what has changed in them since this store wrote them, all or nothing.

        Raises :class:`CannotCreateError`.  Nothing waits for the disk: when the machine itself fails, a record may
        be lost with what the run made.
        """
        lines = []
        for record in records:
            self.path(record.id)
            content = {"id": record.id, **as_data(record)}
            before = self._written.get(record.id, {})
            changed = {
                name: value for name, value in content.items() if name not in before or before[name] != value
            }
            lines.append({"id": record.id, **changed})
            self._written[record.id] = content
        try:
            self.journal.append(lines)
        except OSError as error:
            for record in records:
                self._written.pop(record.id, None)
            raise CannotCreateError(
                f"cannot write the record {str(self.journal.file)!r}: {error.strerror}",
                hint="free some space, or use --workspace with a directory that you can write to",
            ) from error
        for record in records:
            if record.status != "running":
                self._written.pop(record.id, None)

    def remove(self, run_ids: Collection[str]) -> None:
        """Remove records, their logs and what else is in their directories.  Raises :class:`CannotCreateError`."""
        import shutil

        directories = [self.path(run_id) for run_id in run_ids]
        for parent in (self.directory.parent, self.directory):
            if parent.is_symlink():  # a stranger's leads anywhere, and what is there has the names that it likes
                raise CannotCreateError(
                    f"nothing is removed through the link {str(parent)!r}",
                    hint="put a directory in its place, or remove it",
                )
        names = {run_id.encode() for run_id in run_ids}

        def is_kept(line: bytes) -> bool:
            found = _LINE.match(line)
            return found is None or found[1] not in names

        try:
            for directory in directories:
                if directory.is_symlink():
                    directory.unlink()
                elif directory.exists():
                    shutil.rmtree(directory)
            self.journal.keep(is_kept)
        except RecursionError as error:
            raise CannotCreateError(
                f"cannot remove all of {str(self.directory)!r}: it is nested too deep", hint="'rm -rf' can"
            ) from error
        except OSError as error:
            raise CannotCreateError(
                f"cannot remove {error.filename or str(self.journal.file)!r}: {error.strerror}"
            ) from error

    def ids(self) -> list[str]:
        """The runs by their ids, which begin with the time when a run was planned.

        Raises :class:`ConfigurationError`.
        """
        found = self._entries().items()
        return sorted(run_id for run_id, lines in found if any(entry_of(line) is not None for line in lines))

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
        for run_id, lines in self._entries().items():
            try:
                record = self.record_of(run_id, lines)
                is_over = record.refreshed() is record
                records.append(record if is_over else self.read(run_id))
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
        return self._latest() if text is None else self.read(self.id_of(text))

    def id_of(self, text: str) -> str:
        """The id of the run that a text means, whether its record can be read or not; raises as the others do."""
        ids = self.ids()
        if not ids:
            raise UsageError("there are no runs yet", hint="'mlbox run' makes one")
        matching = [run_id for run_id in ids if text and (run_id.startswith(text) or run_id.endswith(f"-{text}"))]
        if text in matching or len(matching) == 1:
            return text if text in matching else matching[0]
        records, _ = self.read_all()
        names = {record.run for record in records}
        same = sorted(name for name in names if name.rpartition("/")[2] == text)
        if text in names or len(same) == 1:
            name = text if text in names else same[0]
            return next(record.id for record in reversed(records) if record.run == name)
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
        self.path(run_id)
        entries = self._entries(run_id)
        if run_id not in entries:
            raise _no_such_run(run_id)
        return self.record_of(run_id, entries[run_id])

    def _entries(self, only: str | None = None) -> dict[str, list[bytes]]:
        """The lines of every run, or of one.  Raises :class:`ConfigurationError`."""
        try:
            content = self.journal.content()
        except OSError as error:
            raise ConfigurationError(
                f"cannot read the records in {str(self.journal.file)!r}: {error.strerror}"
            ) from error
        pattern = _LINE
        if only is not None:
            name = re.escape(json.dumps(only).encode("ascii"))
            pattern = re.compile(rb'^\{"id": "(?=' + name[1:] + rb')([^"\\\x00-\x1f]+)".*', re.MULTILINE)
        found: dict[str, list[bytes]] = {}
        for match in pattern.finditer(content):
            with suppress(UnicodeDecodeError):
                found.setdefault(match[1].decode("ascii"), []).append(match[0])
        return found

    def record_of(self, run_id: str, lines: Iterable[bytes]) -> RunRecord:
        content: dict[str, Any] = {}
        for line in lines:
            content |= entry_of(line) or {}
        if not content:  # a crash cut it off before the run began
            raise _no_such_run(run_id)
        try:
            return record_of(content, run_id, self.journal.file)
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(
                f"the record of the run {run_id!r} in {str(self.journal.file)!r} is damaged: {error}",
                hint=f"'mlbox rm {run_id}' removes it",
            ) from error


def _no_such_run(text: str, known: Iterable[str] = ()) -> UsageError:
    from mlcommons_box.suggestions import did_you_mean, nearest

    hint = did_you_mean(nearest(text, sorted(known))) or "'mlbox runs' lists them"
    return UsageError(f"there is no run {text!r}", hint=hint)


def _listed(texts: list[str]) -> str:
    more = len(texts) - _SHOWN_MATCHES
    return ", ".join(texts[:_SHOWN_MATCHES]) + (f" and {more} more" if more > 0 else "")
