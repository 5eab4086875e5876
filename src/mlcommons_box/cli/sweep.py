"""Repeat a run with many values of its hyper-parameters, and compare what comes out.

Sweeps are files in sweeps/: a grid, lists of values, random draws or a search by
Optuna.  Every trial has its own outputs, its own file of hyper-parameters and its own
record.  The same command goes on where it was interrupted: a trial that has succeeded
with the same values, code and inputs is not run again.  A trial that fails stops no
other; the exit status is that of the first that failed."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mlcommons_box import execution
from mlcommons_box.cache import cache_directory
from mlcommons_box.cli.arguments import (
    add_box_of_runs,
    add_ca_bundle,
    add_platform,
    add_verbosity,
    box_path,
    ca_bundle,
    complete_sweeps,
    jobs,
    verbosity,
)
from mlcommons_box.cli.run import seconds_of
from mlcommons_box.cli.sweep_progress import SweepOnTerminal
from mlcommons_box.cli.terminal import Terminal, print_table
from mlcommons_box.command import Command
from mlcommons_box.definition.loader import load_sweep
from mlcommons_box.definition.places import BOX_FILE, SWEEP_DIRECTORY, box_root, find_file, name_below, yaml_files
from mlcommons_box.definition.remembered import RememberedDefinitions
from mlcommons_box.errors import CannotCreateError, ConfigurationError, UsageError
from mlcommons_box.model import Box, Sweep
from mlcommons_box.report.sweeps import (
    TrialResult,
    best_of,
    best_text,
    results_csv,
    results_json,
    results_table,
    space_table,
    trials_table,
)
from mlcommons_box.run_store import RunStore
from mlcommons_box.runners.interface import Runner
from mlcommons_box.runners.registry import runner_for
from mlcommons_box.selection import select_platform
from mlcommons_box.sweep import value_sets
from mlcommons_box.sweep_run import SweepRun
from mlcommons_box.sweeping import past_trials
from mlcommons_box.trials import Trial, TrialPlanner, trial_planner
from mlcommons_box.value import as_data

EXAMPLES = """\
examples:
  mlbox sweep                             the only sweep of the box, or a list of them
  mlbox sweep batch_size --jobs=2         sweeps/batch_size.yaml, two trials at a time
  mlbox sweep batch_size --platform=cluster
                                          on Slurm: all trials as one job array
  mlbox sweep batch_size --dry-run        print the trials and their commands; run nothing
  mlbox sweep batch_size --results        show again what came out
  mlbox sweep batch_size --csv=trials.csv --json
  mlbox sweep --mlbox=boxes/mnist batch_size --again"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    sweep = parser.add_argument(
        "sweep", nargs="?", metavar="SWEEP", help="sweep file, or its short name: 'rate' is sweeps/rate.yaml"
    )
    sweep.completer = complete_sweeps  # type: ignore[attr-defined]
    add_box_of_runs(parser)
    add_platform(parser)
    add_ca_bundle(parser)
    parser.add_argument("--timeout", metavar="TIME", help="end a trial after TIME: 90 (seconds), 30m or 2h")
    parser.add_argument(
        "-j",
        "--jobs",
        metavar="N",
        help="run N trials at a time, or as many as there are GPUs or else CPUs: 'auto' (default: 1)",
    )
    parser.add_argument("--share-gpus", action="store_true", help="let trials share GPUs, as other runs do")
    parser.add_argument("--again", action="store_true", help="run trials again that have succeeded before")
    parser.add_argument("--dry-run", action="store_true", help="print the trials and their commands; run nothing")
    parser.add_argument(
        "-d",
        "--detach",
        action="store_true",
        help="start all trials on their host or in their queue; leave them",
    )
    parser.add_argument("--results", action="store_true", help="run nothing, and show what came out until now")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="write the results to FILE as CSV; '-' prints it")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    add_verbosity(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Run the trials that are due, and show the results of all."""
    _check_arguments(arguments)
    terminal = Terminal(verbosity(arguments))
    definitions = RememberedDefinitions(box_root(box_path(arguments)), cache_directory(os.environ))
    box = definitions.load_box()
    sweep, run = load_sweep(_file(box, arguments.sweep), box)
    if arguments.results:
        return _show_past(sweep, box, arguments, terminal)
    platform = select_platform(definitions, box, arguments.platform, arguments.runner)
    if run.is_claimed and platform.runner != "kubernetes":
        raise ConfigurationError(
            f"the run {run.name!r} keeps its data in Kubernetes volume claims", hint="use a Kubernetes platform"
        )
    planner = trial_planner(
        sweep,
        box,
        run,
        platform,
        workspace=arguments.workspace,
        timeout=seconds_of(arguments.timeout),
        ca_bundle=ca_bundle(arguments),
    )
    runner = runner_for(platform)
    shows_output = arguments.verbose and not _prints_data(arguments)
    sweep_run = SweepRun(
        planner,
        runner,
        SweepOnTerminal(terminal, runner, planner.template, shows_output=shows_output),
        jobs=arguments.jobs if arguments.jobs in (None, "auto") else jobs(arguments.jobs),
        again=arguments.again,
        share_gpus=arguments.share_gpus,
    )
    if arguments.dry_run:
        return _show_plan(planner, sweep_run, runner, as_json=arguments.json)
    definitions.save()
    if arguments.detach:
        started = sweep_run.detach()
        for run_id in started:
            print(run_id)  # noqa: T201  # the result of --detach
        if started:
            terminal.note(f"'mlbox sweep {sweep.name}' waits for them, and shows what came out")
        return 0
    status = sweep_run.run()
    _show(sweep_run.results(), sweep, arguments, terminal)
    return status


def _prints_data(arguments: argparse.Namespace) -> bool:
    return bool(arguments.json or arguments.csv == Path("-"))


def _check_arguments(arguments: argparse.Namespace) -> None:
    if arguments.jobs not in (None, "auto"):
        jobs(arguments.jobs)
    given = {
        "--dry-run": arguments.dry_run,
        "--detach": arguments.detach,
        "--results": arguments.results,
        "--again": arguments.again,
        "--csv": arguments.csv is not None,
        "--json": arguments.json,
    }
    together = (
        ("--dry-run", "--detach"), ("--dry-run", "--results"), ("--detach", "--results"), ("--results", "--again"),
        ("--dry-run", "--csv"), ("--detach", "--csv"), ("--detach", "--json"),
    )  # fmt: skip
    for first, second in together:
        if given[first] and given[second]:
            raise UsageError(f"{first} and {second} exclude each other", hint="use one of them")
    if arguments.csv not in (None, Path("-")) and not arguments.csv.absolute().parent.is_dir():
        raise CannotCreateError(f"cannot write {str(arguments.csv)!r}: there is no such directory")
    if arguments.json and arguments.csv == Path("-"):
        raise UsageError("--json and --csv=- both print the results", hint="write the CSV to a file")


def _file(box: Box, given: str | None) -> Path:
    """The sweep file that a name means."""
    if given is not None:
        try:
            return find_file(box.root, SWEEP_DIRECTORY, given, "sweep")
        except UsageError as error:
            if os.path.lexists(Path(given, BOX_FILE)):
                raise UsageError(error.message, hint=f"a box is named with --mlbox={given}") from None
            raise
    files = yaml_files(box.root / SWEEP_DIRECTORY)
    if len(files) == 1:
        return files[0]
    if not files:
        raise UsageError(f"the box has no sweeps (no files in {SWEEP_DIRECTORY}/)")
    listing = "\n".join(f"    {name_below(file, box.root / SWEEP_DIRECTORY)}" for file in files)
    raise UsageError("the box has several sweeps", hint=f"choose one:\n{listing}")


def _show_past(sweep: Sweep, box: Box, arguments: argparse.Namespace, terminal: Terminal) -> int:
    from mlcommons_box.report.sweeps import result_of

    store = RunStore(box.workspace if arguments.workspace is None else Path(os.path.abspath(arguments.workspace)))
    past = past_trials(store, sweep.name)
    if not past:
        terminal.note(f"no trial of {sweep.name!r} has run in this workspace")
    results = [result_of(number, each.values, each) for number, each in past.items()]
    _show(results, sweep, arguments, terminal)
    return 0


def _show(results: Sequence[TrialResult], sweep: Sweep, arguments: argparse.Namespace, terminal: Terminal) -> None:
    """The results as they are wanted; the best trial is named where people read."""
    if arguments.json:
        import json

        sys.stdout.write(json.dumps(results_json(results, sweep), indent=2) + "\n")
    elif arguments.csv == Path("-"):
        sys.stdout.write(results_csv(results))
    elif results:
        print_table(results_table(results, sweep))
    sys.stdout.flush()
    best = best_of(results, sweep)
    if best is not None:
        terminal.success(best_text(best, sweep))
    elif sweep.metric and any(each.status == "succeeded" for each in results):
        names = ", ".join(dict.fromkeys(name for each in results for name in each.metrics)) or "none"
        terminal.note(f"no trial has the metric {sweep.metric!r}; metrics of the trials: {names}")
    if arguments.csv not in (None, Path("-")):
        try:
            arguments.csv.write_text(results_csv(results), "utf-8")
        except OSError as error:
            raise CannotCreateError(f"cannot write {str(arguments.csv)!r}: {error.strerror}") from error


def _show_plan(planner: TrialPlanner, sweep_run: SweepRun, runner: Runner, *, as_json: bool) -> int:
    """What would run: a search proposes its trials only one after the other, and has a space to show."""
    sweep = planner.sweep
    if sweep.method == "search":
        trials = []
        example = planner.trial(1, value_sets(sweep, planner.space)[0])
        execution.check_platform(example.plan, runner)
    else:
        trials = sweep_run.planned()
    for trial in trials:
        execution.check_platform(trial.plan, runner)
    commands = {trial.number: [each.shell() for each in _commands(trial, runner)] for trial in trials}
    if as_json:
        import json

        data: object = [
            {"trial": each.number, "values": dict(each.values), "commands": commands[each.number]}
            for each in trials
        ]
        if sweep.method == "search":
            space = {name: as_data(choices) for name, choices in planner.space}
            data = {"trials": sweep.trials, "metric": sweep.metric, "direction": sweep.direction, "space": space}
        sys.stdout.write(json.dumps(data, indent=2) + "\n")
        return 0
    if sweep.method == "search":
        print_table(space_table(planner.space))
        sys.stdout.write(f"\n{sweep.trials} trials, to {sweep.direction} {sweep.metric}\n")
        return 0
    print_table(trials_table(trials))
    told: set[str] = set()
    for trial in trials:
        sys.stdout.write(f"\n# trial {trial.number}\n")
        for line in commands[trial.number]:
            if line not in told:  # such as what all have to prepare
                told.add(line)
                sys.stdout.write(f"{line}\n")
    return 0


def _commands(trial: Trial, runner: Runner) -> list[Command]:
    """All that a trial is: its directories, its file of hyper-parameters, and what its runner starts."""
    plan = trial.plan
    directories = [each.directory for each in plan.outputs if not each.elsewhere]
    if trial.file is not None:
        directories.append(trial.file.parent)
    commands = [Command(argv=("mkdir", "-p", "--", *dict.fromkeys(map(str, directories))))] if directories else []
    if trial.file is not None:
        commands.append(Command(argv=("tee", str(trial.file)), input=trial.content.encode("utf-8")))
    return [*commands, *runner.commands(plan)]
