"""One step of a preparation: a tool whose output is shown while it works, and kept for the message if it fails."""

from __future__ import annotations

from typing import Protocol

from mlcommons_box.command import Command
from mlcommons_box.errors import Interrupted
from mlcommons_box.process import stream


class PreparationObserver(Protocol):
    """Who is told about a preparation; a part of :class:`~mlcommons_box.runners.interface.Observer`."""

    def preparing(self, what: str) -> None:
        """A step begins."""

    def prepared(self) -> None:
        """All steps have ended."""

    def preparation_output(self, chunk: bytes) -> None:
        """A step wrote something."""


def run_step(command: Command, observer: PreparationObserver, *, mark: str | None = None) -> tuple[int, str]:
    """Run a command to its end; returns its exit status and all that it said.

    Raises :class:`Interrupted` when a signal ended it, and :class:`~mlcommons_box.errors.UnavailableError` when the
    program cannot be started.
    """
    said = bytearray()

    def keep(_: str, chunk: bytes) -> None:
        said.extend(chunk)
        observer.preparation_output(chunk)

    completed = stream(command, on_output=keep, mark=mark)
    if completed.interrupted_by is not None:
        raise Interrupted(completed.interrupted_by)
    return completed.exit_status, said.decode("utf-8", "replace")
