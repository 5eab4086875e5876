"""Make a new box that runs at once: a small training task with its data, and files for every platform.

An existing file is never overwritten: the directory has to be new or empty."""

from __future__ import annotations

import argparse
import getpass
import re
from pathlib import Path

from mlcommons_box.cli.terminal import Terminal
from mlcommons_box.errors import CannotCreateError, UsageError

TEMPLATE = Path(__file__).parent / "new_box"
_NAME = r"[a-z0-9]+(?:[._-][a-z0-9]+)*"

EXAMPLES = """\
examples:
  mlbox init hello && mlbox run hello
  mlbox init boxes/digits --name=digits --author='Ada Lovelace'"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("directory", metavar="DIR", type=Path, help="where the box goes; made if it is not there")
    parser.add_argument("--name", help="name of the box (default: that of the directory)")
    parser.add_argument("--author", help="who develops it (default: your user name)")


def execute(arguments: argparse.Namespace) -> int:
    """Copy the template with the names filled in."""
    directory: Path = arguments.directory
    name = arguments.name or _name_from(directory.absolute().name)
    if not re.fullmatch(_NAME, name):
        raise UsageError(
            f"{name!r} cannot be the name of a box",
            hint="a name is made of lower-case letters and digits, joined by '.', '_' or '-'",
        )
    author = _one_line(arguments.author or _user())
    make_box(directory, name=name, author=author)
    terminal = Terminal()
    terminal.success(f"made the box {name!r} in {directory}")
    terminal.note(f"run it with 'mlbox run {directory}'; its program is {directory / 'build' / 'main.py'}")
    return 0


def make_box(directory: Path, *, name: str, author: str) -> None:
    """Write a new box; raises :class:`CannotCreateError` when something is there already."""
    try:
        if directory.exists() and any(directory.iterdir()):
            raise CannotCreateError(f"the directory {str(directory)!r} is not empty", hint="choose a new one")
        for source in sorted(TEMPLATE.rglob("*")):
            if not source.is_file() or source.suffix == ".pyc":
                continue
            target = directory / source.relative_to(TEMPLATE)
            target.parent.mkdir(parents=True, exist_ok=True)
            text = source.read_text("utf-8").replace("BOX_NAME", name).replace("BOX_AUTHOR", author)
            with target.open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise CannotCreateError(f"cannot make a box in {str(directory)!r}: {error.strerror}") from error


def _name_from(directory: str) -> str:
    """The nearest box name to a directory's."""
    return "-".join(re.findall(r"[a-z0-9]+", directory.lower())) or "box"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _one_line(author: str) -> str:
    """The author as a quoted YAML text."""
    printable = "".join(character for character in author if character.isprintable())
    escaped = printable.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
