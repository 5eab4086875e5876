"""Run tasks of a box.

What the task writes to its standard output and error comes through as it is;
messages of ours go to standard error.  The exit status is the task's own; 124
when it ran out of time, 130 when it was interrupted, and 64 to 78 when it could
not be started.  Of several runs, the first that fails decides."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlcommons_box import execution
from mlcommons_box.cache import cache_directory
from mlcommons_box.cli.arguments import (
    add_box,
    add_ca_bundle,
    add_platform,
    add_runs,
    add_verbosity,
    add_workspace,
    box_path,
    ca_bundle,
    jobs,
    verbosity,
)
from mlcommons_box.cli.observer import TerminalObserver
from mlcommons_box.cli.terminal import Terminal
from mlcommons_box.command import Command
from mlcommons_box.definition.places import box_root
from mlcommons_box.definition.remembered import RememberedDefinitions
from mlcommons_box.errors import UsageError
from mlcommons_box.model import Box, Platform, RunConfiguration
from mlcommons_box.pipeline import Pipeline
from mlcommons_box.planning import RunPlan, plan_run, plan_setup
from mlcommons_box.runners.interface import Runner
from mlcommons_box.runners.registry import runner_for
from mlcommons_box.selection import run_files, select_platform, select_runs

if TYPE_CHECKING:
    from mlcommons_box.standstill import Standstill

EXAMPLES = """\
examples:
  mlbox run                               the only run configuration of the box, or a list of them
  mlbox run --task=train                  run/train.yaml, on the best platform available
  mlbox run --task=run/train.yaml --platform=platforms/docker.yaml
  mlbox run --all                         all of them, in the order of the data that joins them
  mlbox run --task=download --task=train  these two, in that order too
  mlbox run --all --jobs=4 --keep-going   four at a time; what does not need a failed one still runs
  mlbox run --all --skip-unchanged        only what has changed, or what it reads has
  mlbox run --all --json                  what happens, for programs: one JSON object a line
  mlbox run --task=train -P data_dir=/data/mnist -P model_dir=models/2
  mlbox run --task=train --timeout=2h --workspace=/scratch/mnist
  mlbox run --task=train --dry-run        print the commands, ready to paste; run nothing
  mlbox run --task=train --platform=cluster --detach
                                          start it and leave it; 'mlbox status', 'mlbox wait'"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_box(parser)
    add_runs(parser, "run configuration, or its short name: 'train' is run/train.yaml; may be repeated")
    parser.add_argument("--all", action="store_true", help="run all run configurations, in the order of the data")
    add_platform(parser)
    add_workspace(parser)
    add_ca_bundle(parser)
    parser.add_argument(
        "-P",
        dest="bindings",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="bind a parameter to another path (relative paths are relative to the workspace); may be repeated",
    )
    parser.add_argument("--timeout", metavar="TIME", help="end a task after TIME: 90 (seconds), 30m or 2h")
    parser.add_argument(
        "-j", "--jobs", default="1", metavar="N", help="run N at a time, or as many as there are CPUs: 'auto'"
    )
    parser.add_argument(
        "-k", "--keep-going", action="store_true", help="after a failure, still run what does not depend on it"
    )
    parser.add_argument(
        "--skip-unchanged",
        action="store_true",
        help="leave out what would only make again what is there ('mlbox why')",
    )
    parser.add_argument("--json", action="store_true", help="print what happens as JSON, one object a line")
    parser.add_argument("--dry-run", action="store_true", help="print the commands and run nothing")
    parser.add_argument(
        "-d", "--detach", action="store_true", help="start it on its host or in its queue, and leave it to itself"
    )
    add_verbosity(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Run what the arguments select, in the order of the data."""
    _check_arguments(arguments)
    at_once = jobs(arguments.jobs)
    terminal = Terminal(verbosity(arguments))
    definitions = RememberedDefinitions(box_root(box_path(arguments)), cache_directory(os.environ))
    box = definitions.load_box()
    platform = select_platform(definitions, box, arguments.platform, arguments.runner)
    runner = runner_for(platform)
    standstill = _standstill(arguments, box, platform, runner) if arguments.skip_unchanged else None
    if standstill is not None and not arguments.json:
        unchanged = standstill.runs()
        if unchanged is not None:
            run, reason = unchanged[0]
            one = len(unchanged) == 1
            terminal.success(f"{run}: unchanged, {reason}" if one else f"{len(unchanged)} unchanged")
            return 0
    runs = select_runs(definitions, box, arguments.tasks, platform, every=arguments.all, note=terminal.note)
    pipeline = Pipeline(_plans(arguments, box, runs, platform))
    if arguments.dry_run:
        return _show(pipeline.ordered, runner)
    definitions.save()
    if arguments.detach:
        return _detach(pipeline, runner, terminal)
    from mlcommons_box.cli.run_many import run_many

    return run_many(
        pipeline,
        runner,
        terminal,
        at_once=at_once,
        keep_going=arguments.keep_going,
        standstill=standstill,
        as_json=arguments.json,
    )


def _standstill(arguments: argparse.Namespace, box: Box, platform: Platform, runner: Runner) -> Standstill:
    from mlcommons_box.runners.inner import inner_files
    from mlcommons_box.standstill import Standstill

    question = (arguments.all, sorted(arguments.tasks), sorted(arguments.bindings), arguments.ca_bundle)
    setup = plan_setup(box, platform, arguments.workspace)
    files = [*run_files(box, arguments.tasks), *inner_files(box.root, platform)]
    return Standstill(cache_directory(os.environ), setup, runner, question, files)


def _check_arguments(arguments: argparse.Namespace) -> None:
    if arguments.all and arguments.tasks:
        raise UsageError("--all and --task exclude each other", hint="use one of them")
    shows = {"--dry-run": arguments.dry_run, "--detach": arguments.detach}
    asked = {"--json": arguments.json, "--jobs": arguments.jobs != "1", "--keep-going": arguments.keep_going}
    asked["--skip-unchanged"] = arguments.skip_unchanged
    for option in (name for name, given in shows.items() if given):
        for other in (name for name, given in asked.items() if given):
            raise UsageError(
                f"{option} and {other} exclude each other", hint=f"{other} is for runs that are awaited"
            )


def _plans(
    arguments: argparse.Namespace, box: Box, runs: list[RunConfiguration], platform: Platform
) -> list[RunPlan]:
    rebind = _bindings(arguments.bindings)
    timeout = seconds_of(arguments.timeout)
    certificates = ca_bundle(arguments)
    plans = []
    unused = set(rebind)
    for run in runs:
        own = {binding.parameter for binding in (*run.inputs, *run.outputs)}
        chosen = {name: path for name, path in rebind.items() if name in own or len(runs) == 1}
        unused -= set(chosen)
        plan = plan_run(
            box,
            run,
            platform,
            workspace=arguments.workspace,
            rebind=chosen,
            timeout=timeout,
            ca_bundle=certificates,
        )
        plans.append(plan)
    if unused:
        names = ", ".join(sorted(unused))
        raise UsageError(f"no run has a parameter {names!r}", hint="'mlbox describe' lists them")
    return plans


def _bindings(words: list[str]) -> dict[str, str]:
    rebind: dict[str, str] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not equals or not name or not path:
            raise UsageError(f"-P takes NAME=PATH, not {word!r}")
        if name in rebind:
            raise UsageError(f"-P {name}=... is there twice")
        rebind[name] = path
    return rebind


def seconds_of(word: str | None) -> float | None:
    """The seconds that a limit of time means.  Raises :class:`UsageError`."""
    if word is None:
        return None
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", word) and float(word) > 0:
        return float(word)
    from mlcommons_box.definition.platforms import seconds
    from mlcommons_box.definition.schema import TIME

    if not re.fullmatch(TIME.pattern, word):
        raise UsageError(f"--timeout takes a time, not {word!r}", hint=TIME.hint)
    return seconds(word)


def _show(plans: Sequence[RunPlan], runner: Runner) -> int:
    shown: set[str] = set()
    for plan in plans:
        execution.check_platform(plan, runner)
        for command in (*_output_directories(plan), *runner.commands(plan)):
            line = command.shell()
            if line not in shown:
                shown.add(line)
                print(line)  # noqa: T201  # the result of --dry-run
    return 0


def _output_directories(plan: RunPlan) -> list[Command]:
    """The command that makes the outputs' directories, where some are not there yet."""
    here = (each.directory for each in plan.outputs if not each.elsewhere)
    missing = dict.fromkeys(str(directory) for directory in here if not directory.is_dir())
    return [Command(argv=("mkdir", "-p", "--", *missing))] if missing else []


def _detach(pipeline: Pipeline, runner: Runner, terminal: Terminal) -> int:
    """Start all of the runs, none of which may wait for another."""
    for reader in pipeline.order:
        join = next(pipeline.joins(reader), None)
        if join is not None:
            needed, run = pipeline.plans[join.writer].run, pipeline.plans[reader].run
            raise UsageError(
                f"the run {run!r} reads what {needed!r} writes, and cannot start before that has ended",
                hint=f"'mlbox run --task={needed}' first, then '--task={run} --detach'",
            )
    plans = pipeline.ordered
    execution.detach_all(plans, runner, TerminalObserver(terminal))
    for plan in plans:
        print(plan.id)  # noqa: T201  # the result of --detach
    terminal.note("'mlbox status' shows how it is, and 'mlbox wait' brings back what it made")
    return 0
