"""End a run, wherever it is; what it has made until then is brought back.

The task is asked to end first, so that it can save its work, and killed ten seconds
later.  The exit status is 0 when the run has ended, however it did.  A run of this
machine ends with the command that started it, and so with all of its other runs."""

from __future__ import annotations

import argparse
import os
import signal
import time

from mlcommons_box.cli.arguments import add_recorded_run, add_verbosity, recorded_run, run_store, verbosity
from mlcommons_box.cli.observer import TerminalObserver, show_end
from mlcommons_box.cli.terminal import Terminal
from mlcommons_box.errors import EX_TEMPORARY, ConfigurationError
from mlcommons_box.record import RunRecord
from mlcommons_box.run_store import RunStore

EXAMPLES = """\
examples:
  mlbox cancel                        the latest run of the box in the current directory
  mlbox cancel train                  the latest run of run/train.yaml
  mlbox cancel 3f9ac01b               the run of this id; 'mlbox status' lists them"""

_POLL = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_recorded_run(parser)
    add_verbosity(parser)


def execute(arguments: argparse.Namespace) -> int:
    """End the run, and say how it ended."""
    from mlcommons_box.reattaching import cancel

    store = run_store(arguments)
    record = recorded_run(arguments, store)
    terminal = Terminal(verbosity(arguments))
    if record.status != "running":
        terminal.note(f"the run {record.id} has ended already: {record.status}")
        return 0
    if record.detached:
        record = cancel(store, record, TerminalObserver(terminal))
    elif record.supervisor.is_alive():
        record = _through_its_supervisor(store, record)
    else:
        raise ConfigurationError(
            f"the run {record.id} is watched by a command on {record.supervisor.host}", hint="cancel it there"
        )
    if record.status == "running":
        return EX_TEMPORARY
    show_end(record, terminal)
    return 0


def _through_its_supervisor(store: RunStore, record: RunRecord) -> RunRecord:
    """Ask the command that watches the run, which ends with all that it runs."""
    try:
        os.kill(record.supervisor.pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    except PermissionError:
        raise ConfigurationError(
            f"the run {record.id} belongs to another user of this machine", hint="cancel it as that user"
        ) from None
    while record.status == "running" and record.supervisor.is_alive():
        time.sleep(_POLL)
        record = store.read(record.id)
    return store.read(record.id)
