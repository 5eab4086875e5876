"""Runs a recorded run again, under what its record says, and compares what comes out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from mlcommons_box import execution
from mlcommons_box.differences import Difference, changes_of_trees, changes_of_values
from mlcommons_box.errors import BoxError, ConfigurationError, Interrupted, UsageError
from mlcommons_box.findings import definition_digest
from mlcommons_box.model import Binding, Box, DockerOptions, Platform, RunConfiguration
from mlcommons_box.planning import RunPlan, check_directory_names, plan_run
from mlcommons_box.record import RunRecord, mapping_in, plan_data
from mlcommons_box.runners.interface import Identifiable, Runner
from mlcommons_box.tree_store import TreeStore
from mlcommons_box.up_to_date import flat_image, identity
from mlcommons_box.value import Value, replace
from mlcommons_box.verification import verify

_LONGEST = 1e9
"""Seconds; a limit beyond it, of a stranger's record, is none."""
State = Literal["bit-exact", "diverged", "differs by nature", "unknown"]


class Replayed(Value):
    """What became of one output."""

    name: str
    state: State
    changes: tuple[Difference, ...] = ()


def fresh_workspace(given: Path | None) -> Path:
    """The new directory that is ``given``, or a temporary one.  Raises :class:`UsageError`."""
    if given is None:
        import tempfile

        return Path(tempfile.mkdtemp(prefix="mlbox-replay-"))
    try:
        given.mkdir(parents=True)
    except FileExistsError:
        raise UsageError(f"{str(given)!r} is there already", hint="--into names a new directory") from None
    except OSError as error:
        raise UsageError(f"cannot create {str(given)!r}: {error.strerror}") from error
    return given.absolute()


def replay_plan(
    record: RunRecord, box: Box, platform: Platform, workspace: Path, ca_bundle: Path | None = None
) -> RunPlan:
    """The plan of the same run in a fresh workspace: inputs where they were, outputs below the workspace.

    Raises :class:`ConfigurationError` when the box has no such task any more.
    """
    task = next((task for task in box.tasks if task.name == record.task), None)
    if task is None:
        raise ConfigurationError(f"the run {record.id} cannot be replayed: the box has no task {record.task!r}")
    known = {*(("input", each.name) for each in task.inputs), *(("output", each.name) for each in task.outputs)}
    if not {(each.direction, each.name) for each in record.parameters} <= known:
        raise ConfigurationError(
            f"the run {record.id} cannot be replayed: the task {record.task!r} has other parameters now"
        )
    check_directory_names(each for each in record.parameters if each.direction == "output")
    inputs = tuple(
        Binding(parameter=each.name, path=str(each.path)) for each in record.parameters if each.direction == "input"
    )
    outputs = tuple(
        Binding(parameter=each.name, path=f"$WORKSPACE/{each.name}/{each.path.name}")
        for each in record.parameters
        if each.direction == "output"
    )
    run = RunConfiguration(name=record.run, file=box.root / "run", task=record.task, inputs=inputs, outputs=outputs)
    timeout = record.plan.get("timeout")
    plan = plan_run(
        box,
        run,
        platform,
        workspace=workspace,
        ca_bundle=ca_bundle,
        timeout=timeout if isinstance(timeout, int | float) and 0 < timeout < _LONGEST else None,
    )
    return replace(plan, group={"kind": "replay", "of": record.id})


def pinned(platform: Platform, record: RunRecord) -> Platform:
    """The platform with the very image that the run used, where the engine can be given it by its id."""
    image = record.image.get("id")
    is_same = platform.runner == record.runner and platform.name == record.platform
    if not (is_same and isinstance(platform.options, DockerOptions) and isinstance(image, str)):
        return platform
    return replace(platform, options=replace(platform.options, image=image.removeprefix("sha256:")))


def obstacles(record: RunRecord, plan: RunPlan, runner: Runner, trees: TreeStore) -> Iterator[str]:
    """Why the run cannot be replayed: what it read, its code, environment or image is not what it was."""
    for each in verify(record, trees):
        if each.kind == "output":
            continue
        for change in each.changes:
            yield f"{each.kind} {change.name}: {change.says}"
        if each.state == "unknown":
            yield f"{each.kind} {each.name}: {each.reason}"
    if record.code.get("definition") != definition_digest(plan.task):
        yield f"code tasks/{plan.task.file.name}: its parameters, network or environment changed"
    before, now = mapping_in(record.plan, "environment"), plan_data(plan)["environment"]
    for change in changes_of_values("environment", before, now):
        yield f"environment {change.name}: {change.says}"
    if record.runner == plan.platform.runner and record.platform == plan.platform.name:
        yield from _obstacles_of_image(record, plan, runner)


def prepared_replay(
    record: RunRecord,
    box: Box,
    platform: Platform,
    runner: Runner,
    trees: TreeStore,
    *,
    into: Path | None,
    ca_bundle: Path | None,
) -> RunPlan:
    """The plan of the same run in the fresh workspace ``into``, or in a temporary one.

    Raises :class:`ConfigurationError` with everything that keeps the run from being replayed, and
    :class:`BoxError` when its platform cannot run it; then nothing is left of the workspace.
    """
    workspace = fresh_workspace(into)
    try:
        plan = replay_plan(record, box, platform, workspace, ca_bundle)
        found = list(obstacles(record, plan, runner, trees))
        if found:
            lines = "\n".join(f"  {each}" for each in found)
            raise ConfigurationError(f"the run {record.id} cannot be replayed\n{lines}")
        execution.check(plan, runner)
    except BaseException:
        with suppress(OSError):
            workspace.rmdir()
        raise
    return plan


def _obstacles_of_image(record: RunRecord, plan: RunPlan, runner: Runner) -> Iterator[str]:
    if not isinstance(runner, Identifiable) or identity(record.image) is None:
        return
    try:
        now = dict(runner.identity(plan).image)
    except Interrupted:
        raise
    except (BoxError, OSError) as error:
        yield f"image: {getattr(error, 'message', error)}"
        return
    if identity(now) is None:
        yield f"image {record.image.get('reference', '')}: {record.image.get('id')} is not here any more"
    elif identity(now) != identity(record.image):
        before = {key: value for key, value in record.image.items() if key != "reference"}
        for change in changes_of_values("image", flat_image(before), flat_image(now)):
            yield f"image {change.name}: {change.says}"


def compared(
    record: RunRecord, again: RunRecord, plan: RunPlan, before: TreeStore, after: TreeStore
) -> list[Replayed]:
    """Output by output, whether the same bytes came out."""
    varying = {each.name for each in plan.task.outputs if not each.reproducible}
    results = []
    for output in plan.outputs:
        old, new = mapping_in(record.outputs, output.name), mapping_in(again.outputs, output.name)
        if not old.get("digest") or not new.get("digest"):
            results.append(Replayed(name=output.name, state="unknown"))
        elif old["digest"] == new["digest"]:
            results.append(Replayed(name=output.name, state="bit-exact"))
        else:
            state: State = "differs by nature" if output.name in varying else "diverged"
            files = after.entries(str(new["digest"]))
            found = tuple(changes_of_trees("output", output.name, old, new, before, files))
            results.append(Replayed(name=output.name, state=state, changes=found))
    return results
