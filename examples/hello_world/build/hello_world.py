"""Say hello, or bye, to a person.

    python hello_world.py hello --name=FILE --chat=FILE
    python hello_world.py bye --name=FILE --chat=FILE

FILE `name` holds the person's name; what is said is printed and appended to FILE `chat`. A failure
is one line on standard error and an exit status from sysexits.h: 65 when the name is no name, 66
when its file cannot be read, 73 when the chat cannot be written.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

GREETINGS = {
    "hello": "Hello, {name}! Nice to meet you.",
    "bye": "Bye, {name}! It was great talking to you.",
}


class TaskError(Exception):
    """What went wrong, for the user, and the exit status that says so."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def read_name(path: Path) -> str:
    try:
        name = path.read_text(encoding="utf-8-sig").strip()
    except OSError as error:
        raise TaskError(f"{path}: {error.strerror}", os.EX_NOINPUT) from error
    except UnicodeDecodeError as error:
        raise TaskError(f"{path}: not a UTF-8 text file", os.EX_DATAERR) from error
    if not name:
        raise TaskError(f"{path}: is empty, it must hold a name", os.EX_DATAERR)
    if not name.isprintable():
        raise TaskError(f"{path}: must hold one name on one line", os.EX_DATAERR)
    return name


def say(line: str, chat: Path) -> None:
    try:
        chat.parent.mkdir(parents=True, exist_ok=True)
        with chat.open("a", encoding="utf-8", newline="\n") as file:
            file.write(f"{line}\n")
    except OSError as error:
        raise TaskError(f"{chat}: {error.strerror}", os.EX_CANTCREAT) from error
    sys.stdout.buffer.write(f"{line}\n".encode())  # UTF-8 whatever the locale is.


def main() -> int:
    parser = argparse.ArgumentParser(prog="hello_world.py", description="Talk to a person.")
    tasks = parser.add_subparsers(dest="task", metavar="TASK", required=True)
    for task in GREETINGS:
        text = f"say {task}"
        sub = tasks.add_parser(task, help=text, description=text, allow_abbrev=False)
        sub.add_argument("--name", type=Path, required=True, metavar="FILE", help="whom to talk to")
        sub.add_argument("--chat", type=Path, required=True, metavar="FILE", help="is appended to")
    args = parser.parse_args()
    try:
        say(GREETINGS[args.task].format(name=read_name(args.name)), args.chat)
    except TaskError as error:
        print(f"hello_world: error: {error}", file=sys.stderr)
        return error.status
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main())
