"""The entry point: finds the command, runs it, and turns every error into a message and an exit status."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    import argparse

    from mlcommons_box.cli.arguments import Parser
    from mlcommons_box.errors import UsageError


class CommandModule(Protocol):
    """What the module of a command has; its docstring is the command's description."""

    __doc__: str | None
    EXAMPLES: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments."""

    def execute(self, arguments: argparse.Namespace) -> int:
        """Run the command and return the exit status."""


COMMANDS = {
    "run": "run tasks of a box",
    "validate": "check every file of a box and show all mistakes",
    "describe": "show the tasks, parameters, runs and platforms of a box",
    "configure": "prepare what a box needs on a platform, before the first run",
    "init": "make a new box that runs at once",
    "clean": "remove what earlier runs left behind",
    "schema": "show the JSON Schemas of definition files, for editors",
    "completion": "print the code that completes commands in bash, zsh or fish",
}

DESCRIPTION = """\
Run a machine-learning box, unchanged, on any engine.

A box is a directory with an mlbox.yaml.  Its tasks read inputs and write outputs;
files below run/ say where those are, and files in platforms/ how to run."""

EXAMPLES = """\
examples:
  mlbox init hello && mlbox run hello     make a box and run it
  mlbox describe examples/mnist           what can this box do?
  mlbox run examples/mnist --all          run everything, in the order of the data
  mlbox run --task=train --platform=local --dry-run
                                          show the commands, run nothing

'mlbox COMMAND --help' tells more about a command."""


def main(
    argv: Sequence[str] | None = None,
    *,
    prog: str | None = None,
    commands: Sequence[str] = tuple(COMMANDS),
    runner: str | None = None,
) -> int:
    """Run the command line ``argv`` (default: the process's own) and return the exit status.

    ``commands`` are those on offer; with ``runner``, only platforms of that kind are accepted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:
        from mlcommons_box import __version__

        sys.stdout.write(f"mlcommons-box {__version__}\n")
        return 0
    return guarded(lambda: _dispatch(words, prog or _program_name(), commands, runner))


def _program_name() -> str:
    name = os.path.basename(sys.argv[0])
    return name if name in ("mlbox", "mlcommons_box") else "mlbox"


def _dispatch(words: list[str], prog: str, commands: Sequence[str], runner: str | None) -> int:
    completing = "_ARGCOMPLETE" in os.environ
    parser = build_parser(words, prog, commands, complete=completing)
    if completing:
        import argcomplete

        argcomplete.autocomplete(parser)
    if not words:
        parser.print_help()
        return 0
    command = next((word for word in words if not word.startswith("-")), None)
    if command is not None and command not in commands:
        raise _unknown(f"command {command!r}", command, commands, prog)
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        raise _unknown(f"argument {unknown[0]!r}", unknown[0].partition("=")[0], _options(arguments.command), prog)
    arguments.runner = runner
    return _command_module(arguments.command).execute(arguments)


def _unknown(what: str, word: str, known: Sequence[str], prog: str) -> UsageError:
    from mlcommons_box.definition.rules import did_you_mean, nearest
    from mlcommons_box.errors import UsageError

    hint = did_you_mean(nearest(word, known)) or f"'{prog} --help' shows what there is"
    return UsageError(f"unknown {what}", hint=hint)


def _options(command: str) -> list[str]:
    """The options of a command."""
    from mlcommons_box.cli.arguments import Parser

    parser = Parser()
    _command_module(command).add_arguments(parser)
    return [option for action in parser._actions for option in action.option_strings]


def build_parser(
    words: Sequence[str], prog: str, commands: Sequence[str] = tuple(COMMANDS), *, complete: bool = False
) -> Parser:
    """The parser with the arguments of the commands that ``words`` name; of all, when ``complete``."""
    from mlcommons_box.cli.arguments import Parser

    parser = Parser(prog=prog, description=DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    parsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in commands:
        if complete or name in words:
            module = _command_module(name)
            command = parsers.add_parser(
                name, help=COMMANDS[name], description=module.__doc__, epilog=module.EXAMPLES
            )
            module.add_arguments(command)
        else:
            parsers.add_parser(name, help=COMMANDS[name])
    return parser


def _command_module(name: str) -> CommandModule:
    from importlib import import_module

    return cast("CommandModule", import_module(f"mlcommons_box.cli.{name}"))


def guarded(command: Callable[[], int]) -> int:
    """Run a command; every error becomes a message on standard error and an exit status."""
    from mlcommons_box.cli.terminal import Terminal
    from mlcommons_box.errors import EX_INTERRUPTED, EX_SOFTWARE, BoxError, Interrupted

    try:
        status = command()
        sys.stdout.flush()
        return status
    except Interrupted as error:
        Terminal().error("interrupted")
        return error.exit_status
    except BoxError as error:
        Terminal().failure(error)
        return error.exit_status
    except KeyboardInterrupt:
        Terminal().error("interrupted")
        return EX_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left, as 'head' does; what Python still holds back has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:  # our own defect: say so, and keep what is needed to mend it
        Terminal().error(f"this is a defect of mlbox: {type(error).__name__}: {error}", crash_hint())
        return EX_SOFTWARE


def crash_hint() -> str:
    """Write the traceback of the current exception to a file and say where it is."""
    import tempfile
    import traceback

    from mlcommons_box import __version__

    try:
        with tempfile.NamedTemporaryFile("w", prefix="mlbox-crash-", suffix=".txt", delete=False) as file:
            file.write(f"mlcommons-box {__version__}, Python {sys.version}\n{traceback.format_exc()}")
    except OSError:
        return f"please report it with this:\n{traceback.format_exc()}"
    return f"please report it with the file {file.name}"
