"""Show how runs are that go on without their mlbox: on a host, or in a queue.

Without RUN, all runs of the workspace that have not ended; every host and every
queue is asked once, for all of them.  A run that is over still has to be fetched:
'mlbox wait' brings its outputs and completes its record.  A record that cannot be
read is an error, and the exit status is then 78."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mlcommons_box.cli.arguments import add_recorded_run, recorded_run, run_store
from mlcommons_box.cli.terminal import Terminal, print_table
from mlcommons_box.errors import BoxError
from mlcommons_box.record import RunRecord
from mlcommons_box.report.problems import one_line
from mlcommons_box.runners.batch import JobState

if TYPE_CHECKING:
    from rich.table import Table

EXAMPLES = """\
examples:
  mlbox status                        what has not ended yet
  mlbox status train                  the latest run of run/train.yaml
  mlbox status --mlbox=boxes/mnist --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_recorded_run(parser)
    parser.add_argument("--json", action="store_true", help="print the states as JSON")


def execute(arguments: argparse.Namespace) -> int:
    """Ask, and print a line for each run; then say what is wrong with records that cannot be read."""
    from mlcommons_box.reattaching import states

    store = run_store(arguments)
    unreadable: Mapping[str, BoxError] = {}
    if arguments.recorded_run:
        records = [recorded_run(arguments, store)]
    else:
        every, unreadable = store.read_all()
        records = [record for record in every if record.status == "running"]
    asked = [record for record in records if record.status == "running" and record.detached]
    answers = states(store, asked)
    rows = [(record, *_state(record, answers.get(record.id))) for record in records]
    terminal = Terminal()
    if arguments.json:
        import json

        data = [
            {"id": record.id, "run": record.run, "platform": record.platform, "native_id": record.native_id}
            | {"state": state, "reason": reason}
            for record, state, reason in rows
        ]
        sys.stdout.write(json.dumps(data, indent=2) + "\n")
    elif rows:
        print_table(_table(rows))
    elif not unreadable:
        terminal.note("no run is going on; 'mlbox runs' lists those that have ended")
    sys.stdout.flush()
    return terminal.unreadable(unreadable)


def _state(record: RunRecord, state: JobState | None) -> tuple[str, str]:
    """A word for a run's state, and why it is so."""
    if record.status != "running":
        return record.status, record.reason or ""
    if state is None:
        return "running", "with the command that started it"
    if state.phase == "ended":
        return "over", state.reason or f"'mlbox wait {record.id}' fetches it"
    return state.phase, state.reason or ""


def _table(rows: Sequence[tuple[RunRecord, str, str]]) -> Table:
    from rich import box as frames
    from rich.table import Table
    from rich.text import Text

    table = Table(box=frames.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("id", "run", "platform", "native id", "state", "reason"):
        table.add_column(name, overflow="fold", no_wrap=name in ("id", "state"))
    for record, state, reason in rows:
        words = (record.id, record.run, record.platform, record.native_id or "", state, reason)
        table.add_row(*(Text(one_line(word)) for word in words))
    return table
