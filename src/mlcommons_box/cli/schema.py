"""Show the JSON Schemas of the definition files and of records, or write them to files.

An editor that speaks JSON Schema (VS Code, Neovim, PyCharm and others) completes and
checks a file whose first line names its schema:
  # yaml-language-server: $schema=../.schemas/mlbox_task.json"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mlcommons_box.definition.json_schema import DIRECTORY
from mlcommons_box.errors import CannotCreateError, UsageError
from mlcommons_box.report.records import RECORD_SCHEMA

EXAMPLES = """\
examples:
  mlbox schema                        list them
  mlbox schema mlbox_task             print one
  mlbox schema run_record             what 'mlbox show --json' prints
  mlbox schema --write .schemas       write them all to a directory"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("type", nargs="?", metavar="TYPE", help="a schema_type, such as mlbox_task, or run_record")
    group.add_argument("--write", type=Path, metavar="DIR", help="write all schemas to DIR")


def execute(arguments: argparse.Namespace) -> int:
    """List, print or write."""
    files = {file.stem: file for file in (*sorted(DIRECTORY.glob("*.json")), RECORD_SCHEMA)}
    if arguments.write:
        try:
            arguments.write.mkdir(parents=True, exist_ok=True)
            for file in files.values():
                (arguments.write / file.name).write_bytes(file.read_bytes())
        except OSError as error:
            raise CannotCreateError(f"cannot write to {str(arguments.write)!r}: {error.strerror}") from error
    elif arguments.type is None:
        sys.stdout.write("".join(f"{name}\n" for name in files))
    elif arguments.type in files:
        sys.stdout.write(files[arguments.type].read_text("utf-8"))
    else:
        raise UsageError(f"there is no schema {arguments.type!r}", hint=f"there are: {', '.join(files)}")
    return 0
