"""The bottom lines of a terminal, which show how things are now, below all that is written meanwhile."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO

_PAUSE = 0.1
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class Screen:
    """Everything that is written to the terminals of this process is written through it, line by line.

    ``lines`` says what is at the bottom, given a sign of life; nothing is, when ``is_live`` is False.
    """

    def __init__(self, stream: IO[str], lines: Callable[[str], list[str]], *, is_live: bool) -> None:
        self.stream = stream
        self.is_live = is_live
        self._lines = lines
        self._drawn = 0
        self._turn = 0
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)

    def __enter__(self) -> Screen:
        if self.is_live:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self.is_live:
            self._thread.join()
            with self._lock, suppress(OSError):
                self._write(self._erasure())

    @contextmanager
    def above(self) -> Iterator[None]:
        """Write whole lines to the terminal, by any way; nobody else does meanwhile."""
        with self._lock:
            if self.is_live:
                self._write(self._erasure())
            yield
            if self.is_live:
                self._write(self._drawing())

    def write(self, target: IO[str], text: bytes) -> None:
        """Write whole lines to a stream, which may be this terminal.  Raises :class:`OSError`."""
        with self._lock:
            if self.is_live and target.isatty():
                before, after = self._erasure(), self._drawing()
                text = before.encode() + text + after.encode("utf-8", "replace")
            target.flush()
            target.buffer.write(text)  # type: ignore[attr-defined]
            target.flush()

    def _live(self) -> None:
        while not self._over.wait(_PAUSE):
            self._turn += 1
            with self._lock, suppress(OSError):
                self._write(self._erasure() + self._drawing())

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()

    def _erasure(self) -> str:
        lines, self._drawn = self._drawn, 0
        if lines == 0:
            return ""
        return f"\r\x1b[{lines - 1}A\x1b[J" if lines > 1 else "\r\x1b[J"

    def _drawing(self) -> str:
        from rich.cells import set_cell_size

        try:
            size = os.get_terminal_size(self.stream.fileno())
        except OSError:
            return ""
        sign = _SPINNER[self._turn % len(_SPINNER)]
        room = (size.columns or 80) - 1  # some terminals do not know how large they are
        lines = self._lines(sign)[1 - (size.lines or 24) :]
        self._drawn = len(lines)
        return "\n".join(set_cell_size(line, room).rstrip() for line in lines)
