"""Whether what a run read and made is still what its record says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from mlcommons_box.differences import Difference, Kind, changes_of_content
from mlcommons_box.errors import BoxError
from mlcommons_box.parameter_content import CODE, content_of_parameter
from mlcommons_box.planning import BoundParameter
from mlcommons_box.record import RunRecord
from mlcommons_box.tree_store import TreeStore
from mlcommons_box.value import Value

State = Literal["same", "changed", "unknown"]


class Checked(Value):
    """One thing that the record has a hash of: what became of it, and why it is not known if so."""

    kind: Kind
    name: str
    state: State
    changes: tuple[Difference, ...] = ()
    reason: str | None = None


def verify(record: RunRecord, trees: TreeStore) -> list[Checked]:
    """Hash everything again that the record of a run has a hash of: outputs, inputs, and the code of the box."""
    parameters = record.parameters
    inputs = [each for each in parameters if each.direction == "input"]
    outputs = [each for each in parameters if each.direction == "output"]
    code = BoundParameter(
        name=CODE, type="directory", direction="input", path=Path(str(record.plan.get("box", "")), "build")
    )
    return [
        *(_checked("output", each, record.outputs.get(each.name), inputs, trees) for each in outputs),
        *(_checked("input", each, record.inputs.get(each.name), outputs, trees) for each in inputs),
        _checked("code", code, record.code.get("build"), (), trees),
    ]


def _checked(
    kind: Kind,
    parameter: BoundParameter,
    recorded: object,
    others: list[BoundParameter] | tuple[()],
    trees: TreeStore,
) -> Checked:
    if not isinstance(recorded, dict) or not isinstance(recorded.get("digest"), str):
        where = "it is not on this machine" if parameter.elsewhere else "the record has no hash of it"
        return Checked(kind=kind, name=parameter.name, state="unknown", reason=where)
    try:
        content = content_of_parameter(parameter, others)
        if content.whole.digest == recorded["digest"]:
            return Checked(kind=kind, name=parameter.name, state="same")
        changes = tuple(changes_of_content(kind, parameter.name, recorded, content, trees))
    except BoxError as error:
        return Checked(kind=kind, name=parameter.name, state="unknown", reason=error.message)
    return Checked(kind=kind, name=parameter.name, state="changed", changes=changes)


def changes(checked: list[Checked]) -> Iterator[Difference]:
    """Everything that has changed."""
    for each in checked:
        yield from each.changes
