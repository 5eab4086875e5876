"""Say whether a run is up to date, and if not, exactly what has changed.

Content is compared, not times, with the last run that succeeded: the task, the
code in build/, bindings, hyper-parameters, environment, inputs, image, outputs.
The exit status is 0 when nothing has changed and 1 when the run would run again
with 'mlbox run --skip-unchanged'."""

from __future__ import annotations

import argparse
import os
import sys

from mlcommons_box.cache import cache_directory
from mlcommons_box.cli.arguments import (
    add_box,
    add_platform,
    add_runs,
    add_workspace,
    box_path,
)
from mlcommons_box.cli.terminal import Terminal
from mlcommons_box.definition.places import box_root
from mlcommons_box.definition.remembered import RememberedDefinitions
from mlcommons_box.pipeline import in_data_order
from mlcommons_box.planning import plan_run
from mlcommons_box.report.differences import differences_text
from mlcommons_box.report.problems import one_line
from mlcommons_box.run_store import RunStore
from mlcommons_box.runners.registry import runner_for
from mlcommons_box.selection import select_platform, select_runs
from mlcommons_box.up_to_date import Checker, LastRuns, Verdict
from mlcommons_box.value import as_data

EXAMPLES = """\
examples:
  mlbox why                           every run configuration of the box here
  mlbox why --task=train              run/train.yaml: would it run again, and why?
  mlbox why --task=train --platform=docker --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_box(parser)
    add_runs(parser, "run configuration, or its short name; may be repeated (default: all of them)")
    add_platform(parser)
    add_workspace(parser)
    parser.add_argument("--json", action="store_true", help="print what has changed as JSON")


def execute(arguments: argparse.Namespace) -> int:
    """Check each run against the last one of its kind."""
    terminal = Terminal()
    definitions = RememberedDefinitions(box_root(box_path(arguments)), cache_directory(os.environ))
    box = definitions.load_box()
    platform = select_platform(definitions, box, arguments.platform, arguments.runner)
    runs = select_runs(definitions, box, arguments.tasks, platform, every=not arguments.tasks, note=terminal.note)
    plans = in_data_order([plan_run(box, run, platform, workspace=arguments.workspace) for run in runs])
    checker = Checker(runner_for(platform), LastRuns(RunStore(plans[0].workspace)))
    verdicts = {plan.run: checker.check(plan) for plan in plans}
    if arguments.json:
        import json

        sys.stdout.write(json.dumps({run: _data(verdict) for run, verdict in verdicts.items()}, indent=2) + "\n")
    else:
        for run, verdict in verdicts.items():
            state = "up to date" if verdict.is_up_to_date else "would run"
            since = f" (the run {verdict.record.id})" if verdict.record else ""
            sys.stdout.write(f"{one_line(run)}: {state}{since}\n{differences_text(verdict.changes, indent='  ')}")
    return 0 if all(verdict.is_up_to_date for verdict in verdicts.values()) else 1


def _data(verdict: Verdict) -> dict[str, object]:
    return {
        "up_to_date": verdict.is_up_to_date,
        "record": verdict.record and verdict.record.id,
        "changes": [as_data(each) for each in verdict.changes],
    }
