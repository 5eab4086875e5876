"""Shows a run as it happens: the output of its task as it is, a line of life while it is prepared, and its end."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from mlcommons_box.cli.terminal import Terminal
from mlcommons_box.process import Stream
from mlcommons_box.record import RunRecord
from mlcommons_box.report.records import duration_text
from mlcommons_box.runners.interface import Outcome

if TYPE_CHECKING:
    from rich.status import Status


class TerminalObserver:
    """An observer that writes to the terminal."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self.display: Status | None = None
        self.what = ""
        self.began = 0.0

    def preparing(self, what: str) -> None:
        """Begin a line of life (on a terminal), or say once what is done."""
        self.what, self.began = what, time.monotonic()
        if self.terminal.verbosity == 0 and self.terminal.stream.isatty():
            from rich.console import Console
            from rich.status import Status

            if self.display is None:
                console = Console(stderr=True, no_color=not self.terminal.colour)
                self.display = Status(what, console=console, spinner="dots")
                self.display.start()
            self.display.update(what)
        else:
            self.terminal.step(what)

    def preparation_output(self, chunk: bytes) -> None:
        """Show the last line that the tool wrote; everything, for those who want it."""
        text = chunk.decode("utf-8", "replace")
        if self.terminal.verbosity > 0:
            self.terminal.detail(text.rstrip("\n"))
        elif self.display is not None:
            from rich.markup import escape

            lines = [line for line in text.replace("\r", "\n").splitlines() if line.strip()]
            if lines:
                room = max(0, self.display.console.width - len(self.what) - 4)  # one line, whatever is said
                self.display.update(f"{self.what} [dim]{escape(lines[-1].strip()[: min(room, 60)])}[/dim]")

    def prepared(self) -> None:
        """End the line of life and say how long it took."""
        if self.display is not None:
            self.display.stop()
            self.display = None
        if self.what:
            self.terminal.success(f"{self.what}: {duration_text(time.monotonic() - self.began)}")
            self.what = ""

    def started(self, native_id: str) -> None:
        """The task runs."""
        self.terminal.detail(f"started: {native_id}")

    def output(self, stream: Stream, chunk: bytes) -> None:
        """What the task writes goes where it wrote it, at once."""
        target = (sys.stdout if stream == "stdout" else sys.stderr).buffer
        target.write(chunk)
        target.flush()


def show_end(record: RunRecord, terminal: Terminal) -> None:
    """Say how a recorded run ended."""
    if record.status == "running":
        return
    outcome = Outcome(status=record.status, exit_status=record.exit_status or 0, reason=record.reason)
    show_outcome(record.run, outcome, record.duration or 0.0, terminal)


def show_outcome(run: str, outcome: Outcome, duration: float, terminal: Terminal, count: str = "") -> None:
    """Say how a run ended; ``count`` says how many of several have."""
    took = duration_text(duration)
    if outcome.status == "succeeded":
        terminal.success(f"{run}: succeeded in {took}{count}")
        if outcome.reason:
            terminal.note(outcome.reason)
    elif outcome.status == "cancelled":
        terminal.error(f"the run {run!r} was {outcome.reason or 'cancelled'} after {took}{count}")
    elif outcome.status == "lost":
        reason = outcome.reason or "nobody knows how it ended"
        terminal.error(f"the run {run!r} is lost after {took}: {reason}{count}")
    else:
        reason = f" ({outcome.reason})" if outcome.reason else ""
        status = outcome.exit_status
        terminal.error(f"the run {run!r} failed after {took} with exit status {status}{reason}{count}")
