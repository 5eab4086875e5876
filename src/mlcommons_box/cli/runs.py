"""List what ran in a workspace, and how it ended; the newest run is the last line.

An id names a run for 'mlbox show' and 'mlbox logs'.  A run whose mlbox was killed
is 'lost': how its task ended is not known.  A record that cannot be read is an
error, after all others were listed, and the exit status is then 78."""

from __future__ import annotations

import argparse
import sys

from mlcommons_box.cli.arguments import add_box, add_workspace, run_store
from mlcommons_box.cli.terminal import Terminal, print_table
from mlcommons_box.record import STATUSES, RunRecord
from mlcommons_box.report.records import record_json, runs_table

EXAMPLES = """\
examples:
  mlbox runs                          the runs of the box in the current directory
  mlbox runs boxes/mnist --last=5
  mlbox runs --status=failed --run=train
  mlbox runs --workspace=/scratch/mnist
  mlbox runs --json | jq -r '.[] | [.id, .duration] | @tsv'"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_box(parser)
    add_workspace(parser)
    statuses = f"{', '.join(STATUSES[:-1])} or {STATUSES[-1]}"
    parser.add_argument("--status", metavar="STATUS", choices=STATUSES, help=f"only runs that are: {statuses}")
    parser.add_argument("--run", metavar="NAME", help="only runs of a run configuration: 'train' is run/train.yaml")
    parser.add_argument("--last", metavar="N", type=_count, help="only the last N of them")
    parser.add_argument("--json", action="store_true", help="print the records as JSON")


def execute(arguments: argparse.Namespace) -> int:
    """List the records that can be read, then say what is wrong with the others."""
    store = run_store(arguments)
    records, unreadable = store.read_all()
    chosen = [record for record in records if _is_meant(record, arguments)]
    chosen = chosen[-arguments.last :] if arguments.last else chosen
    terminal = Terminal()
    if arguments.json:
        import json

        sys.stdout.write(json.dumps([record_json(record, store) for record in chosen], indent=2) + "\n")
    elif chosen:
        print_table(runs_table(chosen))
    elif records:
        terminal.note(f"none of the {len(records)} runs is meant; 'mlbox runs' without options lists them")
    elif not unreadable:
        terminal.note("there are no runs yet; 'mlbox run' makes one")
    sys.stdout.flush()
    return terminal.unreadable(unreadable)


def _is_meant(record: RunRecord, arguments: argparse.Namespace) -> bool:
    if arguments.run and arguments.run not in (record.run, record.run.rpartition("/")[2]):
        return False
    return arguments.status in (None, record.status)


def _count(word: str) -> int:
    if not word.isascii() or not word.isdigit() or int(word) == 0:
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, not {word!r}")
    return int(word)
