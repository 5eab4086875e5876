"""Whether a run would only make again what is there, and if not, what has changed.

Content decides, never a time: the definition of the task, ``build/``, the bindings, the environment, every input,
the image, and the outputs themselves are compared with the record of the last run that succeeded.  What cannot be
known counts as changed, with the reason: a cache that may lie is worse than none.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlcommons_box.differences import Difference, changes_of_content, changes_of_values
from mlcommons_box.errors import BoxError, Interrupted
from mlcommons_box.findings import definition_digest, image_reference
from mlcommons_box.fingerprint import Content
from mlcommons_box.hyperparameters import read_hyperparameters
from mlcommons_box.model import LocalOptions
from mlcommons_box.parameter_content import CODE, code_and_inputs, content_of_parameter
from mlcommons_box.planning import BoundParameter, RunPlan, holds
from mlcommons_box.record import RunRecord, mapping_in, plan_data
from mlcommons_box.run_store import RunStore
from mlcommons_box.runners.interface import Identifiable, Runner
from mlcommons_box.tree_store import tree_store
from mlcommons_box.value import Value

RECIPES = ("Dockerfile", "Singularity.recipe")
_PULLS = ("kubernetes",)
"""Runners that make no image from ``build/``, whatever lies there."""


class Verdict(Value):
    """Whether a run is up to date, against which record, and everything that speaks against it."""

    record: RunRecord | None
    changes: tuple[Difference, ...]

    @property
    def is_up_to_date(self) -> bool:
        """Whether nothing speaks against it."""
        return self.record is not None and not self.changes

    @property
    def reason(self) -> str | None:
        """Why the run need not happen; None when it has to."""
        return f"as the run {self.record.id} left it" if self.record is not None and not self.changes else None


class LastRuns:
    """The last run that succeeded, and the last one of all, of every run configuration in a workspace."""

    def __init__(self, store: RunStore) -> None:
        self.store = store
        self.succeeded: dict[str, RunRecord] = {}
        self.last: dict[str, RunRecord] = {}
        records, _ = store.read_all()
        for record in records:
            self.add(record)

    def add(self, record: RunRecord) -> None:
        """Take in a run that has ended since."""
        if record.group:  # a trial of a sweep and a replay have outputs of their own
            return
        self.last[record.run] = record
        if record.status == "succeeded":
            self.succeeded[record.run] = record


class Checker:
    """Checks plans of one platform against what was run before."""

    def __init__(self, runner: Runner, last_runs: LastRuns) -> None:
        self.runner = runner
        self.last_runs = last_runs
        self.trees = tree_store(last_runs.store.workspace)
        self._code: dict[Path, Content] = {}
        self._image: Mapping[str, Any] | str | None = None
        self._asking = threading.Lock()

    def check(self, plan: RunPlan) -> Verdict:
        """Compare a plan with the last run of its kind that succeeded; starts no task."""
        record = self.last_runs.succeeded.get(plan.run)
        if record is None:
            return Verdict(
                record=None, changes=(Difference(kind="record", name=plan.run, says="it has never succeeded here"),)
            )
        last = self.last_runs.last[plan.run]
        if last.status == "running":
            return Verdict(
                record=record,
                changes=(
                    Difference(kind="record", name=plan.run, says=f"the run {last.id} still writes its outputs"),
                ),
            )
        if record.unproved:
            return Verdict(
                record=record,
                changes=(Difference(kind="record", name=plan.run, says=f"nobody can know: {record.unproved}"),),
            )
        try:
            return Verdict(record=record, changes=tuple(self._changes(plan, record)))
        except Interrupted:
            raise
        except (BoxError, OSError) as error:
            says = f"nobody can know: {getattr(error, 'message', error)}"
            return Verdict(record=record, changes=(Difference(kind="record", name=plan.run, says=says),))

    def _changes(self, plan: RunPlan, record: RunRecord) -> Iterable[Difference]:
        if record.code.get("definition") != definition_digest(plan.task) or record.task != plan.task.name:
            yield Difference(
                kind="code",
                name=f"tasks/{plan.task.file.name}",
                says="its parameters, network or environment changed",
            )
        yield from changes_of_values(
            "binding",
            bindings_of(record.parameters, Path(str(record.plan.get("workspace", "")))),
            bindings_of(plan.parameters, plan.workspace),
        )
        now = plan_data(plan)
        yield from changes_of_values("environment", mapping_in(record.plan, "environment"), now["environment"])
        if _is_same_platform(record, plan):
            yield from changes_of_values("platform", settings_of(record.plan), settings_of(now))
        yield from self._changes_of_contents(plan, record)
        yield from self._changes_of_image(plan, record)

    def _changes_of_contents(self, plan: RunPlan, record: RunRecord) -> Iterable[Difference]:
        for parameter in code_and_inputs(plan):
            is_code = parameter.name == CODE
            recorded = mapping_in(record.code, "build") if is_code else mapping_in(record.inputs, parameter.name)
            content = self._content_of_code(parameter) if is_code else content_of_parameter(parameter, plan.outputs)
            if content.whole.digest == recorded.get("digest"):
                continue
            values = {} if is_code else mapping_in(record.hyperparameters, parameter.name)
            now = read_hyperparameters([parameter]).get(parameter.name, {}) if values else {}
            by_value = list(changes_of_values("hyperparameter", values, now)) if values and now else []
            yield from by_value or changes_of_content(
                "code" if is_code else "input", parameter.name, recorded, content, self.trees
            )
        for parameter in plan.outputs:
            recorded = mapping_in(record.outputs, parameter.name)
            content = content_of_parameter(parameter, plan.inputs)
            if not content.entries or content.whole.digest != recorded.get("digest"):
                yield from changes_of_content("output", parameter.name, recorded, content, self.trees)

    def _content_of_code(self, parameter: BoundParameter) -> Content:
        if parameter.path not in self._code:
            self._code[parameter.path] = content_of_parameter(parameter, ())
        return self._code[parameter.path]

    def _changes_of_image(self, plan: RunPlan, record: RunRecord) -> Iterable[Difference]:
        """An image that is made from ``build/`` is the same on every runner, if it was made from the same."""
        before, now = dict(record.image), self._image_now(plan)
        if _is_same_platform(record, plan) and isinstance(now, dict) and identity(before) and identity(now):
            if identity(before) != identity(now):
                yield from changes_of_values(
                    "image", flat_image(before), flat_image({**image_reference(plan), **now})
                )
        elif record.runner in _PULLS or not (is_made_from_build(plan) or "packages" in before):
            reason = now if isinstance(now, str) else "the image that was used then is not known"
            yield Difference(
                kind="image",
                name=str(before.get("reference", plan.platform.name)),
                says=f"nobody can know: {reason}",
            )

    def _image_now(self, plan: RunPlan) -> Mapping[str, Any] | str:
        with self._asking:  # several runs may be checked at once
            if self._image is None:
                self._image = self._told(plan)
            return self._image

    def _told(self, plan: RunPlan) -> Mapping[str, Any] | str:
        if not isinstance(self.runner, Identifiable):
            return "the runner does not tell which image it uses"
        try:
            return dict(self.runner.identity(plan).image)
        except Interrupted:
            raise
        except (BoxError, OSError) as error:
            return getattr(error, "message", str(error))


def identity(image: Mapping[str, Any]) -> object:
    """What tells an image from others: its id, or the Python and the packages of an environment."""
    return (
        image.get("id")
        or (image.get("packages") is not None and (image.get("python"), image.get("packages")))
        or None
    )


def flat_image(image: Mapping[str, Any]) -> dict[str, Any]:
    """An image by what can be compared: its reference, its id, and the versions of packages by their names."""
    packages = image.get("packages")
    named = {f"package {name}": version for name, version in packages.items()} if isinstance(packages, dict) else {}
    return {**{key: image[key] for key in ("reference", "id", "python") if key in image}, **named}


def settings_of(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What a platform says, in the data of a plan, that no image and no hash would show."""
    entrypoint = mapping_in(plan, "options").get("entrypoint")
    settings = {"entrypoint": entrypoint, "inner platform": plan.get("inner")}
    settings |= {"arguments": plan.get("arguments"), "network": plan.get("network")}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items() if value}


def _is_same_platform(record: RunRecord, plan: RunPlan) -> bool:
    return record.runner == plan.platform.runner and record.platform == plan.platform.name


def is_made_from_build(plan: RunPlan) -> bool:
    """Whether ``build/`` decides what the task runs in, on whatever runner."""
    if isinstance(plan.platform.options, LocalOptions):  # which requirements.txt decides
        return True
    if plan.platform.runner in _PULLS:
        return False
    return any((plan.box.build / recipe).is_file() for recipe in RECIPES)


def bindings_of(parameters: Sequence[BoundParameter], workspace: Path) -> dict[str, str]:
    """Where parameters are bound to, relative to the workspace: it may have been moved."""
    return {
        each.name: str(each.path.relative_to(workspace))
        if workspace.parts and holds(workspace, each.path)
        else str(each.path)
        for each in parameters
    }
