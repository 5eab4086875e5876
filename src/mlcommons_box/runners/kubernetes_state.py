"""What ``kubectl get job,pods -o json`` says of a run, as a state.  Pure.

What is not known is never success: a task has succeeded when its own container ended with status 0 and nobody else
ended it, or when the cluster says that the Job is complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from mlcommons_box.errors import EX_TEMPORARY, EX_TIMED_OUT
from mlcommons_box.runners.interface import Outcome
from mlcommons_box.runners.kubernetes_manifest import FIRST, TASK, TRANSFER_CONTAINER
from mlcommons_box.value import Value, replace

Data = Mapping[str, Any]
Phase = Literal["waiting", "receiving", "running", "ended", "unusable"]

_CANNOT_START = {
    *("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"),
    *("RegistryUnavailable", "CreateContainerConfigError", "CreateContainerError", "RunContainerError"),
    *("SignatureValidationFailed", "PreCreateHookError", "PreStartHookError", "PostStartHookError"),
}
"""Why a container waits that will not start however long one waits."""
_NOT_STARTED = {"StartError", "ContainerCannotRun"}
"""Why a container ended in which nothing of the image has run."""
_OF_NO_ONE = {"ContainerStatusUnknown"}
"""Why a container ended of which the cluster does not know how it ended."""
_OUT_OF_MEMORY = 137


class State(Value):
    """Where a run is.

    ``waiting``: no container runs; ``receiving``: the first container waits for what is sent; ``running``: the
    task's container runs; ``ended``: there is an outcome; ``unusable``: the task cannot start, and ``reason`` says
    why.  While it waits, ``reason`` says for what.  ``status`` is that of a first container that failed.
    ``is_open`` is whether outputs can be fetched from it.  ``image_id`` is what the task's container is of, and
    ``node`` where its pod is.
    """

    phase: Phase
    pod: str | None = None
    reason: str | None = None
    outcome: Outcome | None = None
    status: int | None = None
    is_open: bool = False
    image_id: str | None = None
    node: str | None = None


def state_of(found: Data, timeout: float | None = None) -> State:
    """The state of the one run that the objects are of."""
    items = _items(found)
    job = next((item for item in items if item.get("kind") == "Job"), None)
    pods = [item for item in items if item.get("kind") == "Pod"]
    pod = max(pods, key=lambda each: str(_get(each, "metadata", "creationTimestamp")), default=None)
    image_id = _get(_container(pod, "containerStatuses", TASK), "imageID")
    state, node = _state_of(job, pod, timeout), _get(pod, "spec", "nodeName")
    return replace(state, image_id=_word(image_id), node=_word(node))


def _state_of(job: Data | None, pod: Data | None, timeout: float | None) -> State:
    name = None if pod is None else str(_get(pod, "metadata", "name"))
    outcome = _outcome(job, pod, timeout)
    is_open = _get(_container(pod, "containerStatuses", TRANSFER_CONTAINER), "state", "running") is not None
    if outcome is not None:
        return State(phase="ended", pod=name, outcome=outcome, is_open=is_open)
    if pod is None:
        return State(phase="waiting", reason="the cluster has not made a pod yet")
    return _before_the_end(pod, name, is_open=is_open)


def events_of(found: Data) -> str | None:
    """What the latest warnings say, the last one first; None when there are none."""
    warnings = [item for item in _items(found) if item.get("type") == "Warning"]
    warnings.sort(key=_time_of_event, reverse=True)
    messages = dict.fromkeys(str(each.get("message", "")).strip() for each in warnings)
    return "\n".join(message for message in messages if message) or None


def refusal_of(found: Data) -> str | None:
    """Why the cluster makes no pod for a Job, by the Job's events."""
    refused = [item for item in _items(found) if item.get("reason") == "FailedCreate"]
    return events_of({"items": refused})


