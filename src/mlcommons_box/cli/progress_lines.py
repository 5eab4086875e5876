"""Whole lines of what a task writes, so that those of several tasks can stand below each other."""

from __future__ import annotations

_LONGEST = 1 << 16
"""Bytes after which a line is handed on though it has not ended."""


class Lines:
    """Cuts a stream into lines without their ends.  Of a line that was written over, the last state counts."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that have ended."""
        *whole, rest = (self._rest + chunk).split(b"\n")
        lines = [_last_state(line) for line in whole]
        if b"\r" in rest[:-1]:  # a progress bar may be written over for hours
            rest = rest[:-1].rpartition(b"\r")[2] + rest[-1:]
        while len(rest) > _LONGEST:
            lines.append(rest[:_LONGEST])
            rest = rest[_LONGEST:]
        self._rest = rest
        return lines

    def end(self) -> list[bytes]:
        """The line that never ended, if there is one."""
        rest, self._rest = self._rest, b""
        return [_last_state(rest)] if rest else []


def _last_state(line: bytes) -> bytes:
    return line.rstrip(b"\r").rpartition(b"\r")[2]
