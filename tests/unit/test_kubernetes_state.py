"""What a cluster says of a run, as a state; what is not known is never success."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from mlcommons_box.runners.interface import Outcome
from mlcommons_box.runners.kubernetes_manifest import FIRST, TASK, TRANSFER_CONTAINER
from mlcommons_box.runners.kubernetes_state import State, events_of, refusal_of, state_of

Data = dict[str, Any]
NAME = "mlbox-x-abcde"


def job(*conditions: Data, **metadata: Any) -> Data:
    return {"kind": "Job", "metadata": {"name": "mlbox-x", **metadata}, "status": {"conditions": list(conditions)}}


def pod(task: Data | None = None, phase: str = "Running", **more: Any) -> Data:
    """A pod; ``first`` and ``beside`` are the states of our containers, the rest goes into its status."""
    metadata = {"name": NAME, **more.pop("metadata", {})}
    states = ((TASK, task), (TRANSFER_CONTAINER, more.pop("beside", None)))
    first = more.pop("first", None)
    status = {
        "phase": phase,
        "containerStatuses": [{"name": name, "state": state} for name, state in states if state is not None],
        "initContainerStatuses": [{"name": FIRST, "state": first}] if first is not None else [],
        **more,
    }
    return {"kind": "Pod", "metadata": metadata, "status": status}


def condition(kind: str, **more: str) -> Data:
    return {"type": kind, "status": "True", **more}


def ended(code: int, reason: str = "", **more: Any) -> Data:
    return {"terminated": {"exitCode": code, "reason": reason or ("Error" if code else "Completed"), **more}}


def waiting(reason: str, message: str = "") -> Data:
    return {"waiting": {"reason": reason, "message": message}}


def state(*items: Data) -> State:
    return state_of({"items": list(items)}, 60)


def outcome(*items: Data) -> Outcome:
    found = state(*items).outcome
    assert found is not None
    return found


def test_nothing_yet() -> None:
    assert state(job()).phase == "waiting"
    assert state(job()).reason == "the cluster has not made a pod yet"


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (pod(phase="Pending"), "no node for it yet"),
        (
            pod(phase="Pending", conditions=[{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]),
            "no node for it: 0/3 nodes",
        ),
        (
            pod(waiting("ContainerCreating"), "Pending", conditions=[condition("PodScheduled")]),
            "its containers are being made",
        ),
        (
            pod(waiting("SomethingNew", "a word"), "Pending", conditions=[condition("PodScheduled")]),
            "SomethingNew: a word",
        ),
    ],
)
def test_it_waits(found: Data, reason: str) -> None:
    assert state(job(), found) == State(phase="waiting", pod=NAME, reason=reason)


def test_it_takes_what_is_sent_and_then_runs() -> None:
    assert state(job(), pod(waiting("PodInitializing"), first={"running": {}})).phase == "receiving"
    found = pod({"running": {}}, first=ended(0), beside={"running": {}})
    assert state(job(), found) == State(phase="running", pod=NAME, is_open=True)


def test_success() -> None:
    assert outcome(job(), pod(ended(0), beside={"running": {}})) == Outcome(status="succeeded", exit_status=0)
    assert outcome(job(condition("Complete"))) == Outcome(status="succeeded", exit_status=0)


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [
        (1, "Error", None),
        (137, "OOMKilled", "out of memory"),
        (1, "OOMKilled", "out of memory"),
        (139, "Error", "signal 11 ended it"),
        (255, "Error", None),
    ],
)
def test_failure(code: int, reason: str, words: str | None) -> None:
    expected = Outcome(status="failed", exit_status=code, reason=words)
    assert outcome(job(), pod(ended(code, reason), "Failed")) == expected


def test_a_deadline() -> None:
    late = job(condition("Failed", reason="DeadlineExceeded"))
    expected = Outcome(status="failed", exit_status=124, reason="it ran longer than 60 s")
    assert outcome(late) == expected
    assert outcome(late, pod(ended(137), "Failed")) == expected
    assert outcome(late, pod(ended(0))).status == "succeeded"


@pytest.mark.parametrize(
    "found",
    [
        pod(phase="Failed", reason="Evicted", message="low on memory"),
        pod(ended(137), "Failed", reason="Evicted", message="low on memory"),
        pod(ended(143), "Failed", conditions=[condition("DisruptionTarget", reason="PreemptionByScheduler")]),
        pod(ended(0), "Succeeded", conditions=[condition("DisruptionTarget", reason="EvictionByEvictionAPI")]),
    ],
)
def test_what_the_cluster_takes_away_may_succeed_later(found: Data) -> None:
    ending = outcome(job(condition("Failed")), found)
    assert (ending.status, ending.exit_status) == ("failed", 75)
    assert "the cluster took its pod away (" in str(ending.reason)


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ([], "somebody removed its Job"),
        ([pod(ended(0))], "somebody removed its Job"),
        ([job(deletionTimestamp="2026-01-01T00:00:10Z"), pod(ended(0))], "somebody removed its Job"),
        ([job(), pod(ended(0), metadata={"deletionTimestamp": "2026-01-01T00:00:10Z"})], "removed its pod"),
        ([job(condition("Failed", reason="BackoffLimitExceeded", message="m"))], "its pod is gone: Backoff"),
        ([job(), pod({"running": {}}, "Unknown", reason="NodeLost")], "NodeLost"),
        ([job(), pod(phase="Succeeded")], "nobody says how the task did"),
        ([job(), pod(phase="Failed")], "nobody says why"),
        ([job(), pod(ended(137, "ContainerStatusUnknown"), "Failed")], "ContainerStatusUnknown"),
        ([job(), pod({"terminated": {"reason": "Completed"}}, "Succeeded")], "Completed"),
        (
            [
                job(),
                pod(ended(137), "Failed", conditions=[condition("DisruptionTarget", reason="DeletionByPodGC")]),
            ],
            "its node was lost",
        ),
    ],
)
def test_what_is_not_known_is_lost(items: list[Data], reason: str) -> None:
    ending = outcome(*items)
    assert (ending.status, ending.exit_status) == ("lost", 75)
    assert reason in str(ending.reason)


def test_a_task_that_had_ended_before_it_was_removed() -> None:
    found = pod(
        ended(0, finishedAt="2026-01-01T00:00:00Z"),
        metadata={"deletionTimestamp": "2026-01-01T00:00:20Z", "deletionGracePeriodSeconds": 10},
    )
    assert outcome(job(), found).status == "succeeded"
    assert outcome(job(deletionTimestamp="2026-01-01T00:00:10Z"), found).status == "succeeded"


@pytest.mark.parametrize(
    "found",
    [
        pod(waiting("ErrImagePull", "not found"), "Pending"),
        pod(waiting("ImagePullBackOff", "not found"), "Pending"),
        pod(waiting("InvalidImageName", "not found"), "Pending"),
        pod(waiting("CreateContainerConfigError", "not found"), "Pending"),
        pod(waiting("PodInitializing"), "Pending", first=waiting("ErrImagePull", "not found")),
        pod(ended(128, "StartError", message="not found"), "Failed"),
        pod(waiting("PodInitializing"), "Failed", first=ended(127, message="mlbox: not found")),
    ],
)
def test_it_cannot_start(found: Data) -> None:
    seen = state(job(), found)
    assert seen.phase == "unusable"
    assert "not found" in str(seen.reason)


def test_events() -> None:
    first = {
        "type": "Warning",
        "reason": "FailedCreate",
        "message": "quota",
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }
    later = {"type": "Warning", "reason": "Failed", "message": "pull", "eventTime": "2026-01-02T00:00:00Z"}
    usual = {"type": "Normal", "reason": "Scheduled", "message": "fine"}
    assert events_of({"items": [first, usual, later, first]}) == "pull\nquota"
    assert refusal_of({"items": [later, first]}) == "quota"
    assert events_of({"items": [usual]}) is None
    assert refusal_of({}) is None


_WORDS = some.sampled_from(
    ["Job", "Pod", "Running", "Failed", "Succeeded", "Unknown", "True", "task", "mlbox-first", "", "Complete"]
)
_KEYS = some.sampled_from(
    [
        "kind",
        "status",
        "phase",
        "conditions",
        "type",
        "containerStatuses",
        "state",
        "name",
        "terminated",
        "metadata",
    ]
)
_ANYTHING = some.recursive(
    some.none() | some.booleans() | some.integers(1, 3) | _WORDS,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=20,
)


@given(some.lists(_ANYTHING, max_size=3))
def test_whatever_a_cluster_says_is_no_success_without_one(items: list[Any]) -> None:
    """No exit status 0 and no complete Job is in it."""
    texts = str(items)
    seen = state_of({"items": items})
    if "Complete" not in texts:
        assert seen.outcome is None or seen.outcome.status != "succeeded"
