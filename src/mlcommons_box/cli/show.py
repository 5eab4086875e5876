"""Show the record of one run: how it ended, its parameters, its commands and its logs.

The record is what was true at the time of the run, whatever the box holds now.
Values of options and variables whose names tell of a secret, and passwords in
URLs, were never written to it."""

from __future__ import annotations

import argparse
import sys

from mlcommons_box.cli.arguments import add_recorded_run, recorded_run, run_store
from mlcommons_box.cli.terminal import uses_colour
from mlcommons_box.report.records import record_json, record_text

EXAMPLES = """\
examples:
  mlbox show                          the latest run of the box in the current directory
  mlbox show train                    the latest run of run/train.yaml
  mlbox show 3f9ac01b                 the run of this id; 'mlbox runs' lists them
  mlbox show --mlbox=boxes/mnist      the latest run of another box
  mlbox show --json | jq -r .exit_status"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_recorded_run(parser)
    parser.add_argument("--json", action="store_true", help="print the record as JSON")


def execute(arguments: argparse.Namespace) -> int:
    """Show the record; the exit status is 0 however the run ended."""
    store = run_store(arguments)
    record = recorded_run(arguments, store)
    if arguments.json:
        import json

        sys.stdout.write(json.dumps(record_json(record, store), indent=2) + "\n")
    else:
        sys.stdout.write(record_text(record, store, colour=uses_colour(sys.stdout)))
    return 0
