"""The pod of a run has the only copy of its outputs: it stays until they are here."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from mlcommons_box.contract import Recorder
from mlcommons_box.definition.loader import load_box, load_run_configuration
from mlcommons_box.errors import CannotCreateError, Interrupted
from mlcommons_box.model import KubernetesOptions, Platform
from mlcommons_box.planning import plan_run
from mlcommons_box.process import Answer, Completed
from mlcommons_box.runners import kubernetes_run
from mlcommons_box.runners.container_run import Caller
from mlcommons_box.runners.interface import Outcome
from mlcommons_box.runners.kubernetes_run import JobRun
from mlcommons_box.runners.kubernetes_state import State
from tests.conftest import MakeBox

GOOD = Outcome(status="succeeded", exit_status=0)
FULL = OSError(errno.ENOSPC, "No space left on device")


class Cluster:
    """A cluster in which the task has ended and its pod waits."""

    def __init__(self) -> None:
        self.removals = 0

    def remove(self, *_: object, **__: object) -> None:
        self.removals += 1

    def ask(self, *words: str, **_: Any) -> Answer:
        return Answer(completed=Completed(exit_status=0), stdout=b"a line\n", stderr=b"")


@pytest.fixture
def ending(make_box: MakeBox, monkeypatch: pytest.MonkeyPatch) -> JobRun:
    """A run whose task has just succeeded."""
    root = make_box()
    box = load_box(root)
    platform = Platform(name="cluster", runner="kubernetes", options=KubernetesOptions(image="example/echo:1"))
    plan = plan_run(box, load_run_configuration(root / "run/copy.yaml", box), platform)
    client: Any = Cluster()
    run = JobRun(client, plan, Recorder(), {}, Caller(uid=1000, gid=1000))
    ended = State(phase="ended", pod="the-pod", outcome=GOOD, is_open=True)
    monkeypatch.setattr(run, "_create", lambda: None)
    monkeypatch.setattr(run, "_to_its_end", lambda: run._ended(ended))
    monkeypatch.setattr(kubernetes_run, "say", lambda *_: True)
    return run


def removals(run: JobRun) -> int:
    cluster: Any = run.client
    return int(cluster.removals)


def fails(error: BaseException) -> Any:
    def fetch(*_: object) -> list[str]:
        raise error

    return fetch


def test_what_was_fetched_need_not_stay(ending: JobRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_run, "fetch", lambda *_: [])
    assert ending.run().status == "succeeded"
    assert removals(ending) == 1


@pytest.mark.parametrize("error", [FULL, CannotCreateError("cannot create the output")], ids=["disk", "place"])
def test_what_has_no_place_here_stays_there(
    ending: JobRun, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(kubernetes_run, "fetch", fails(error))
    outcome = ending.run()
    assert outcome.status != "succeeded"
    assert "the pod the-pod keeps them for an hour" in str(outcome.reason)
    assert removals(ending) == 0


def test_outputs_stay_where_not_even_the_log_has_a_place(ending: JobRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending.observer, "output", fails(CannotCreateError("cannot write the log")))
    with pytest.raises(CannotCreateError):
        ending.run()
    assert removals(ending) == 0


def test_an_interrupt_gives_them_up(ending: JobRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_run, "fetch", fails(Interrupted(2)))
    assert ending.run().status == "cancelled"
    assert removals(ending) == 1
