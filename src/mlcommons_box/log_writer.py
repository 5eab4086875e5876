"""Writes the logs of a run while it is observed."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import IO

from mlcommons_box.errors import CannotCreateError
from mlcommons_box.journal import open_regular
from mlcommons_box.process import Stream
from mlcommons_box.run_store import RunStore
from mlcommons_box.runners.interface import Observer, PassesOn


class LogWriter(PassesOn):
    """Passes everything on to another observer, and writes the run's logs, from their beginning.

    A run that writes nothing has no files: many small runs are many small files otherwise.
    """

    def __init__(self, store: RunStore, run_id: str, observer: Observer) -> None:
        super().__init__(observer)
        self.store = store
        self.run_id = run_id
        self._files = ExitStack()
        self._logs: dict[Stream, IO[bytes]] = {}

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def output(self, stream: Stream, chunk: bytes) -> None:
        try:
            if stream not in self._logs:
                log = self.store.log(self.run_id, stream)
                log.parent.mkdir(parents=True, exist_ok=True)
                descriptor = open_regular(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                self._logs[stream] = self._files.enter_context(os.fdopen(descriptor, "wb", buffering=0))
            rest = memoryview(chunk)
            while rest:  # a disk that is nearly full takes a part
                rest = rest[self._logs[stream].write(rest) :]
        except OSError as error:
            raise self._cannot_write(stream, error) from error
        super().output(stream, chunk)

    def _cannot_write(self, stream: Stream, error: OSError) -> CannotCreateError:
        log = str(self.store.log(self.run_id, stream))
        return CannotCreateError(f"cannot write the log {log!r}: {error.strerror}", hint="free some space")
