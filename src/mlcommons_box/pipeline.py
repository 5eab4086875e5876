"""Orders runs by the data that joins them: what one writes, another reads."""

from __future__ import annotations

from collections.abc import Sequence

from mlcommons_box.errors import EX_CONFIGURATION, Problem, ProblemsError
from mlcommons_box.planning import BoundParameter, RunPlan, holds


def in_data_order(plans: Sequence[RunPlan]) -> list[RunPlan]:
    """The plans, every one after those whose outputs it reads; otherwise in the given order.

    Raises :class:`ProblemsError` when runs wait for each other in a circle.
    """
    needs = {plan.run: {other.run for other in plans if other is not plan and feeds(other, plan)} for plan in plans}
    ordered: list[RunPlan] = []
    waiting = list(plans)
    done: set[str] = set()
    while waiting:
        ready = next((plan for plan in waiting if needs[plan.run] <= done), None)
        if ready is None:
            names = ", ".join(repr(plan.run) for plan in waiting)
            problem = Problem(
                code="cycle",
                message=f"these runs wait for each other's outputs: {names}",
                hint="name the runs in the order that you want, one command each",
                exit_status=EX_CONFIGURATION,
            )
            raise ProblemsError([problem])
        waiting.remove(ready)
        ordered.append(ready)
        done.add(ready.run)
    return ordered


def feeds(writer: RunPlan, reader: RunPlan) -> bool:
    """Whether an output of one run is, holds or lies in an input of the other."""
    return any(joined(output, wanted) for output in writer.outputs for wanted in reader.inputs)


def joined(output: BoundParameter, wanted: BoundParameter) -> bool:
    """Whether one path is the other or lies below it."""
    return holds(output.path, wanted.path) or holds(wanted.path, output.path)
