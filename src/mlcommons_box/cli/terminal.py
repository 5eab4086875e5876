"""What a person sees: messages on standard error, so that standard output is the task's alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO

from mlcommons_box.errors import EX_CONFIGURATION, BoxError, Problem, ProblemsError
from mlcommons_box.report.problems import problem_text, shown, summary

_WITHOUT_LIMIT = 10_000
"""Columns for a table that nobody looks at in a terminal."""


def uses_colour(stream: IO[str]) -> bool:
    """Whether to write colour: only to a terminal that has it, and never under ``NO_COLOR`` (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_table(table: object) -> None:
    """Print a table, or another thing of Rich, to standard output.

    Piped, it is not cut to the width of a terminal that nobody looks at.
    """
    from rich.console import Console

    width = None if sys.stdout.isatty() else _WITHOUT_LIMIT
    Console(no_color=not uses_colour(sys.stdout), highlight=False, width=width).print(table)


class Terminal:
    """Writes our messages.  ``verbosity`` is -1 (errors only), 0 or 1."""

    def __init__(self, verbosity: int = 0) -> None:
        self.verbosity = verbosity
        self.stream = sys.stderr
        self.colour = uses_colour(self.stream)

    def error(self, message: str, hint: str | None = None) -> None:
        """What went wrong, and what to do."""
        self.problem(Problem(code="", message=message, hint=hint))

    def problem(self, problem: Problem) -> None:
        """One problem at its place."""
        self.write(problem_text(problem, colour=self.colour))

    def problems(self, problems: Sequence[Problem]) -> None:
        """All problems, and how many there are."""
        for problem in problems:
            self.problem(problem)
            self.write("")
        self.write(self.styled(summary(problems), "1"))

    def failure(self, error: BoxError) -> None:
        """An error that ends the command."""
        if isinstance(error, ProblemsError) and len(error.problems) > 1:
            self.problems(error.problems)
        elif isinstance(error, ProblemsError):
            self.problem(error.problems[0])
        else:
            self.error(error.message, error.hint)

    def unreadable(self, errors: Mapping[str, BoxError]) -> int:
        """Records that cannot be read, by the ids of their runs; the exit status of who could not look at all."""
        for error in errors.values():
            self.failure(error)
        return EX_CONFIGURATION if errors else 0

    def note(self, message: str) -> None:
        """Something worth knowing."""
        if self.verbosity >= 0:
            self.write(f"{self.styled('note', '36;1')}: {shown(message)}")

    def step(self, message: str) -> None:
        """Something begins."""
        if self.verbosity >= 0:
            self.write(f"{self.styled('==>', '34;1')} {self.styled(shown(message), '1')}")

    def success(self, message: str) -> None:
        """Something has ended well."""
        if self.verbosity >= 0:
            self.write(f"{self.styled('==>', '32;1')} {shown(message)}")

    def detail(self, message: str) -> None:
        """For those who want to see everything."""
        if self.verbosity >= 1:
            self.write(shown(message))

    def styled(self, text: str, style: str) -> str:
        """Text in an ANSI style, where there is colour."""
        return f"\x1b[{style}m{text}\x1b[0m" if self.colour else text

    def write(self, text: str) -> None:
        """One message; a terminal that has gone away is no reason to fail."""
        with suppress(OSError):
            print(text, file=self.stream, flush=True)  # the one place that prints to people
