"""Check every definition file of a box, or of several, and show all mistakes at once.

Nothing is executed or written.  An input that does not exist, and that no run
of the box makes, is reported too.  The exit status is 0 when everything is
right, 65 when a file is wrong, and 66 when only inputs are missing."""

from __future__ import annotations

import argparse
import sys

from mlcommons_box.checking import Report, check_box
from mlcommons_box.cli.arguments import add_workspace
from mlcommons_box.cli.terminal import Terminal, uses_colour
from mlcommons_box.definition.places import box_root
from mlcommons_box.errors import UsageError, exit_status_of
from mlcommons_box.report.problems import counted, one_line, problem_json, problem_text, summary

EXAMPLES = """\
examples:
  mlbox validate                      the box in the current directory
  mlbox validate boxes/mnist          another one
  mlbox validate boxes/*              several: the same checks, in a fraction of the time
  mlbox validate --no-inputs          definition files only, where the data is elsewhere
  mlbox validate --json | jq -r '.problems[].message'"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "boxes", nargs="*", metavar="BOX", help="the boxes, directories or their mlbox.yaml (default: .)"
    )
    parser.add_argument("--mlbox", metavar="BOX", help="a box, as an option")
    add_workspace(parser)
    parser.add_argument("--no-inputs", action="store_true", help="do not look whether inputs exist")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def execute(arguments: argparse.Namespace) -> int:
    """Check the boxes; the result goes to standard output."""
    roots = [box_root(given) for given in _given(arguments)]
    if arguments.workspace is not None and len(roots) > 1:
        raise UsageError("--workspace is the workspace of one box", hint="check the boxes one by one")
    reports = []
    for root in roots:
        reports.append(check_box(root, workspace=arguments.workspace, inputs=not arguments.no_inputs))
        if not arguments.json:
            _show(reports[-1])
    problems = [problem for report in reports for problem in report.problems]
    if arguments.json:
        import json

        found = [_as_json(report) for report in reports]
        sys.stdout.write(json.dumps(found if len(found) > 1 else found[0], indent=2) + "\n")
    elif problems:
        sys.stdout.write(summary(problems) + "\n")
    return exit_status_of(problems) if problems else 0


def _given(arguments: argparse.Namespace) -> list[str]:
    if arguments.boxes and arguments.mlbox is not None:
        given = ", ".join(map(repr, (*arguments.boxes, arguments.mlbox)))
        raise UsageError(f"boxes are named in two ways: {given}", hint="leave out --mlbox")
    return arguments.boxes or [arguments.mlbox or "."]


def _show(report: Report) -> None:
    colour = uses_colour(sys.stdout)
    for problem in report.problems:
        sys.stdout.write(problem_text(problem, colour=colour) + "\n\n")
    if report.box and not report.problems:
        parts = [(report.box.tasks, "task"), (report.runs, "run"), (report.platforms, "platform")]
        parts += [(report.sweeps, "sweep")] if report.sweeps else []
        counts = ", ".join(counted(len(each), word) for each, word in parts)
        Terminal().success(f"{one_line(report.box.name)} {report.box.version} is valid: {counts}")


def _as_json(report: Report) -> dict[str, object]:
    return {
        "valid": not report.problems,
        "box": str(report.root),
        "problems": [problem_json(problem) for problem in report.problems],
    }