def _before_the_end(pod: Data, name: str | None, *, is_open: bool) -> State:
    first, task = _container(pod, "initContainerStatuses", FIRST), _container(pod, "containerStatuses", TASK)
    ended = _part(first, "terminated")
    if ended and (_get(ended, "exitCode") != 0 or _reason(ended) in _NOT_STARTED):
        status = None if _reason(ended) in _NOT_STARTED else _get(ended, "exitCode")
        return State(phase="unusable", pod=name, reason=_said(ended), status=_number(status))
    for container in _all_containers(pod):
        waiting = _part(container, "waiting")
        if _reason(waiting) in _CANNOT_START:
            return State(phase="unusable", pod=name, reason=_said(waiting))
        over = _part(container, "terminated")
        if _reason(over) in _NOT_STARTED:
            return State(phase="unusable", pod=name, reason=_said(over))
    if _get(task, "state", "running") is not None:
        return State(phase="running", pod=name, is_open=is_open)
    if _get(first, "state", "running") is not None:
        return State(phase="receiving", pod=name)
    return State(phase="waiting", pod=name, reason=_waits_for(pod))


def _waits_for(pod: Data) -> str:
    scheduled = _condition(pod, "PodScheduled")
    if scheduled and scheduled.get("status") == "False":
        why = scheduled.get("message") or scheduled.get("reason") or "the scheduler says nothing"
        return f"no node for it: {why}"
    for container in _all_containers(pod):
        waiting = _part(container, "waiting")
        if waiting and _reason(waiting) not in (None, "PodInitializing", "ContainerCreating"):
            return _said(waiting)
    return "its containers are being made" if scheduled else "no node for it yet"


def _outcome(job: Data | None, pod: Data | None, timeout: float | None) -> Outcome | None:
    """How a run has ended; None when it goes on."""
    if job is None:
        return _lost("somebody removed its Job")
    complete, failed = _condition(job, "Complete"), _condition(job, "Failed") or _condition(job, "FailureTarget")
    if _is_true(failed) and _get(failed, "reason") == "DeadlineExceeded":
        own = _part(_container(pod, "containerStatuses", TASK), "terminated")
        if not own or own.get("exitCode") != 0:
            limit = f"it ran longer than {timeout:g} s" if timeout is not None else "it ran longer than its limit"
            return Outcome(status="failed", exit_status=EX_TIMED_OUT, reason=limit)
    deleted = _get(job, "metadata", "deletionTimestamp") is not None
    if pod is None:
        if deleted:
            return _lost("somebody removed its Job")
        if _is_true(complete):
            return Outcome(status="succeeded", exit_status=0)
        if _is_true(failed):
            return _lost(f"its pod is gone: {_said(failed)}")
        return None
    ended = _part(_container(pod, "containerStatuses", TASK), "terminated")
    phase = _get(pod, "status", "phase")
    if ended and _reason(ended) not in _NOT_STARTED:
        if deleted and not _before_removal(ended, job):
            return _lost("somebody removed its Job")
        return _of_container(ended, pod)
    if phase == "Failed" and not _first_failed(pod) and not ended:
        return _disrupted(pod) or _lost(_pod_says(pod) or "its pod failed, and nobody says why")
    if phase == "Succeeded":
        return _lost("its pod ended, and nobody says how the task did") if not _is_true(complete) else None
    if phase == "Unknown":
        return _lost(_pod_says(pod) or "its node does not answer")
    if _get(pod, "metadata", "deletionTimestamp") is not None and _get(pod, "status", "reason") == "NodeLost":
        return _lost(_pod_says(pod) or "its node does not answer")
    return None


def _of_container(ended: Data, pod: Data) -> Outcome:
    status = _number(ended.get("exitCode"))
    reason = _reason(ended)
    if status is None or reason in _OF_NO_ONE:
        return _disrupted(pod) or _lost(_said(ended))
    if reason == "OOMKilled":
        return Outcome(status="failed", exit_status=status or _OUT_OF_MEMORY, reason="out of memory")
    disrupted = _disrupted(pod)
    if disrupted is not None:
        return disrupted
    if _get(pod, "metadata", "deletionTimestamp") is not None and not _before_removal(ended, pod):
        return _lost("somebody removed its pod")  # a program that is asked to end may do so with status 0
    if status == 0:
        return Outcome(status="succeeded", exit_status=0)
    signal = status - 128
    return Outcome(
        status="failed", exit_status=status, reason=f"signal {signal} ended it" if 0 < signal <= 64 else None
    )


