"""What tells two recorded runs apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlcommons_box.differences import Difference, changes_of_trees, changes_of_values
from mlcommons_box.parameter_content import CODE
from mlcommons_box.record import RunRecord, mapping_in
from mlcommons_box.tree_store import TreeStore
from mlcommons_box.up_to_date import bindings_of, flat_image, settings_of


def differences(first: RunRecord, second: RunRecord, trees: TreeStore) -> list[Difference]:
    """Everything that differs between two runs: what they are, what they used, and what came out."""
    return list(_differences(first, second, trees))


def _differences(first: RunRecord, second: RunRecord, trees: TreeStore) -> Iterator[Difference]:
    yield from changes_of_values("run", _about(first), _about(second))
    yield from changes_of_trees(
        "code", CODE, mapping_in(first.code, "build"), mapping_in(second.code, "build"), trees
    )
    yield from changes_of_values("code", _code(first), _code(second))
    yield from changes_of_values("image", flat_image(first.image), flat_image(second.image))
    yield from changes_of_values(
        "environment", mapping_in(first.plan, "environment"), mapping_in(second.plan, "environment")
    )
    yield from changes_of_values("binding", _bindings(first), _bindings(second))
    yield from changes_of_values("platform", settings_of(first.plan), settings_of(second.plan))
    for name in dict.fromkeys((*first.hyperparameters, *second.hyperparameters)):
        before, after = mapping_in(first.hyperparameters, name), mapping_in(second.hyperparameters, name)
        yield from changes_of_values("hyperparameter", before, after)
    for name in dict.fromkeys((*first.inputs, *second.inputs)):
        yield from changes_of_trees(
            "input", name, mapping_in(first.inputs, name), mapping_in(second.inputs, name), trees
        )
    for name in dict.fromkeys((*first.outputs, *second.outputs)):
        before, after = mapping_in(first.outputs, name), mapping_in(second.outputs, name)
        yield from changes_of_trees("output", name, before, after, trees)
    yield from changes_of_values("metric", first.metrics, second.metrics)


def _about(record: RunRecord) -> dict[str, Any]:
    return {
        "run": record.run,
        "task": record.task,
        "box": f"{record.box} {record.box_version}",
        "platform": record.platform,
        "runner": record.runner,
        "engine": " ".join(str(record.engine[key]) for key in ("name", "version") if key in record.engine),
        "host": record.machine.get("host"),
        "processor": record.machine.get("processor"),
        "status": record.status,
        "exit status": record.exit_status,
        "mlbox": record.tool_version,
    }


def _code(record: RunRecord) -> dict[str, Any]:
    git = mapping_in(record.code, "git")
    found = {
        "tasks/": record.code.get("definition"),
        "commit": git.get("commit"),
        "changed since the commit": git.get("dirty"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _bindings(record: RunRecord) -> dict[str, str]:
    return bindings_of(record.parameters, Path(str(record.plan.get("workspace", ""))))
