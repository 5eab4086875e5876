"""Asks the tools of this machine, each for a limited time.  Whatever they do is an answer, never an exception."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from mlcommons_box.command import Command
from mlcommons_box.errors import Interrupted, UnavailableError
from mlcommons_box.process import Stream, stream
from mlcommons_box.runners.programs import which
from mlcommons_box.value import Value

PATIENCE = 10.0
"""Seconds to wait for an answer."""
_GRACE = 0.5


class Answer(Value):
    """What a tool said.  ``status`` is None when it could not be started; the reason is then in ``err``."""

    status: int | None = 0
    out: str = ""
    err: str = ""
    timed_out: bool = False
    patience: float = PATIENCE

    @property
    def said(self) -> str:
        """All of it."""
        return f"{self.out}\n{self.err}".strip()

    @property
    def succeeded(self) -> bool:
        """Whether the tool did what it was asked."""
        return self.status == 0 and not self.timed_out


class Tools:
    """The tools that an environment's PATH leads to.  May be asked from several threads at once."""

    def __init__(self, environ: Mapping[str, str], patience: float = PATIENCE) -> None:
        self.environ = environ
        self.patience = patience
        self._lock = threading.Lock()
        self._asked: set[int] = set()
        self._stopped = False

    def where(self, program: str) -> Path | None:
        """Where a program is."""
        found = which(program, self.environ)
        return Path(found) if found else None

    def ask(self, *argv: str | Path, client: bool = False) -> Answer:
        """What a command says.  ``client`` is for one that may leave a process for the next call of it."""
        heard: dict[Stream, bytes] = {"stdout": b"", "stderr": b""}

        def hear(name: Stream, chunk: bytes) -> None:
            heard[name] += chunk

        command = Command(argv=tuple(map(str, argv)), environment=tuple(self.environ.items()))
        started: list[int] = []

        def begin(pid: int) -> None:
            with self._lock:
                started.append(pid)
                self._asked.add(pid)
                if self._stopped:
                    _kill(pid)

        try:
            completed = stream(
                command, on_output=hear, on_start=begin, timeout=self.patience, grace=_GRACE, client=client
            )
        except UnavailableError as error:
            return Answer(status=None, err=error.message, patience=self.patience)
        finally:
            with self._lock:
                self._asked.difference_update(started)
        if completed.interrupted_by is not None:
            raise Interrupted(completed.interrupted_by)
        return Answer(
            status=completed.exit_status,
            out=heard["stdout"].decode("utf-8", "replace"),
            err=heard["stderr"].decode("utf-8", "replace"),
            timed_out=completed.timed_out,
            patience=self.patience,
        )

    def stop(self) -> None:
        """End those that are being asked, because nobody waits for their answers any more."""
        with self._lock:
            self._stopped = True
            for pid in self._asked:
                _kill(pid)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
