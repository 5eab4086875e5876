"""What the command line can do, as functions and plain objects: for notebooks and other programs.

Every name here is also one of the package itself (``mlcommons_box.load_box``).  Boxes, plans and records are
immutable; what goes wrong before a task starts raises a :class:`~mlcommons_box.errors.BoxError`, and a task that
fails is a record whose ``status`` says so.  Paths may be given as text.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlcommons_box import execution
from mlcommons_box.cache import cache_directory
from mlcommons_box.checking import Report, check_box
from mlcommons_box.definition.loader import load_box as _load_box
from mlcommons_box.definition.loader import load_sweep
from mlcommons_box.definition.places import SWEEP_DIRECTORY, box_root, find_file
from mlcommons_box.definition.remembered import RememberedDefinitions
from mlcommons_box.errors import BoxError, ConfigurationError, UsageError
from mlcommons_box.model import Box, Platform
from mlcommons_box.pipeline import in_data_order
from mlcommons_box.planning import RunPlan, plan_run
from mlcommons_box.process import Stream
from mlcommons_box.quiet import Output, QuietObserver, QuietSweep
from mlcommons_box.record import RunRecord
from mlcommons_box.run_store import RunStore
from mlcommons_box.runners.registry import runner_for
from mlcommons_box.selection import select_platform, select_runs
from mlcommons_box.tree_store import TreeStore, tree_store

if TYPE_CHECKING:
    from mlcommons_box.differences import Difference
    from mlcommons_box.replaying import Replayed
    from mlcommons_box.report.sweeps import TrialResult
    from mlcommons_box.up_to_date import Verdict
    from mlcommons_box.verification import Checked

AnyPath = str | os.PathLike[str]


# ---- Boxes and plans -----------------------------------------------------------------------------


def load_box(path: AnyPath = ".") -> Box:
    """Read a box, a directory or its ``mlbox.yaml``, with all its tasks; executes nothing.

    Raises :class:`~mlcommons_box.errors.DefinitionError` with all mistakes in these files, and
    :class:`~mlcommons_box.errors.UsageError` when there is no box.
    """
    return _load_box(Path(path))


def validate(path: AnyPath = ".", *, workspace: AnyPath | None = None, inputs: bool = True) -> Report:
    """Check every definition file of a box; ``problems`` of the report has all mistakes, each with its place.

    Without ``inputs`` it does not matter whether the data is there.  Raises
    :class:`~mlcommons_box.errors.UsageError` when there is no box.
    """
    return check_box(Path(path), workspace=_path(workspace), inputs=inputs)


def plan(
    box: Box,
    run: str | None = None,
    *,
    platform: str | Platform | None = None,
    workspace: AnyPath | None = None,
    bindings: Mapping[str, AnyPath] | None = None,
    timeout: float | None = None,
) -> RunPlan:
    """Resolve one run of a box: absolute paths, image, environment, limits.  Starts and writes nothing.

    ``run`` names a run configuration (``train`` is ``run/train.yaml``); the only one of the box unless given.
    ``platform`` names a platform file or is one that was loaded; without it, the best that is available here, as
    for ``mlbox run``.  ``bindings`` gives parameters other paths, relative to the workspace.  ``timeout`` is in
    seconds.  Raises :class:`~mlcommons_box.errors.BoxError`.
    """
    definitions, chosen = _platform(box, platform)
    (found,) = select_runs(definitions, box, [run] if run else [], chosen, every=False, note=_unheard)
    return plan_run(
        box,
        found,
        chosen,
        workspace=_path(workspace),
        rebind={name: os.fspath(path) for name, path in (bindings or {}).items()},
        timeout=timeout,
        ca_bundle=_ca_bundle(),
    )


def plan_all(
    box: Box, *, platform: str | Platform | None = None, workspace: AnyPath | None = None
) -> list[RunPlan]:
    """A plan for every run configuration, in the order of the data that joins them.

    Raises as :func:`plan` does, also for cycles and for two runs that write one path.
    """
    definitions, chosen = _platform(box, platform)
    runs = select_runs(definitions, box, [], chosen, every=True, note=_unheard)
    return in_data_order(
        [plan_run(box, run, chosen, workspace=_path(workspace), ca_bundle=_ca_bundle()) for run in runs]
    )


def commands(plan: RunPlan) -> list[str]:
    """What would be started, ready to paste into a shell: what ``mlbox run --dry-run`` prints."""
    return [command.shell() for command in runner_for(plan.platform).commands(plan)]


# ---- Running -------------------------------------------------------------------------------------


def show_output(stream: Stream, text: str) -> None:
    """Pass what a task writes on to ``sys.stdout`` and ``sys.stderr``, wherever these lead, as in a notebook."""
    target = sys.stdout if stream == "stdout" else sys.stderr
    target.write(text)
    target.flush()


def run(plan: RunPlan, *, on_output: Output | None = show_output) -> RunRecord:
    """Prepare what is due, run the task to its end, and return its record.

    An interrupt ends the task too.  ``on_output`` gets what it writes, as it is written; None is for nobody, and
    the logs have it all the same.  Raises :class:`~mlcommons_box.errors.BoxError` for what keeps the task from
    being started.
    """
    execution.execute(plan, runner_for(plan.platform), QuietObserver(on_output))
    return RunStore(plan.workspace).read(plan.id)


def run_all(
    plans: Sequence[RunPlan],
    *,
    jobs: int = 1,
    keep_going: bool = False,
    skip_unchanged: bool = False,
    on_output: Output | None = None,
) -> list[RunRecord]:
    """Run plans of one platform and one workspace, ``jobs`` at a time, each when what it reads is there.

    Returns their records, in the order in which they ended.  After a failure nothing new starts; with
    ``keep_going`` only what depends on it does not.  With ``skip_unchanged`` what would only make again what is
    there is left out, and its earlier record is returned; a run that was not to be started has none.
    Raises :class:`~mlcommons_box.errors.UsageError` for plans that do not go together, and, when all that can run
    has ended, what kept a task from being started; :func:`runs` has the records of the others then.
    """
    from mlcommons_box.scheduling import run_all as schedule
    from mlcommons_box.up_to_date import Checker, LastRuns

    if not plans:
        return []
    if len({(plan.platform.runner, plan.platform.name, plan.workspace) for plan in plans}) > 1:
        raise UsageError("the plans are of several platforms or workspaces", hint="run those of each by themselves")
    runner, store = runner_for(plans[0].platform), RunStore(plans[0].workspace)
    checker = Checker(runner, LastRuns(store)) if skip_unchanged else None
    earlier: dict[str, str] = {}

    def is_unchanged(plan: RunPlan) -> str | None:
        if checker is None:
            return None
        verdict = checker.check(plan)
        if verdict.is_up_to_date and verdict.record is not None:
            earlier[plan.id] = verdict.record.id
        return verdict.reason

    ends = schedule(
        plans,
        runner,
        jobs=jobs,
        keep_going=keep_going,
        observer_for=lambda plan: QuietObserver(on_output),
        is_unchanged=is_unchanged,
    )
    for each in ends:
        if each.error is not None and (len(plans) == 1 or not isinstance(each.error, BoxError)):
            raise each.error
    recorded = {record.id: record for record in store.read_all()[0]}
    for each in ends:
        if each.error is not None and each.plan.id not in recorded:
            raise each.error
    return [recorded[earlier.get(each.plan.id, each.plan.id)] for each in ends if each.state != "not started"]


def start(plan: RunPlan) -> RunRecord:
    """Start a task that goes on without this process, over SSH or in a queue; :func:`wait` comes back to it.

    Raises :class:`~mlcommons_box.errors.BoxError`.
    """
    execution.detach(plan, runner_for(plan.platform), QuietObserver(None))
    return RunStore(plan.workspace).read(plan.id)


def wait(record: RunRecord, *, on_output: Output | None = show_output) -> RunRecord:
    """Wait until a run that goes on without its process has ended, bring back what it made, and complete it.

    Raises :class:`~mlcommons_box.errors.BoxError`.
    """
    from mlcommons_box.reattaching import attach

    store = _store(record)
    record = store.read(record.id)
    return attach(store, record, QuietObserver(on_output)) if record.status == "running" else record


def cancel(record: RunRecord) -> RunRecord:
    """End a run that goes on without its process.  Raises :class:`~mlcommons_box.errors.BoxError`."""
    from mlcommons_box.reattaching import cancel as end

    store = _store(record)
    record = store.read(record.id)
    return end(store, record, QuietObserver(None)) if record.status == "running" else record


# ---- Records -------------------------------------------------------------------------------------


def runs(box: Box | None = None, *, workspace: AnyPath | None = None) -> list[RunRecord]:
    """The records of a box's workspace, or of another one, in the order in which the runs started.

    Raises :class:`~mlcommons_box.errors.ConfigurationError` for a record that cannot be read.
    """
    records, unreadable = _store_of(box, workspace).read_all()
    for error in unreadable.values():
        raise error
    return records


def find_run(name: str | None = None, box: Box | None = None, *, workspace: AnyPath | None = None) -> RunRecord:
    """One record: by the beginning or the end of its id, or the latest of a run configuration, or of all.

    Raises :class:`~mlcommons_box.errors.UsageError` when there is none, or several.
    """
    return _store_of(box, workspace).find(name)


def log(record: RunRecord, stream: Stream = "stdout") -> str:
    """What the task of a run wrote to one of its streams."""
    try:
        with _store(record).open_log(record.id, stream) as file:
            return file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def why(plan: RunPlan) -> Verdict:
    """Whether a run is up to date, and every change that speaks against it.  Starts no task."""
    from mlcommons_box.up_to_date import Checker, LastRuns

    return Checker(runner_for(plan.platform), LastRuns(RunStore(plan.workspace))).check(plan)


def verify(record: RunRecord) -> list[Checked]:
    """Hash what a run read and made again, and compare it with the record."""
    from mlcommons_box.verification import verify as check

    return check(record, _trees(record))


def compare(first: RunRecord, second: RunRecord) -> list[Difference]:
    """What tells two runs apart: code, image, inputs, hyper-parameters, outputs, metrics."""
    from mlcommons_box.comparison import differences

    return differences(first, second, _trees(first))


def replay(
    record: RunRecord,
    *,
    platform: str | Platform | None = None,
    into: AnyPath | None = None,
    on_output: Output | None = None,
) -> list[Replayed]:
    """Run a recorded run again, under what its record says; of every output, whether the same bytes came out.

    The outputs go to the new directory ``into``, or to a temporary one.  Raises
    :class:`~mlcommons_box.errors.ConfigurationError` with what keeps the run from being replayed, and
    :class:`~mlcommons_box.errors.BoxError` when the task fails this time.
    """
    from mlcommons_box.replaying import compared, pinned, prepared_replay

    box = _load_box(box_root(str(record.plan.get("box", ""))))
    chosen = pinned(_platform(box, platform or record.platform)[1], record)
    runner, trees = runner_for(chosen), _trees(record)
    plan = prepared_replay(record, box, chosen, runner, trees, into=_path(into), ca_bundle=_ca_bundle())
    again = run(plan, on_output=on_output)
    if again.status != "succeeded":
        where = f"with exit status {again.exit_status}, in {plan.workspace}"
        raise ConfigurationError(f"the replay {again.status} {where}")
    return compared(record, again, plan, trees, tree_store(plan.workspace))


# ---- Sweeps --------------------------------------------------------------------------------------


def run_sweep(
    box: Box,
    name: str,
    *,
    platform: str | Platform | None = None,
    workspace: AnyPath | None = None,
    jobs: int | Literal["auto"] = 1,
    again: bool = False,
) -> list[TrialResult]:
    """Run the trials of a sweep that are due, and return the results of all of them.

    ``jobs`` trials run at a time; ``auto`` means as many as there are GPUs, or else processors.  ``again`` runs
    trials too that have succeeded before.  Raises :class:`~mlcommons_box.errors.BoxError`.
    """
    from mlcommons_box.sweep_run import SweepRun
    from mlcommons_box.trials import trial_planner

    found, configuration = load_sweep(find_file(box.root, SWEEP_DIRECTORY, name, "sweep"), box)
    chosen = _platform(box, platform)[1]
    planner = trial_planner(found, box, configuration, chosen, workspace=_path(workspace), ca_bundle=_ca_bundle())
    session = SweepRun(planner, runner_for(chosen), QuietSweep(), jobs=jobs, again=again)
    session.run()
    return session.results()


# ---- Below ---------------------------------------------------------------------------------------


def _platform(box: Box, given: str | Platform | None) -> tuple[RememberedDefinitions, Platform]:
    definitions = RememberedDefinitions(box.root, cache_directory(os.environ))
    return definitions, given if isinstance(given, Platform) else select_platform(definitions, box, given)


def _ca_bundle() -> Path | None:
    """The certificates that the environment names, as for every command."""
    from mlcommons_box.runners.site_settings import find_ca_bundle

    return find_ca_bundle(None, os.environ)


def _path(given: AnyPath | None) -> Path | None:
    return None if given is None else Path(given)


def _store(record: RunRecord) -> RunStore:
    """Where a record is; it says itself in which workspace its run was."""
    return RunStore(Path(str(record.plan.get("workspace", ""))))


def _trees(record: RunRecord) -> TreeStore:
    return tree_store(_store(record).workspace)


def _store_of(box: Box | None, workspace: AnyPath | None) -> RunStore:
    if workspace is not None:
        return RunStore(Path(os.path.abspath(workspace)))
    if box is None:
        raise UsageError("neither a box nor a workspace is named")
    return RunStore(box.workspace)


def _unheard(message: str) -> None:
    """What a person would be told, and a program sees in what it gets."""
