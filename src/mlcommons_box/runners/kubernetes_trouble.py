"""Why a run cannot start in a cluster, by its state and its events; and what becomes of one without its outputs."""

from __future__ import annotations

from typing import NoReturn

from mlcommons_box.errors import (
    EX_CANNOT_CREATE,
    EX_MISSING_INPUT,
    EX_TEMPORARY,
    BoxError,
    CannotCreateError,
    MissingInputError,
    Problem,
)
from mlcommons_box.runners.failures import tail
from mlcommons_box.runners.interface import Outcome
from mlcommons_box.runners.kubernetes_client import Client, fail_with
from mlcommons_box.runners.kubernetes_failures import CLIENT_FAILURES, POD_FAILURES
from mlcommons_box.runners.kubernetes_state import State, events_of, refusal_of


def explain(client: Client, state: State, job: str, image: str) -> NoReturn:
    """Raise why the task cannot start."""
    reason = state.reason or ""
    own = [line.partition("mlbox: ")[2] for line in reason.splitlines() if "mlbox: " in line]
    if state.status == EX_MISSING_INPUT and own:
        raise MissingInputError(
            [Problem(code="missing-input", message=line, exit_status=EX_MISSING_INPUT) for line in own]
        )
    if state.status == EX_CANNOT_CREATE:
        raise CannotCreateError(
            f"the directories of the outputs cannot be made in the cluster:\n{tail(reason)}",
            hint="look at who may write to the volume claim; 'user' in the platform file is who the task is",
        )
    said = "\n".join(dict.fromkeys([*_events(client, state.pod or job).splitlines(), *reason.splitlines()]))
    fail_with(f"the cluster cannot start a pod of the image {image!r}", said, POD_FAILURES)


def raise_refusal(client: Client, job: str) -> None:
    """Raise why the cluster makes no pod for a Job; nothing when it does not refuse."""
    try:
        found = client.events(job)
    except BoxError:
        return
    refusal = refusal_of(found) if found else None
    if refusal:
        fail_with("the cluster does not make a pod for the job", refusal, CLIENT_FAILURES)


def without_outputs(outcome: Outcome, why: str) -> Outcome:
    """The outcome of a run whose outputs stayed in the cluster: without them it is no success."""
    reason = f"its outputs could not be fetched: {why}"
    if outcome.status == "succeeded":
        return Outcome(status="lost", exit_status=EX_TEMPORARY, reason=f"the task succeeded, but {reason}")
    words = f"{outcome.reason}; {reason}" if outcome.reason else reason
    return Outcome(status=outcome.status, exit_status=outcome.exit_status, reason=words)


def _events(client: Client, name: str) -> str:
    try:
        found = client.events(name)
    except BoxError:  # such as for one who may not look at events
        return ""
    return (events_of(found) if found else None) or ""
