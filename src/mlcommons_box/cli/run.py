"""Run tasks of a box.

What the task writes to its standard output and error comes through as it is;
messages of ours go to standard error.  The exit status is the task's own; 124
when it ran out of time, 130 when it was interrupted, and 64 to 78 when it could
not be started."""

from __future__ import annotations

import argparse
import os
import re
import time

from mlcommons_box import execution
from mlcommons_box.cache import cache_directory
from mlcommons_box.cli.arguments import (
    add_box,
    add_ca_bundle,
    add_platform,
    add_verbosity,
    add_workspace,
    box_path,
    ca_bundle,
    complete_runs,
    verbosity,
)
from mlcommons_box.cli.observer import TerminalObserver
from mlcommons_box.cli.selection import select_platform, select_runs
from mlcommons_box.cli.terminal import Terminal
from mlcommons_box.definition.places import box_root
from mlcommons_box.definition.remembered import RememberedDefinitions
from mlcommons_box.errors import UsageError
from mlcommons_box.model import Box, Platform, RunConfiguration
from mlcommons_box.pipeline import feeds, in_data_order
from mlcommons_box.planning import RunPlan, plan_run
from mlcommons_box.process import Command
from mlcommons_box.record import RunRecord
from mlcommons_box.runners.interface import Outcome, Runner
from mlcommons_box.runners.registry import runner_for

EXAMPLES = """\
examples:
  mlbox run                               the only run configuration of the box, or a list of them
  mlbox run --task=train                  run/train.yaml, on the best platform available
  mlbox run --task=run/train.yaml --platform=platforms/docker.yaml
  mlbox run --all                         all of them, in the order of the data that joins them
  mlbox run --task=train -P data_dir=/data/mnist -P model_dir=models/2
  mlbox run --task=train --timeout=2h --workspace=/scratch/mnist
  mlbox run --task=train --dry-run        print the commands, ready to paste; run nothing
  mlbox run --task=train --platform=cluster --detach
                                          start it and leave it; 'mlbox status', 'mlbox wait'"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_box(parser)
    task = parser.add_argument(
        "--task", metavar="FILE", help="run configuration, or its short name: 'train' is run/train.yaml"
    )
    task.completer = complete_runs  # type: ignore[attr-defined]
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
    parser.add_argument("--dry-run", action="store_true", help="print the commands and run nothing")
    parser.add_argument(
        "-d", "--detach", action="store_true", help="start it on its host or in its queue, and leave it to itself"
    )
    add_verbosity(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Run what the arguments select; the first failure ends it."""
    terminal = Terminal(verbosity(arguments))
    definitions = RememberedDefinitions(box_root(box_path(arguments)), cache_directory(os.environ))
    box = definitions.load_box()
    if arguments.all and arguments.task:
        raise UsageError("--all and --task exclude each other", hint="use one of them")
    platform = select_platform(definitions, box, arguments.platform, arguments.runner)
    runs = select_runs(definitions, box, arguments.task, platform, every=arguments.all, terminal=terminal)
    runner = runner_for(platform)
    plans = _plans(arguments, box, runs, platform)
    if arguments.dry_run:
        return _show(plans, runner)
    definitions.save()
    if arguments.detach:
        return _detach(plans, runner, terminal)
    for plan in plans:
        outcome = _run(plan, runner, terminal)
        if outcome.status != "succeeded":
            return outcome.exit_status
    return 0


def _plans(
    arguments: argparse.Namespace, box: Box, runs: list[RunConfiguration], platform: Platform
) -> list[RunPlan]:
    rebind = _bindings(arguments.bindings)
    timeout = _timeout(arguments.timeout)
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
    return in_data_order(plans)


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


def _timeout(word: str | None) -> float | None:
    if word is None:
        return None
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", word) and float(word) > 0:
        return float(word)
    from mlcommons_box.definition.platforms import seconds
    from mlcommons_box.definition.schema import TIME

    if not re.fullmatch(TIME.pattern, word) or seconds(word) == 0:
        raise UsageError(f"--timeout takes a time, not {word!r}", hint=TIME.hint)
    return seconds(word)


def _show(plans: list[RunPlan], runner: Runner) -> int:
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


def _detach(plans: list[RunPlan], runner: Runner, terminal: Terminal) -> int:
    """Start all of the runs, none of which may wait for another."""
    for number, plan in enumerate(plans):
        needed = next((other for other in plans[:number] if feeds(other, plan)), None)
        if needed is not None:
            raise UsageError(
                f"the run {plan.run!r} reads what {needed.run!r} writes, and cannot start before that has ended",
                hint=f"'mlbox run --task={needed.run}' first, then '--task={plan.run} --detach'",
            )
    execution.detach_all(plans, runner, TerminalObserver(terminal))
    for plan in plans:
        print(plan.id)  # noqa: T201  # the result of --detach
    terminal.note("'mlbox status' shows how it is, and 'mlbox wait' brings back what it made")
    return 0


def _run(plan: RunPlan, runner: Runner, terminal: Terminal) -> Outcome:
    file = f" ({plan.platform.file.name})" if plan.platform.file else ""
    terminal.step(f"{plan.run}: running with the {plan.platform.runner} runner{file}")
    for note in runner.notes(plan):
        terminal.note(note)
    began = time.monotonic()
    outcome = execution.execute(plan, runner, TerminalObserver(terminal))
    _show_end(plan.run, outcome, time.monotonic() - began, terminal)
    return outcome


def show_end(record: RunRecord, terminal: Terminal) -> None:
    """Say how a recorded run ended."""
    if record.status == "running":
        return
    outcome = Outcome(status=record.status, exit_status=record.exit_status or 0, reason=record.reason)
    _show_end(record.run, outcome, record.duration or 0.0, terminal)


def _show_end(run: str, outcome: Outcome, duration: float, terminal: Terminal) -> None:
    took = f"{duration:.1f} s"
    if outcome.status == "succeeded":
        terminal.success(f"{run}: succeeded in {took}")
        if outcome.reason:
            terminal.note(outcome.reason)
    elif outcome.status == "cancelled":
        terminal.error(f"the run {run!r} was {outcome.reason or 'cancelled'} after {took}")
    elif outcome.status == "lost":
        terminal.error(f"the run {run!r} is lost after {took}: {outcome.reason or 'nobody knows how it ended'}")
    else:
        reason = f" ({outcome.reason})" if outcome.reason else ""
        terminal.error(f"the run {run!r} failed after {took} with exit status {outcome.exit_status}{reason}")
