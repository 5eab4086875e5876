"""Remove the records of runs, with their logs.

Outputs stay: 'mlbox clean' removes those.  A run that goes on is not removed."""

from __future__ import annotations

import argparse

from mlcommons_box.cli.arguments import add_box_of_runs, complete_recorded_runs, run_store
from mlcommons_box.cli.terminal import Terminal
from mlcommons_box.errors import ConfigurationError, UsageError
from mlcommons_box.report.problems import counted

EXAMPLES = """\
examples:
  mlbox rm 3f9ac01b                   the run of this id; 'mlbox runs' lists them
  mlbox rm 3f9ac01b 77e1d2c4 --mlbox=boxes/mnist
  mlbox gc --keep=10                  all but the last ten of each run configuration"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    runs = parser.add_argument("runs", nargs="+", metavar="RUN", help="the beginning or the end of a run's id")
    runs.completer = complete_recorded_runs  # type: ignore[attr-defined]
    add_box_of_runs(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Remove them all, or none."""
    store = run_store(arguments)
    chosen = set()
    for text in arguments.runs:
        run_id = store.id_of(text)
        try:
            if store.read(run_id).status == "running":
                raise UsageError(f"the run {run_id} goes on", hint=f"'mlbox cancel {run_id}' ends it")
        except ConfigurationError:
            pass  # damaged: that is why it goes
        chosen.add(run_id)
    store.remove(chosen)
    Terminal().success(f"removed {counted(len(chosen), 'run')}")
    return 0
