"""Check every definition file of a box and show all mistakes at once.

Nothing is executed or written.  An input that does not exist, and that no run
of the box makes, is reported too.  The exit status is 0 when everything is
right, 65 when a file is wrong, and 66 when only inputs are missing."""

from __future__ import annotations

import argparse
import sys

from mlcommons_box.checking import Report, check_box
from mlcommons_box.cli.arguments import add_box, add_workspace, box_path
from mlcommons_box.cli.terminal import Terminal, uses_colour
from mlcommons_box.errors import exit_status_of
from mlcommons_box.report.problems import counted, one_line, problem_json, problem_text, summary

EXAMPLES = """\
examples:
  mlbox validate                      the box in the current directory
  mlbox validate boxes/mnist          another one
  mlbox validate --no-inputs          definition files only, where the data is elsewhere
  mlbox validate --json | jq -r '.problems[].message'"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_box(parser)
    add_workspace(parser)
    parser.add_argument("--no-inputs", action="store_true", help="do not look whether inputs exist")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def execute(arguments: argparse.Namespace) -> int:
    """Check the box; the result goes to standard output."""
    report = check_box(box_path(arguments), workspace=arguments.workspace, inputs=not arguments.no_inputs)
    if arguments.json:
        import json

        sys.stdout.write(json.dumps(_as_json(report), indent=2) + "\n")
    elif report.problems:
        colour = uses_colour(sys.stdout)
        for problem in report.problems:
            sys.stdout.write(problem_text(problem, colour=colour) + "\n\n")
        sys.stdout.write(summary(report.problems) + "\n")
    elif report.box:
        parts = [(report.box.tasks, "task"), (report.runs, "run"), (report.platforms, "platform")]
        parts += [(report.sweeps, "sweep")] if report.sweeps else []
        counts = ", ".join(counted(len(each), word) for each, word in parts)
        Terminal().success(f"{one_line(report.box.name)} {report.box.version} is valid: {counts}")
    return exit_status_of(report.problems) if report.problems else 0


def _as_json(report: Report) -> dict[str, object]:
    return {
        "valid": not report.problems,
        "box": str(report.root),
        "problems": [problem_json(problem) for problem in report.problems],
    }
