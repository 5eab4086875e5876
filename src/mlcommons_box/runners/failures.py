"""Tells an engine's own failures by what it says, and names the remedy."""

from __future__ import annotations

import re
import time
from typing import NamedTuple

from mlcommons_box.process import Stream
from mlcommons_box.runners.interface import Observer

_TAIL_LINES = 12
_COLOUR = r"\x1b\[[0-9;]*m"
_LONGEST = 1 << 14
"""Bytes of an engine's longest error."""
_BURST = 1.0
"""Seconds within which an engine says all of it."""
_LOOKED_AT = 1 << 13
"""Characters at either end of what a tool said: a stranger's build may print a line that takes patterns hours."""


class Failure(NamedTuple):
    """What an engine says (a regular expression), what that means, and what to do."""

    pattern: str
    meaning: str
    remedy: str


def explained(said: str, failures: tuple[Failure, ...]) -> Failure | None:
    """The first of the failures that the text shows; of a long one the beginning and the end are looked at."""
    if len(said) > 2 * _LOOKED_AT:
        said = f"{said[:_LOOKED_AT]}\n{said[-_LOOKED_AT:]}"
    return next((failure for failure in failures if re.search(failure.pattern, said, re.IGNORECASE)), None)


def explanation(action: str, said: str, failure: Failure | None) -> tuple[str, str | None]:
    """A message of what could not be done, what that means and the end of what the engine said; and the remedy."""
    meaning = f": {failure.meaning}" if failure else ""
    return f"{action}{meaning}\n{tail(said)}", failure.remedy if failure else None


def tail(said: bytes | str, lines: int = _TAIL_LINES) -> str:
    """The end of what a tool said, indented, to stand below a message."""
    text = re.sub(_COLOUR, "", said if isinstance(said, str) else said.decode("utf-8", "replace"))
    kept = [line.rstrip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in kept[-lines:])


class HeldBack:
    """An observer's output, where what looks like an engine's own error waits until it is clear whose it is.

    An engine that cannot start a task says so in the same stream as the task.  Only the beginning of the error
    stream can be that; the moment that anything else comes, all goes on as usual.
    """

    def __init__(self, observer: Observer, beginnings: tuple[bytes, ...]) -> None:
        self.observer = observer
        self.beginnings = beginnings
        self.held = b""
        self.since = 0.0
        self.decided = False

    def output(self, stream: Stream, chunk: bytes) -> None:
        """Pass on, or hold back."""
        if not self.decided and stream == "stderr":
            candidate = self.held + chunk
            self.since = self.since if self.held else time.monotonic()
            brief = len(candidate) <= _LONGEST and time.monotonic() - self.since <= _BURST
            if brief and any(
                candidate.startswith(start) or start.startswith(candidate) for start in self.beginnings
            ):
                self.held = candidate
                return
        self.release()
        self.observer.output(stream, chunk)

    def wait(self) -> None:
        """Time passes: what an engine says of its end comes with its end."""
        if self.held and time.monotonic() - self.since > _BURST:
            self.release()

    def release(self) -> None:
        """What was held back is the task's."""
        self.decided = True
        if self.held:
            self.observer.output("stderr", self.held)
            self.held = b""
