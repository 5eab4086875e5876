"""What is found out of a run beside it and after it: where it ran, in what, and what it made.

These modules are loaded while the engine starts: before it nobody would wait for them gladly.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from mlcommons_box.errors import BoxError, ConfigurationError
from mlcommons_box.fingerprint import Fingerprint
from mlcommons_box.hyperparameters import read_hyperparameters
from mlcommons_box.journal import open_regular
from mlcommons_box.machine import machine_of, this_machine
from mlcommons_box.metrics import STEPS_FILE, read_metrics, read_steps
from mlcommons_box.model import Task
from mlcommons_box.parameter_content import content_of_parameter
from mlcommons_box.planning import BoundParameter, RunPlan
from mlcommons_box.record import RunRecord, mapping_in, moment
from mlcommons_box.run_store import JOB_FILE, RunStore
from mlcommons_box.runners.interface import Identifiable, Runner
from mlcommons_box.tree_store import TreeStore, tree_store
from mlcommons_box.value import as_data
from mlcommons_box.version_control import commit_of

_SKEW = 5.0
"""Seconds by which the clocks of two machines may differ."""
_PERIOD = 5.0
"""Seconds for which runs of one box share the question at which commit it is."""


def surroundings(plan: RunPlan, runner: Runner, build: Fingerprint, found: dict[str, Any]) -> None:
    """Put into ``found`` what can be known while a run goes on; raises what keeps it from being known."""
    found["hyperparameters"] = read_hyperparameters(plan.inputs)
    found["git"] = _commit(plan.box.root, build.digest, int(time.monotonic() // _PERIOD))
    if isinstance(runner, Identifiable):  # else it runs elsewhere, or nobody knows where
        found["machine"] = _machine()
        identity = runner.identity(plan)
        found["image"], found["engine"] = dict(identity.image), dict(identity.engine)
        if identity.doubt:
            raise ConfigurationError(identity.doubt)


def doubt_of_image(image: Mapping[str, Any], code: Mapping[str, Any]) -> str | None:
    """Why an image that a job has made earlier is not made from the code of a run."""
    if "build" not in image or image["build"] == mapping_in(code, "build").get("digest"):
        return None
    return "build/ has changed since the image was made; 'mlbox configure' makes it anew"


def evidence_at_end(record: RunRecord, store: RunStore) -> dict[str, Any]:
    """All that is to be known of a run that went on without us, and has ended."""
    made = results(record.parameters, tree_store(store.workspace), store.path(record.id), _began(record))
    outputs = [each for each in record.parameters if each.direction == "output"]
    doubts = [record.unproved]
    for each in record.parameters:
        if each.direction == "input" and not each.elsewhere:
            try:
                digest = content_of_parameter(each, outputs).whole.digest
            except BoxError as error:
                doubts.append(error.message)
                continue
            if digest != mapping_in(record.inputs, each.name).get("digest"):
                doubts.append(f"the input {each.name!r} was changed while the run read it")
    image = {**record.image, **made.get("image", {})}
    doubts.append(doubt_of_image(image, record.code))
    return {**made, "image": image, "unproved": first([*doubts, made["unproved"]])}


def results(parameters: Sequence[BoundParameter], trees: TreeStore, directory: Path, since: int) -> dict[str, Any]:
    """Hashes of what a run has made, its metrics, and what its job has said of where it ran.

    Metrics count when they were written ``since`` then, in nanoseconds of the file system's clock.

    The steps of these are kept in the run's ``directory``, because the next run may write others in their place.
    """
    inputs = [each for each in parameters if each.direction == "input"]
    outputs = [each for each in parameters if each.direction == "output" and not each.elsewhere]
    made: dict[str, Any] = {}
    doubt = None
    for output in outputs:
        try:
            found = content_of_parameter(output, inputs)
            made[output.name] = as_data(found.whole)
            trees.keep(found)
        except BoxError as error:
            doubt = error.message
            continue
        if not found.entries:
            doubt = f"the output {output.name!r} was not made"
    steps = read_steps(outputs, since)
    if steps:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            descriptor = open_regular(directory / STEPS_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            with os.fdopen(descriptor, "wb") as file:
                file.writelines(json.dumps(step).encode("ascii") + b"\n" for step in steps)
        except OSError as error:
            doubt = f"cannot write {str(directory / STEPS_FILE)!r}: {error.strerror}"
    return {**_said_by_job(directory), "outputs": made, "metrics": read_metrics(outputs, since), "unproved": doubt}


def _said_by_job(directory: Path) -> dict[str, Any]:
    """What the script of a job has found out where it ran; nothing for a run that had none."""
    if not (directory / JOB_FILE).exists():
        return {}
    from mlcommons_box.runners import submitted_run
    from mlcommons_box.runners.identity import identity_of
    from mlcommons_box.runners.job import USES

    run = submitted_run.read(directory)
    machine, _, uses = ("" if run is None else run.identity).partition(f"{USES}\n")
    identity = identity_of(uses)
    return {"machine": machine_of(machine), "image": dict(identity.image), "engine": dict(identity.engine)}


def _began(record: RunRecord) -> int:
    """When a run began, in nanoseconds, by the clock of a machine that may be a little ahead of this one."""
    return int((moment(record.started_at).timestamp() - _SKEW) * 1e9)


def first(doubts: Sequence[str | None]) -> str | None:
    """The first doubt that there is; None when there is none."""
    return next((doubt for doubt in doubts if doubt), None)


def definition_digest(task: Task) -> str:
    """The SHA-256 of what a task file says of its task, but for descriptions."""
    said = {
        "name": task.name,
        "inputs": [(each.name, each.type) for each in task.inputs],
        "outputs": [(each.name, each.type) for each in task.outputs],
        "network": task.network,
        "environment": [(each.name, each.value) for each in task.environment],
    }
    return hashlib.sha256(json.dumps(said).encode("ascii")).hexdigest()


def image_reference(plan: RunPlan) -> dict[str, str]:
    """What the platform calls the image."""
    name = getattr(plan.platform.options, "image", None)
    return {"reference": name} if isinstance(name, str) else {}


_machine = lru_cache(maxsize=1)(this_machine)


@lru_cache(maxsize=8)
def _commit(root: Path, build: str, period: int) -> dict[str, Any]:
    """The commit of a box; asked again when ``build/`` has changed, and in another :data:`_PERIOD`."""
    return commit_of(root)
