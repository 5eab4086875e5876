"""Problems as text for people and as JSON for machines."""

from __future__ import annotations

import os
from collections.abc import Sequence

from mlcommons_box.errors import Location, Problem

_WIDTH = 100
_RED, _BLUE, _BOLD, _RESET = "\x1b[31;1m", "\x1b[34;1m", "\x1b[1m", "\x1b[0m"


def problem_text(problem: Problem, *, colour: bool = False) -> str:
    """A problem with its place, the offending line and the way out.

    ::

        error: unknown key 'ouputs'; did you mean 'outputs'?
          --> tasks/train.yaml:14:1
           |
        14 | ouputs:
           | ^^^^^^
    """
    red, blue, bold, reset = (_RED, _BLUE, _BOLD, _RESET) if colour else ("", "", "", "")
    message, hint = problem.message, problem.hint
    if hint and hint.startswith("did you mean"):
        message, hint = f"{message}; {hint}", None
    lines = [f"{red}error{reset}{bold}: {shown(message)}{reset}"]
    place = problem.location
    margin = ""
    if place:
        number = str(place.line) if place.line else ""
        margin = " " * len(number)
        lines.append(f"{margin} {blue}-->{reset} {place_text(place)}")
        if place.line:
            text, caret = _excerpt(place)
            bar = f"{blue}|{reset}"
            lines += [
                f"{margin} {bar}",
                f"{blue}{number}{reset} {bar} {text}",
                f"{margin} {bar} {red}{caret}{reset}",
            ]
    if hint:
        lines.append(f"{margin} {blue}={reset} help: {shown(hint)}")
    return "\n".join(lines)


def place_text(place: Location) -> str:
    """``file:line:column``, relative to the current directory when that is shorter to read."""
    file = place.file
    here = os.getcwd()
    if file.startswith(here + os.sep):
        file = file[len(here) + 1 :]
    file = one_line(file)
    return f"{file}:{place.line}:{place.column}" if place.line else file


def problem_json(problem: Problem) -> dict[str, object]:
    """The same as data; ``line`` and ``column`` count from 1 and are null where the place is a whole file."""
    place = problem.location
    return {
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint,
        "file": place.file if place else None,
        "line": place.line or None if place else None,
        "column": place.column or None if place else None,
        "end_column": place.column + place.length if place and place.line else None,
        "exit_status": problem.exit_status,
    }


def summary(problems: Sequence[Problem]) -> str:
    """``3 problems in 2 files``."""
    files = {problem.location.file for problem in problems if problem.location}
    count = counted(len(problems), "problem")
    return f"{count} in {counted(len(files), 'file')}" if files else count


def counted(number: int, word: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{number} {word}{'s' * (number != 1)}"


def shown(text: str) -> str:
    """Text from a stranger's file without what could steer a terminal."""
    return "".join(
        character if character.isprintable() or character == "\n" else _escaped(character) for character in text
    )


def one_line(text: str) -> str:
    """The same on one line."""
    return shown(text).replace("\n", "\\n")


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


def _excerpt(place: Location) -> tuple[str, str]:
    """The line (or the part of it around the place) and the marks below it."""
    start, text = place.column - 1, place.text
    if len(text) > _WIDTH:
        cut = max(0, start - _WIDTH // 2)
        text, start = text[cut : cut + _WIDTH], start - cut
    length = max(1, min(place.length, len(text) - start))
    cells = [_cell(character) for character in text]
    before = sum(_width(cell) for cell in cells[:start])
    marked = sum(_width(cell) for cell in cells[start : start + length]) or 1
    end = start + length
    return "".join(cells[:end]) + "".join(cells[end:]).rstrip(), " " * before + "^" * marked


def _cell(character: str) -> str:
    return " " if character == "\t" else character if character.isprintable() else _escaped(character)


def _width(cell: str) -> int:
    """Columns of a terminal that a character takes."""
    if cell.isascii():
        return len(cell)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(character) else 2 if east_asian_width(character) in "WF" else 1 for character in cell)
