"""What can go wrong: exit statuses, problems with a place, and the exception tree.

Exit statuses follow BSD ``sysexits.h``, so that they cannot be mistaken for a task's own status, which is
passed through unchanged.  124 and 130 are what ``timeout(1)`` and a shell report.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlcommons_box.value import Value

EX_USAGE = 64
"""The command line is wrong."""
EX_DEFINITION = 65
"""A definition file is wrong."""
EX_MISSING_INPUT = 66
"""An input that a run needs does not exist."""
EX_UNAVAILABLE = 69
"""A runner, or an engine that it needs, is not available."""
EX_SOFTWARE = 70
"""A defect of this software; a crash file was written."""
EX_CANNOT_CREATE = 73
"""An output, or a file of ours, cannot be created."""
EX_TEMPORARY = 75
"""The outcome of a run was lost, or a later attempt may succeed."""
EX_CONFIGURATION = 78
"""Files are well formed, but ask for what cannot be done."""
EX_TIMED_OUT = 124
"""A task ran out of time."""
EX_INTERRUPTED = 130
"""The user interrupted us (128 plus the number of SIGINT)."""
EX_CLOSED_OUTPUT = 141
"""Whoever read our output has left (128 plus the number of SIGPIPE)."""


class Location(Value):
    """A place in a text file.

    ``line`` and ``column`` count from 1, in lines and characters.  ``length`` is the number of characters
    that the place spans on its line (at least 1), and ``text`` is that whole line without its line break.
    ``line`` is 0 when the place is the file as a whole.
    """

    file: str
    line: int = 0
    column: int = 0
    length: int = 1
    text: str = ""


class Problem(Value):
    """One mistake in what the user gave us, ready to be shown.

    ``code`` is a stable identifier for machines (``unknown-key``, ``wrong-type`` ...), ``message`` says what
    was expected and what was found, and ``hint`` what to do about it.  ``exit_status`` is what a command
    that stops because of this problem alone returns.
    """

    code: str
    message: str
    location: Location | None = None
    hint: str | None = None
    exit_status: int = EX_DEFINITION


class BoxError(Exception):
    """Base of every error that this software raises on purpose."""

    exit_status = EX_SOFTWARE

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """All of it: a traceback, as in a notebook, is the only place where it is seen."""
        return _with_hint(self.message, self.hint)


class UsageError(BoxError):
    """The caller asked for something that does not exist: a flag, a name, a combination."""

    exit_status = EX_USAGE


class ProblemsError(BoxError):
    """One or more :class:`Problem`; the exit status is that of the first kind that is not a missing input."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        if not problems:
            raise ValueError("an error needs at least one problem")
        self.problems = tuple(problems)
        count = len(self.problems)
        super().__init__(self.problems[0].message if count == 1 else f"{count} problems")
        self.exit_status = exit_status_of(self.problems)

    def __str__(self) -> str:
        """Every problem with its place."""
        lines = [_with_hint(_place(each.location) + each.message, each.hint) for each in self.problems]
        return "\n".join(lines if len(lines) == 1 else [self.message, *lines])


class DefinitionError(ProblemsError):
    """Definition files are wrong; carries all problems found in them."""


class MissingInputError(ProblemsError):
    """Inputs of a run do not exist, or are not of the type that the task declares."""


class ConfigurationError(BoxError):
    """Files are well formed, but ask for what cannot be done."""

    exit_status = EX_CONFIGURATION


class UnavailableError(BoxError):
    """A runner, or the engine that it drives, is not available or not usable on this host."""

    exit_status = EX_UNAVAILABLE


class PreparationError(UnavailableError):
    """The engine could not prepare what the box needs (an environment, an image)."""


class CannotReadError(BoxError):
    """A file that has to be read cannot be."""

    exit_status = EX_MISSING_INPUT


class CannotCreateError(BoxError):
    """An output directory, or a file of ours, cannot be created."""

    exit_status = EX_CANNOT_CREATE


class Interrupted(BoxError):
    """The user or the system asked us to stop; ``exit_status`` is 128 plus the signal's number."""

    def __init__(self, signal_number: int) -> None:
        super().__init__("interrupted")
        self.signal_number = signal_number
        self.exit_status = 128 + signal_number


def _with_hint(message: str, hint: str | None) -> str:
    return f"{message}\n  help: {hint}" if hint else message


def _place(location: Location | None) -> str:
    if location is None:
        return ""
    return f"{location.file}:{location.line}:{location.column}: " if location.line else f"{location.file}: "


def exit_status_of(problems: Sequence[Problem]) -> int:
    """The exit status for several problems: a wrong definition weighs more than a missing input."""
    for problem in problems:
        if problem.exit_status != EX_MISSING_INPUT:
            return problem.exit_status
    return EX_MISSING_INPUT
