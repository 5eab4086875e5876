"""Runs the trials of a sweep, here or in a queue, and knows from their records what need not be run again."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mlcommons_box import execution
from mlcommons_box.cache import file_name_of
from mlcommons_box.crew import Ended, Event
from mlcommons_box.errors import BoxError, CannotCreateError, ConfigurationError, PreparationError, UsageError
from mlcommons_box.findings import definition_digest
from mlcommons_box.journal import open_regular
from mlcommons_box.model import DockerOptions, Platform, SlurmOptions, SshOptions
from mlcommons_box.parameter_content import CODE, code_and_inputs, content_of_parameter
from mlcommons_box.planning import BoundParameter, RunPlan
from mlcommons_box.process import Stream
from mlcommons_box.record import RunRecord
from mlcommons_box.run_store import RunStore
from mlcommons_box.runners.devices import DevicePool, Lease
from mlcommons_box.runners.inner import inner_platform
from mlcommons_box.runners.interface import Observer, PassesOn, Runner, StartsMany
from mlcommons_box.scheduling import run_all
from mlcommons_box.sweep import Values, values_key
from mlcommons_box.trials import KIND, Trial
from mlcommons_box.up_to_date import bindings_of
from mlcommons_box.value import Value, replace

_ON_THIS_MACHINE = ("local", "docker", "singularity")
"""Runners whose tasks use the GPUs of this machine."""


class PastTrial(Value):
    """The latest run of a trial, by its record."""

    number: int
    values: Values
    record: RunRecord


def past_trials(store: RunStore, sweep: str) -> dict[int, PastTrial]:
    """The trials of a sweep that have been run, by their numbers."""
    found = {}
    for record in store.read_all()[0]:
        values = _values(record.group)
        number = record.group.get("trial")
        if record.group.get("kind") != KIND or record.group.get("name") != sweep or values is None:
            continue
        if isinstance(number, int) and not isinstance(number, bool) and number > 0:
            found[number] = PastTrial(number=number, values=values, record=record)
    return dict(sorted(found.items()))


def _values(group: Mapping[str, Any]) -> Values | None:
    """The values of a trial, if they are such; a workspace may come from a stranger."""
    values = group.get("values")
    if not isinstance(values, dict):
        return None
    if not all(each is None or isinstance(each, str | int | float) for each in values.values()):
        return None
    return tuple(values.items())


def numbers_of(past: Mapping[int, PastTrial]) -> dict[object, int]:
    """Which trial has which values; the last, where several have them."""
    return {values_key(each.values): number for number, each in past.items()}


class Finished:
    """Says of trials whether an earlier run of them still holds."""

    def __init__(self) -> None:
        self._digests: dict[str, str | None] = {}

    def obstacle(self, past: PastTrial, trial: Trial) -> str | None:
        """Why a trial has to run again; None when it has succeeded, with what it would use now."""
        record, plan = past.record, trial.plan
        if record.status != "succeeded":
            return f"it is {record.status}" if record.status in ("running", "lost") else f"it {record.status}"
        if values_key(past.values) != values_key(trial.values):
            return "its values were others"
        if record.code.get("definition") not in (None, definition_digest(plan.task)):
            return f"tasks/{plan.task.file.name} has changed"
        workspace = Path(str(record.plan.get("workspace", "")))
        if bindings_of(record.parameters, workspace) != bindings_of(plan.parameters, plan.workspace):
            return "a parameter is bound to another path"
        for parameter in code_and_inputs(plan):
            is_code = parameter.name == CODE
            recorded = record.code.get("build", {}) if is_code else record.inputs.get(parameter.name, {})
            if parameter.path == trial.file:
                digest: str | None = hashlib.sha256(trial.content.encode("utf-8")).hexdigest()
            else:
                digest = self._digest(parameter, plan)
            if recorded.get("digest") and recorded.get("digest") != digest:
                return f"{parameter.name} has changed" if is_code else f"the input {parameter.name!r} has changed"
        for output in plan.outputs:
            if not output.elsewhere and not os.path.lexists(output.path):
                return f"its output {output.name!r} is gone"
        return None

    def _digest(self, parameter: BoundParameter, plan: RunPlan) -> str | None:
        """Trials have most of what they read in common."""
        key = str(parameter.path)
        if key not in self._digests:
            self._digests[key] = None
            with suppress(BoxError, OSError):
                self._digests[key] = content_of_parameter(parameter, plan.outputs).whole.digest
        return self._digests[key]


@contextmanager
def alone(store: RunStore, sweep: str) -> Iterator[None]:
    """Be the only command that runs a sweep in a workspace.  Raises :class:`UsageError` when there is another."""
    path = store.workspace / ".mlbox" / f"sweep-{file_name_of(sweep)}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = open_regular(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise CannotCreateError(f"cannot create {str(path)!r}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another command runs the sweep {sweep!r} in this workspace",
                hint="wait for it; '--results' shows how far it is",
            ) from None
        yield
    finally:
        os.close(descriptor)


# ---- GPUs ----------------------------------------------------------------------------------------


def devices_per_trial(platform: Platform, available: int, jobs: int) -> int:
    """How many GPUs of this machine a trial gets for itself; 0 when that is not ours to say.

    Raises :class:`ConfigurationError` when there are too few of them, or none that could be kept apart.
    """
    gpus: object = platform.resources.gpus
    options = platform.options
    if platform.runner not in _ON_THIS_MACHINE or gpus == 0:
        return 0
    if gpus is None:  # what sees all GPUs unasked
        sees_all = platform.runner == "local" or (
            isinstance(options, DockerOptions) and options.executable == "nvidia-docker"
        )
        return max(1, available // jobs) if sees_all and available else 0
    if not available:
        if jobs == 1:
            return 0
        raise ConfigurationError(
            "the platform asks for GPUs, and this machine shows none that the trials could be kept apart on",
            hint="name them in CUDA_VISIBLE_DEVICES, or use --jobs=1 or --share-gpus",
        )
    wanted = gpus if isinstance(gpus, int) else available
    if wanted > available:
        raise ConfigurationError(
            f"a trial needs {wanted} GPUs, and there are {available}",
            hint="mend 'gpus' in the platform file, or name more in CUDA_VISIBLE_DEVICES",
        )
    return wanted


class Leases:
    """Gives every trial GPUs of its own for as long as it runs."""

    def __init__(self, pool: DevicePool, count: int, waiting: Callable[[RunPlan], None]) -> None:
        self._pool = pool
        self._count = count
        self._waiting = waiting
        self._held: dict[str, Lease] = {}

    def adapt(self, plan: RunPlan) -> RunPlan:
        """The plan with GPUs that nobody else has."""
        if not self._count:
            return plan
        lease = self._pool.lease(self._count, lambda: self._waiting(plan))
        self._held[plan.id] = lease
        return replace(plan, devices=lease.devices)

    def after(self, ended: Ended) -> None:
        """Others may have them."""
        lease = self._held.pop(ended.plan.id, None)
        if lease is not None:
            lease.give_back()


# ---- Running -------------------------------------------------------------------------------------


def run_here(
    trials: Sequence[Trial],
    runner: Runner,
    *,
    jobs: int,
    leases: Leases,
    observer_for: Callable[[RunPlan], Observer],
    on_event: Callable[[Event], None],
) -> list[Ended]:
    """Run trials, ``jobs`` of them at a time; one that fails stops no other.

    What all of them need is prepared by the first; when that fails, it is not tried again for each of the others.
    """
    by_id = {trial.plan.id: trial for trial in trials}
    unprepared: list[PreparationError] = []

    def adapt(plan: RunPlan) -> RunPlan:
        if unprepared:
            raise unprepared[0]
        adapted = leases.adapt(plan)
        by_id[plan.id].make_ready()
        return adapted

    def after(ended: Ended) -> None:
        leases.after(ended)
        if isinstance(ended.error, PreparationError):
            unprepared.append(ended.error)

    return run_all(
        [trial.plan for trial in trials],
        runner,
        jobs=jobs,
        keep_going=True,
        observer_for=observer_for,
        on_event=on_event,
        adapt=adapt,
        after=after,
    )


def goes_to_a_queue(platform: Platform, runner: Runner, plan: RunPlan) -> bool:
    """Whether something else decides when a run starts, so that all can be handed over at once."""
    if isinstance(runner, StartsMany):
        return True
    options = platform.options
    return isinstance(options, SshOptions) and isinstance(
        inner_platform(plan.box.root, options.platform).options, SlurmOptions
    )


def start_all(trials: Sequence[Trial], runner: Runner, observer: Observer) -> None:
    """Start trials that go on without us: as one job array, where there is such a thing."""
    for trial in trials:
        trial.make_ready()
    execution.detach_all([trial.plan for trial in trials], runner, observer)


class Silent(PassesOn):
    """An observer for trials of which only the end is shown; what they write is in their logs."""

    def output(self, stream: Stream, chunk: bytes) -> None:
        pass