def _before_removal(ended: Data, removed: Data) -> bool:
    """Whether a container had ended before anybody asked for the removal of its pod or Job."""
    try:
        asked = _time(_get(removed, "metadata", "deletionTimestamp"))
        asked -= timedelta(seconds=_number(_get(removed, "metadata", "deletionGracePeriodSeconds")) or 0)
        return _time(ended.get("finishedAt")) < asked
    except (TypeError, ValueError, OverflowError):
        return False


def _time(text: object) -> datetime:
    return datetime.fromisoformat(str(text).replace("Z", "+00:00"))


def _disrupted(pod: Data) -> Outcome | None:
    """The outcome of a task whose pod the cluster took away."""
    condition = _condition(pod, "DisruptionTarget")
    reason = _get(pod, "status", "reason")
    if _is_true(condition):
        reason = _get(condition, "reason")
        message = _get(condition, "message") or _get(pod, "status", "message")
    elif reason in ("Evicted", "Preempting", "Shutdown", "Terminated", "NodeShutdown", "UnexpectedAdmissionError"):
        message = _get(pod, "status", "message")
    else:
        return None
    if reason == "DeletionByTaintManager" or reason == "DeletionByPodGC":
        return _lost(f"its node was lost ({reason}): {message or 'the cluster says no more'}")
    words = f"the cluster took its pod away ({reason})" + (f": {message}" if message else "")
    return Outcome(status="failed", exit_status=EX_TEMPORARY, reason=words)


def _lost(reason: str) -> Outcome:
    return Outcome(status="lost", exit_status=EX_TEMPORARY, reason=reason)


def _first_failed(pod: Data) -> bool:
    ended = _part(_container(pod, "initContainerStatuses", FIRST), "terminated")
    return bool(ended) and _get(ended, "exitCode") != 0 and not _disrupted(pod)


def _pod_says(pod: Data) -> str | None:
    words = [str(_get(pod, "status", key)) for key in ("reason", "message") if _get(pod, "status", key)]
    return ": ".join(words) or None


def _said(part: Any) -> str:
    """The reason and the message of a state or of a condition."""
    words = [str(_get(part, key)).strip() for key in ("reason", "message") if _get(part, key)]
    if not words and _get(part, "exitCode") is not None:
        return f"it ended with status {_get(part, 'exitCode')}"
    return ": ".join(words) or "nobody says why"


def _container(pod: Data | None, kind: str, name: str) -> Data | None:
    return next((each for each in _objects(_get(pod, "status", kind)) if each.get("name") == name), None)


def _part(container: Data | None, kind: str) -> Data | None:
    """One state of a container, where it is in that."""
    found = _get(container, "state", kind)
    return found if isinstance(found, Mapping) else None


def _reason(state: Data | None) -> str | None:
    return _word(_get(state, "reason"))


def _all_containers(pod: Data) -> Iterable[Data]:
    for kind in ("initContainerStatuses", "containerStatuses"):
        yield from _objects(_get(pod, "status", kind))


def _condition(item: Data, kind: str) -> Data | None:
    return next((each for each in _objects(_get(item, "status", "conditions")) if each.get("type") == kind), None)


def _is_true(condition: Data | None) -> bool:
    return condition is not None and condition.get("status") == "True"


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _items(found: Data) -> list[Data]:
    """The objects that were found."""
    return _objects(found.get("items"))


def _objects(value: Any) -> list[Data]:
    """The objects in what should be a list of them."""
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list | tuple) else []


def _time_of_event(event: Data) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")


def _get(data: Any, *keys: str) -> Any:
    """What lies at a path in plain data; None when anything on the way is not there."""
    for key in keys:
        if not isinstance(data, Mapping):
            return None
        data = data.get(key)
    return data
