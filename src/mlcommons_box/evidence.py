"""What a run used and made, so that its record can prove it: hashes, the commit, the image, the machine.

Small files are hashed before the run starts.  All else is found out while it runs, in a thread beside it, so that
nobody waits.  What was changed while the run read it is no evidence, and the record says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from mlcommons_box.cache import cache_directory
from mlcommons_box.errors import BoxError
from mlcommons_box.fingerprint import FEW, MISSING, Content, Fingerprint, Memory, content, look
from mlcommons_box.hyperparameters import read_hyperparameters
from mlcommons_box.journal import open_regular
from mlcommons_box.machine import machine_of, this_machine
from mlcommons_box.metrics import STEPS_FILE, read_metrics, read_steps
from mlcommons_box.model import Task
from mlcommons_box.planning import BoundParameter, RunPlan, holds
from mlcommons_box.record import RunRecord, mapping_in
from mlcommons_box.run_store import JOB_FILE, RunStore
from mlcommons_box.runners.interface import Identifiable, Runner
from mlcommons_box.tree_store import TreeStore, tree_store
from mlcommons_box.value import as_data
from mlcommons_box.version_control import commit_of

CODE = "build/"
"""What of a box is not a parameter, and decides what a task does."""
_OURS = ".mlbox"
"""In a workspace; never a part of what a run reads or makes."""


class Evidence:
    """Gathers what there is to know of one run."""

    def __init__(self, plan: RunPlan, runner: Runner, store: RunStore) -> None:
        self.plan = plan
        self.runner = runner
        self.store = store
        self.trees = tree_store(plan.workspace)
        memory = memory_of_this_user()
        self.watched = {each.name: Watched(each, plan.outputs, memory) for each in code_and_inputs(plan)}
        self.found: dict[str, Any] = {}
        self.doubt: str | None = None
        self._thread: threading.Thread | None = None

    def before(self) -> None:
        """Hash what is small."""
        for each in self.watched.values():
            each.before()

    def begin(self) -> None:
        """The run has started: find out the rest beside it."""
        started_at = _clock(self.store)
        self._thread = threading.Thread(target=self._look, args=(started_at,), daemon=True)
        self._thread.start()

    def _look(self, started_at: int) -> None:
        for each in self.watched.values():
            each.during(started_at)
        try:
            self.found["hyperparameters"] = read_hyperparameters(self.plan.inputs)
            self.found["git"] = _commit(self.plan.box.root, self.watched[CODE].fingerprint.digest)
            if isinstance(self.runner, Identifiable):  # else it runs elsewhere, or nobody knows where
                self.found["machine"] = _machine()
                identity = self.runner.identity(self.plan)
                self.found["image"], self.found["engine"] = dict(identity.image), dict(identity.engine)
        except (BoxError, OSError, ValueError) as error:
            self.doubt = getattr(error, "message", str(error))

    def at_start(self) -> dict[str, Any]:
        """What is known of a run that has started."""
        if self._thread is not None:
            self._thread.join()
        digests = {}
        for name, each in self.watched.items():
            if each.content is not None:
                self.trees.keep(each.content)
                digests[name] = as_data(each.fingerprint)
        doubts = [self.doubt, *(each.doubt for each in self.watched.values())]
        doubts += [f"{each.name!r} is not on this machine" for each in self.plan.parameters if each.elsewhere]
        code = {"definition": definition_digest(self.plan.task), "build": digests.pop(CODE, {"kind": "missing"})}
        if self.found.get("git"):
            code["git"] = self.found["git"]
        return {
            "code": code,
            "inputs": digests,
            "image": {**_reference(self.plan), **self.found.get("image", {})},
            "engine": self.found.get("engine", {}),
            "machine": self.found.get("machine", {}),
            "hyperparameters": self.found.get("hyperparameters", {}),
            "unproved": _first(doubts),
        }

    def at_end(self) -> dict[str, Any]:
        """All that is known of a run that has ended."""
        known = self.at_start()
        for each in self.watched.values():
            each.after()
        made = _made(self.plan.parameters, self.trees, self.store.path(self.plan.id))
        doubts = [known["unproved"], *(each.doubt for each in self.watched.values()), made["unproved"]]
        return {**known, **made, "image": {**known["image"], **made.get("image", {})}, "unproved": _first(doubts)}


class Watched:
    """A path that a run reads, and whether it has stayed the same meanwhile."""

    def __init__(self, parameter: BoundParameter, others: Sequence[BoundParameter], memory: Memory) -> None:
        self.path = parameter.path
        self.name = CODE if parameter.name == CODE else f"the input {parameter.name!r}"
        self.without = without(parameter, others)
        self.memory = memory
        self.content: Content | None = None
        self.fingerprint: Fingerprint = MISSING
        self.doubt: str | None = None

    def before(self) -> None:
        """Hash it if it is small; to look at more takes too long already."""
        try:
            if os.path.isdir(self.path) and len(os.listdir(self.path)) > FEW:
                return
            found = content(self.path, self.memory, self.without)
            if found.is_small:
                self._hash(found)
        except (BoxError, OSError) as error:
            self.doubt = getattr(error, "message", str(error))

    def during(self, started_at: int) -> None:
        """Hash it, if that is not done; what has changed since the start is not what the run has read."""
        if self.content is not None or self.doubt:
            return
        try:
            found = content(self.path, self.memory, self.without)
            if any(max(state[:2]) >= started_at for _, _, state in found.entries):
                self.doubt = f"{self.name} was changed as the run started"
            self._hash(found)
        except BoxError as error:
            self.doubt = error.message

    def after(self) -> None:
        """See whether it is still the same."""
        try:
            if self.content is not None and self.content.entries != look(self.path, self.without):
                self.doubt = f"{self.name} was changed while the run read it"
        except BoxError as error:
            self.doubt = error.message

    def _hash(self, found: Content) -> None:
        self.fingerprint = found.whole
        self.content = found


def code_and_inputs(plan: RunPlan) -> list[BoundParameter]:
    """What of this machine's files decides what a run makes."""
    code = BoundParameter(name=CODE, type="directory", direction="input", path=plan.box.build)
    return [code, *(each for each in plan.inputs if not each.elsewhere)]


