"""Wait until runs have ended, bring back what they made, and complete their records.

Without RUN, all runs of the workspace that go on without their mlbox.  The exit
status is that of the run; of several, the first one that is not 0.  Ctrl-C ends the
waiting, and not the runs.  A record that cannot be read is an error: the exit
status is then 78 if it would be 0."""

from __future__ import annotations

import argparse

from mlcommons_box.cli.arguments import add_recorded_run, add_verbosity, recorded_run, run_store, verbosity
from mlcommons_box.cli.observer import TerminalObserver, show_end
from mlcommons_box.cli.terminal import Terminal
from mlcommons_box.errors import EX_INTERRUPTED, EX_TEMPORARY
from mlcommons_box.record import RunRecord

EXAMPLES = """\
examples:
  mlbox run --task=train --platform=cluster --detach
  mlbox wait train                    until it has ended, from any terminal
  mlbox wait                          until all have ended"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_recorded_run(parser)
    add_verbosity(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Wait, and return the exit status of the runs."""
    from mlcommons_box.reattaching import attach, wait_for_all

    store = run_store(arguments)
    terminal = Terminal(verbosity(arguments))
    observer = TerminalObserver(terminal)
    ended: list[RunRecord] = []
    otherwise = 0

    def show(record: RunRecord) -> None:
        ended.append(record)
        show_end(record, terminal)

    if arguments.recorded_run:
        record = recorded_run(arguments, store)
        if record.status == "running":
            record = attach(store, record, observer)
        if record.status == "running":
            return EX_INTERRUPTED
        show(record)
    else:
        records, unreadable = store.read_all()
        otherwise = terminal.unreadable(unreadable)
        going_on = [each for each in records if each.status == "running" and each.detached]
        if not going_on and not unreadable:
            terminal.note("no run is going on without its mlbox")
        if not wait_for_all(store, going_on, observer, show):
            return EX_INTERRUPTED
    return next((_status(record) for record in ended if _status(record)), otherwise)


def _status(record: RunRecord) -> int:
    return EX_TEMPORARY if record.exit_status is None else record.exit_status
