"""Writes the logs of a run while it is observed."""

from __future__ import annotations

from contextlib import ExitStack
from typing import IO

from mlcommons_box.errors import CannotCreateError
from mlcommons_box.process import Stream
from mlcommons_box.run_store import RunStore
from mlcommons_box.runners.interface import Observer


class LogWriter:
    """Passes everything on to another observer, and writes the run's logs, from their beginning."""

    def __init__(self, store: RunStore, run_id: str, observer: Observer) -> None:
        self.store = store
        self.run_id = run_id
        self.observer = observer
        self._files = ExitStack()
        self._logs: dict[Stream, IO[bytes]] = {}

    def __enter__(self) -> LogWriter:
        """Open the logs.  Raises :class:`CannotCreateError`."""
        streams: tuple[Stream, ...] = ("stdout", "stderr")
        try:
            for stream in streams:
                log = self.store.log(self.run_id, stream)
                self._logs[stream] = self._files.enter_context(log.open("wb", buffering=0))
        except OSError as error:
            self._files.close()
            raise self._cannot_write(stream, error) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def preparing(self, what: str) -> None:
        self.observer.preparing(what)

    def preparation_output(self, chunk: bytes) -> None:
        self.observer.preparation_output(chunk)

    def prepared(self) -> None:
        self.observer.prepared()

    def started(self, native_id: str) -> None:
        self.observer.started(native_id)

    def output(self, stream: Stream, chunk: bytes) -> None:
        try:
            self._logs[stream].write(chunk)
        except OSError as error:
            raise self._cannot_write(stream, error) from error
        self.observer.output(stream, chunk)

    def _cannot_write(self, stream: Stream, error: OSError) -> CannotCreateError:
        log = str(self.store.log(self.run_id, stream))
        return CannotCreateError(f"cannot write the log {log!r}: {error.strerror}", hint="free some space")
