"""A task's output as ``kubectl logs`` shows it: one stream, which may break off and be read once more."""

from __future__ import annotations

from collections.abc import Callable

_HEAD = 256
"""Bytes by which the beginning of a log is known again."""


class Log:
    """Passes on what has not been passed on before, however often the log is read from its start.

    A cluster throws the beginning of a long log away; what is then read is passed on, though a part may come twice.
    """

    def __init__(self, output: Callable[[bytes], None]) -> None:
        self._output = output
        self._head = b""
        self._shown = 0
        self._pending = b""
        self._to_skip = 0
        self._is_known = True

    def begin(self) -> None:
        """The log is read from its start."""
        self._pending = b""
        self._to_skip = self._shown
        self._is_known = self._shown == 0

    def take(self, chunk: bytes) -> None:
        """The next part of it."""
        self._pending += chunk
        if not self._is_known:
            if len(self._pending) < len(self._head):
                return
            self._is_known = True
            if not self._pending.startswith(self._head):
                self._to_skip = 0
        skipped = min(self._to_skip, len(self._pending))
        fresh = self._pending[skipped:]
        self._pending = b""
        self._to_skip -= skipped
        if fresh:
            self._shown += len(fresh)
            self._head = (self._head + fresh)[:_HEAD]
            self._output(fresh)

    def end(self) -> None:
        """Nothing more comes of it this time."""
        if not self._is_known and not self._head.startswith(self._pending):
            self._is_known, self._to_skip = True, 0
            self.take(b"")
