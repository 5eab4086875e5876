"""Finds the command that a command line names, and parses its arguments.  Other commands stay unloaded."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple, Protocol, cast

from mlcommons_box import __version__
from mlcommons_box.cli.arguments import Parser
from mlcommons_box.errors import UsageError

COMMANDS = {
    "run": "run tasks of a box",
    "sweep": "repeat a run with many values of its hyper-parameters",
    "validate": "check every file of a box and show all mistakes",
    "describe": "show the tasks, parameters, runs and platforms of a box",
    "configure": "prepare what a box needs on a platform, before the first run",
    "runs": "list what ran in a workspace, and how it ended",
    "show": "show the record of one run",
    "logs": "show what a run's task wrote",
    "report": "make a page of all runs, to look at in a browser",
    "export": "hand runs to others: as a research object, or to MLflow",
    "diff": "show what tells two runs apart",
    "verify": "hash a run's files again and compare them with its record",
    "replay": "run a recorded run again and compare the outputs",
    "why": "say whether a run is up to date, and what has changed",
    "lock": "write down the images and packages that a box uses",
    "rm": "remove the records of runs, with their logs",
    "gc": "remove the records of old runs",
    "status": "show how runs are that go on without their mlbox",
    "wait": "wait until runs have ended, and bring back what they made",
    "cancel": "end a run, wherever it is",
    "doctor": "show the engines of this machine and what is wrong",
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

'mlbox help COMMAND' tells more about a command."""


_ANSWERED = ("--version", "--help", "-h")
"""Options that say something and end, whatever follows."""


class Program(NamedTuple):
    """A program of ours: its name, its help, the commands that it offers.

    With ``runner``, it takes platforms for that runner only.
    """

    name: str
    description: str
    examples: str
    commands: tuple[str, ...]
    runner: str | None = None


class CommandModule(Protocol):
    """What the module of a command has; its docstring is the command's description."""

    __doc__: str | None
    EXAMPLES: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments."""

    def execute(self, arguments: argparse.Namespace) -> int:
        """Run the command and return the exit status."""


def mlbox() -> Program:
    """The program ``mlbox``, by the name under which it was called."""
    name = os.path.basename(sys.argv[0])
    called = name if name in ("mlbox", "mlcommons_box") else "mlbox"
    return Program(name=called, description=DESCRIPTION, examples=EXAMPLES, commands=tuple(COMMANDS))


def dispatch(words: list[str], program: Program) -> int:
    """Run the command that ``words`` name and return its exit status; raises :class:`UsageError`."""
    completing = "_ARGCOMPLETE" in os.environ
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    parser = build_parser(words, program, complete=completing)
    if completing:
        import argcomplete

        argcomplete.autocomplete(parser)
    if not words:
        parser.print_help()
        return 0
    command = next((word for word in words if not word.startswith("-")), None)
    if command is not None and command not in program.commands and words[0] not in _ANSWERED:
        raise _unknown(f"command {command!r}", command, program.commands, program)
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        option = unknown[0].partition("=")[0]
        raise _unknown(f"argument {unknown[0]!r}", option, _options(arguments.command), program)
    arguments.runner = program.runner
    return _command_module(arguments.command).execute(arguments)


def build_parser(words: Sequence[str], program: Program, *, complete: bool = False) -> Parser:
    """The parser with the arguments of the commands that ``words`` name; of all, when ``complete``."""
    parser = Parser(prog=program.name, description=program.description, epilog=program.examples)
    version = f"mlcommons-box {__version__}"
    parser.add_argument("--version", action="version", version=version, help="show the version and exit")
    # Without 'prog', argparse formats a usage line only to find it, and loads shutil for that.
    parsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, prog=program.name)
    # With every command declared, each with its own parser, declaring takes longer than checking a box.
    named = words[0] if words and words[0] in program.commands and not complete else None
    for name in program.commands if named is None else (named,):
        if complete or name in words:
            module = _command_module(name)
            command = parsers.add_parser(
                name, help=COMMANDS[name], description=module.__doc__, epilog=module.EXAMPLES
            )
            module.add_arguments(command)
        else:
            parsers.add_parser(name, help=COMMANDS[name])
    return parser


def _unknown(what: str, word: str, known: Sequence[str], program: Program) -> UsageError:
    from mlcommons_box.suggestions import did_you_mean, nearest

    hint = did_you_mean(nearest(word, known)) or f"'{program.name} --help' shows what there is"
    return UsageError(f"unknown {what}", hint=hint)


def _options(command: str) -> list[str]:
    """The options of a command."""
    parser = Parser()
    _command_module(command).add_arguments(parser)
    return [option for action in parser._actions for option in action.option_strings]


def _command_module(name: str) -> CommandModule:
    from importlib import import_module

    return cast("CommandModule", import_module(f"mlcommons_box.cli.{name}"))