def evidence_at_end(record: RunRecord, store: RunStore) -> dict[str, Any]:
    """All that is to be known of a run that went on without us, and has ended."""
    made = _made(record.parameters, tree_store(store.workspace), store.path(record.id))
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
    return {**made, "image": image, "unproved": _first([*doubts, made["unproved"]])}


def _made(parameters: Sequence[BoundParameter], trees: TreeStore, directory: Path) -> dict[str, Any]:
    """Hashes of what a run has made, its metrics, and what its job has said of where it ran.

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
    steps = read_steps(outputs)
    if steps:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            descriptor = open_regular(directory / STEPS_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            with os.fdopen(descriptor, "wb") as file:
                file.writelines(json.dumps(step).encode("ascii") + b"\n" for step in steps)
        except OSError as error:
            doubt = f"cannot write {str(directory / STEPS_FILE)!r}: {error.strerror}"
    return {**_said_by_job(directory), "outputs": made, "metrics": read_metrics(outputs), "unproved": doubt}


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


def _first(doubts: Sequence[str | None]) -> str | None:
    return next((doubt for doubt in doubts if doubt), None)


def content_of_parameter(parameter: BoundParameter, others: Sequence[BoundParameter]) -> Content:
    """What a parameter holds now, but for what in it belongs to parameters of the other direction."""
    return content(parameter.path, memory_of_this_user(), without(parameter, others))


def without(parameter: BoundParameter, others: Sequence[BoundParameter]) -> frozenset[str]:
    """What lies in a directory but is no part of the parameter: those of the other direction, and our own files."""
    inside = (each.path for each in others if each.path != parameter.path and holds(parameter.path, each.path))
    return frozenset({_OURS, *(str(path.relative_to(parameter.path)) for path in inside)})


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


def memory_of_this_user() -> Memory:
    """The digests that were found before."""
    return Memory(cache_directory(os.environ))


def _clock(store: RunStore) -> int:
    """The time of the workspace's file system when the record was written, in nanoseconds."""
    try:
        return store.journal.file.stat().st_mtime_ns
    except OSError:
        return 0


def _reference(plan: RunPlan) -> dict[str, str]:
    """What the platform calls the image."""
    name = getattr(plan.platform.options, "image", None)
    return {"reference": name} if isinstance(name, str) else {}


_machine = lru_cache(maxsize=1)(this_machine)


@lru_cache(maxsize=8)
def _commit(root: Path, build: str) -> dict[str, Any]:
    """The commit of a box; asked again when ``build/`` has changed."""
    return commit_of(root)
