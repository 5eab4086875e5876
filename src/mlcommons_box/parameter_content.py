"""What the parameters of a run hold, and the code of its box."""

from __future__ import annotations

import os
from collections.abc import Sequence

from mlcommons_box.cache import cache_directory
from mlcommons_box.fingerprint import Content, Memory, content
from mlcommons_box.planning import BoundParameter, RunPlan, holds

CODE = "build/"
"""What of a box is not a parameter, and decides what a task does."""
_OURS = ".mlbox"
"""In a workspace; never a part of what a run reads or makes."""


def code_and_inputs(plan: RunPlan) -> list[BoundParameter]:
    """What of this machine's files decides what a run makes."""
    code = BoundParameter(name=CODE, type="directory", direction="input", path=plan.box.build)
    return [code, *(each for each in plan.inputs if not each.elsewhere)]


def content_of_parameter(parameter: BoundParameter, others: Sequence[BoundParameter]) -> Content:
    """What a parameter holds now, but for what in it belongs to parameters of the other direction."""
    return content(parameter.path, memory_of_this_user(), without(parameter, others))


def without(parameter: BoundParameter, others: Sequence[BoundParameter]) -> frozenset[str]:
    """What lies in a directory but is no part of the parameter: those of the other direction, and our own files."""
    inside = (each.path for each in others if each.path != parameter.path and holds(parameter.path, each.path))
    return frozenset({_OURS, *(str(path.relative_to(parameter.path)) for path in inside)})


def memory_of_this_user() -> Memory:
    """The digests that were found before."""
    return Memory(cache_directory(os.environ))
