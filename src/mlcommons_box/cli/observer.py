"""Shows a run as it happens: the task's output as it is, and one line of life while something is prepared."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from mlcommons_box.cli.terminal import Terminal
from mlcommons_box.process import Stream

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
            self.terminal.success(f"{self.what}: {time.monotonic() - self.began:.1f} s")
            self.what = ""

    def started(self, native_id: str) -> None:
        """The task runs."""
        self.terminal.detail(f"started: {native_id}")

    def output(self, stream: Stream, chunk: bytes) -> None:
        """What the task writes goes where it wrote it, at once."""
        target = (sys.stdout if stream == "stdout" else sys.stderr).buffer
        target.write(chunk)
        target.flush()
