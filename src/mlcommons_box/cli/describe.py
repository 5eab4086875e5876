"""Show what a box can do: tasks with parameters, run configurations, platforms, sweeps.

Nothing is executed or written."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from mlcommons_box.checking import Report, check_box
from mlcommons_box.cli.arguments import add_box, box_path
from mlcommons_box.cli.terminal import print_table
from mlcommons_box.errors import DefinitionError, UsageError
from mlcommons_box.model import Box, RunConfiguration
from mlcommons_box.report.problems import one_line, shown
from mlcommons_box.suggestions import did_you_mean, nearest

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

EXAMPLES = """\
examples:
  mlbox describe                      the box in the current directory
  mlbox describe boxes/mnist
  mlbox describe --json | jq -r '.tasks[].name'
  mlbox describe --graph              what joins the runs, as text for Mermaid
  mlbox describe --graph=svg > runs.svg"""

_FORMATS = ("mermaid", "dot", "svg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_box(parser)
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print the result as JSON")
    shape.add_argument(
        "--graph",
        nargs="?",
        const=_FORMATS[0],
        metavar="{" + ",".join(_FORMATS) + "}",
        help="draw the runs and the data that joins them, as mermaid (the default), dot or svg",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Describe the box; raises :class:`DefinitionError` when a file of it is wrong."""
    _check_graph(arguments)
    report = check_box(box_path(arguments), inputs=False)
    if report.box is None or report.problems:
        raise DefinitionError(report.problems)
    if arguments.graph:
        sys.stdout.write(_graph(report.box, report, arguments.graph))
    elif arguments.json:
        import json

        sys.stdout.write(json.dumps(as_json(report.box, report), indent=2) + "\n")
    else:
        _print_tables(report.box, report)
    return 0


def _check_graph(arguments: argparse.Namespace) -> None:
    """What follows ``--graph`` may be the box."""
    if arguments.graph in (None, *_FORMATS):
        return
    if arguments.box is None and arguments.mlbox is None and os.path.lexists(arguments.graph):
        arguments.box, arguments.graph = arguments.graph, _FORMATS[0]
        return
    raise UsageError(
        f"--graph draws {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}, not {arguments.graph!r}",
        hint=did_you_mean(nearest(arguments.graph, _FORMATS)),
    )


def _graph(box: Box, report: Report, form: str) -> str:
    from mlcommons_box.definition.built_in import built_in_platform
    from mlcommons_box.planning import plan_run
    from mlcommons_box.report.graph import as_dot, as_mermaid, graph_of

    order = {task.name: number for number, task in enumerate(box.tasks)}
    runs = sorted(report.runs, key=lambda run: (order[run.task], run.name))
    graph = graph_of([plan_run(box, run, built_in_platform("local")) for run in runs])
    if form == "svg":
        from mlcommons_box.report.graph_svg import as_svg

        return as_svg(graph, f"The runs of {box.name}")
    return as_dot(graph) if form == "dot" else as_mermaid(graph)


def as_json(box: Box, report: Report) -> dict[str, object]:
    """The description as data."""
    return {
        "name": box.name,
        "version": box.version,
        "author": box.author,
        "description": box.description,
        "root": str(box.root),
        "workspace": str(box.workspace),
        "tasks": [
            {
                "name": task.name,
                "description": task.description,
                "network": task.network,
                "inputs": [
                    {"name": parameter.name, "type": parameter.type, "description": parameter.description}
                    for parameter in task.inputs
                ],
                "outputs": [
                    {"name": parameter.name, "type": parameter.type, "description": parameter.description}
                    for parameter in task.outputs
                ],
            }
            for task in box.tasks
        ],
        "runs": [
            {
                "name": run.name,
                "task": run.task,
                "description": run.description,
                "inputs": {binding.parameter: binding.path for binding in run.inputs},
                "outputs": {binding.parameter: binding.path for binding in run.outputs},
            }
            for run in report.runs
        ],
        "platforms": [
            {"name": platform.name, "runner": platform.runner, "description": platform.description}
            for platform in report.platforms
        ],
        "sweeps": [
            {"name": sweep.name, "run": sweep.run, "method": sweep.method, "description": sweep.description}
            for sweep in report.sweeps
        ],
    }


def _print_tables(box: Box, report: Report) -> None:
    from rich.text import Text

    print_table(Text.assemble(_cell(box.name, "bold"), " ", _cell(box.version), _cell(f"  by {box.author}", "dim")))
    if box.description:
        print_table(_words(box.description))
    print_table(_task_table(box))
    print_table(_run_table(report.runs))
    if report.platforms:
        table = _table("Platforms", "platform", "runner", "what for")
        for platform in report.platforms:
            table.add_row(_cell(platform.name), _cell(platform.runner), _words(platform.description))
        print_table(table)
    if report.sweeps:
        table = _table("Sweeps", "sweep", "run", "method", "what for")
        for sweep in report.sweeps:
            table.add_row(_cell(sweep.name), _cell(sweep.run), sweep.method, _words(sweep.description))
        print_table(table)


def _task_table(box: Box) -> Table:
    table = _table("Tasks", "task", "", "parameter", "type", "what it is")
    for task in box.tasks:
        rows = [("in", each) for each in task.inputs] + [("out", each) for each in task.outputs]
        if task.description or not rows:
            table.add_row(_cell(task.name, "bold"), "", "", "", _words(task.description))
        for number, (direction, parameter) in enumerate(rows):
            name = task.name if number == 0 and not task.description else ""
            what = _words(parameter.description)
            table.add_row(_cell(name, "bold"), direction, _cell(parameter.name), parameter.type, what)
    return table


def _run_table(runs: tuple[RunConfiguration, ...]) -> Table:
    table = _table("Run configurations", "run", "task", "", "parameter", "path")
    for run in runs:
        rows = [("in", each) for each in run.inputs] + [("out", each) for each in run.outputs]
        for number, (direction, binding) in enumerate(rows):
            name, task = (run.name, run.task) if number == 0 else ("", "")
            table.add_row(
                _cell(name, "bold"), _cell(task), direction, _cell(binding.parameter), _cell(binding.path)
            )
    return table


def _cell(text: str, style: str = "") -> Text:
    """A stranger's name on one line."""
    from rich.text import Text

    return Text(one_line(text), style)


def _words(text: str | None) -> Text:
    """A stranger's description, whose lines stay."""
    from rich.text import Text

    return Text(shown(text or ""))


def _table(title: str, *columns: str) -> Table:
    from rich import box as frames
    from rich.table import Table

    table = Table(title=title, box=frames.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
