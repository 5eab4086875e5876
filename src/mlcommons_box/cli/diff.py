"""Show what tells two runs apart: code, image, inputs, hyper-parameters, outputs, metrics.

Files inside of directories are named one by one.  The exit status is 0 when
nothing differs and 1 when something does, as that of diff(1)."""

from __future__ import annotations

import argparse
import sys

from mlcommons_box.cli.arguments import add_box_of_runs, complete_recorded_runs, run_store
from mlcommons_box.cli.terminal import Terminal
from mlcommons_box.comparison import differences
from mlcommons_box.report.differences import differences_text
from mlcommons_box.tree_store import tree_store
from mlcommons_box.value import as_data

EXAMPLES = """\
examples:
  mlbox diff 3f9ac01b 77e1d2c4        two runs by the ends of their ids
  mlbox diff 3f9ac01b train           a run and the latest one of run/train.yaml
  mlbox diff 3f9ac01b 77e1d2c4 --json | jq -r '.[].name'"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    for name in ("first", "second"):
        run = parser.add_argument(name, metavar="RUN", help="a run: its id, an end of it, or a run configuration")
        run.completer = complete_recorded_runs  # type: ignore[attr-defined]
    add_box_of_runs(parser)
    parser.add_argument("--json", action="store_true", help="print the differences as JSON")


def execute(arguments: argparse.Namespace) -> int:
    """Compare the two."""
    store = run_store(arguments)
    first, second = store.find(arguments.first), store.find(arguments.second)
    found = differences(first, second, tree_store(store.workspace))
    if arguments.json:
        import json

        sys.stdout.write(json.dumps([as_data(each) for each in found], indent=2) + "\n")
    elif found:
        sys.stdout.write(differences_text(found))
    else:
        Terminal().success("nothing differs")
    return 1 if found else 0
