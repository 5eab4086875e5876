"""Hash a run's outputs, inputs and code again, and compare them with its record.

'same' is what has the very bytes of then, 'changed' is what has not, file by
file, and 'unknown' is what the record has no hash of.  The exit status is 1 when
something has changed."""

from __future__ import annotations

import argparse
import sys

from mlcommons_box.cli.arguments import add_recorded_run, recorded_run, run_store
from mlcommons_box.cli.terminal import Terminal
from mlcommons_box.report.differences import checked_text
from mlcommons_box.tree_store import tree_store
from mlcommons_box.value import as_data
from mlcommons_box.verification import verify

EXAMPLES = """\
examples:
  mlbox verify                        the latest run of the box in the current directory
  mlbox verify train                  the latest run of run/train.yaml
  mlbox verify 3f9ac01b --json | jq -r '.[] | select(.state != "same").name'"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_recorded_run(parser)
    parser.add_argument("--json", action="store_true", help="print what was checked as JSON")


def execute(arguments: argparse.Namespace) -> int:
    """Check everything, and say what has changed."""
    store = run_store(arguments)
    record = recorded_run(arguments, store)
    checked = verify(record, tree_store(store.workspace))
    changed = sum(each.state == "changed" for each in checked)
    if arguments.json:
        import json

        sys.stdout.write(json.dumps([as_data(each) for each in checked], indent=2) + "\n")
    else:
        sys.stdout.write(checked_text(checked))
        sys.stdout.flush()
        if changed:
            Terminal().error(f"{changed} of {len(checked)} differ from the record of the run {record.id}")
    return 1 if changed else 0
