"""Sweeps: what was done is not done again, what fails stops nothing, and no GPU is shared unasked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlcommons_box.command import Command
from mlcommons_box.crew import Ended
from mlcommons_box.definition.built_in import built_in_platform
from mlcommons_box.errors import ConfigurationError, PreparationError, UsageError
from mlcommons_box.model import DockerOptions, LocalOptions, Platform, Resources, SingularityOptions, SlurmOptions
from mlcommons_box.planning import RunPlan, SetupPlan
from mlcommons_box.run_store import RunStore
from mlcommons_box.runners.devices import DevicePool
from mlcommons_box.runners.interface import NotPrepared, Observer, Outcome, Unheard
from mlcommons_box.sweep import value_sets
from mlcommons_box.sweeping import (
    Finished,
    Leases,
    alone,
    devices_per_trial,
    goes_to_a_queue,
    numbers_of,
    past_trials,
    run_here,
)
from mlcommons_box.trials import Trial, TrialPlanner, numbered
from mlcommons_box.value import replace
from tests.conftest import MakeBox
from tests.unit.test_trials import FILES, RUN, planner_of

GOOD = Outcome(status="succeeded", exit_status=0)
BAD = Outcome(status="failed", exit_status=3)


class FakeRunner:
    """Writes what a task would write, in place of a task."""

    def __init__(self, does: Callable[[RunPlan], Outcome] = lambda plan: GOOD) -> None:
        self.does = does
        self.ran: list[int] = []

    def is_available(self, plan: SetupPlan) -> bool:
        return True

    def check(self, plan: SetupPlan) -> list[Any]:
        return []

    def notes(self, plan: SetupPlan) -> list[str]:
        return []

    def commands(self, plan: SetupPlan) -> list[Command]:
        return []

    def prepare(self, plan: SetupPlan, observer: Observer) -> None:
        raise AssertionError("nothing is to be prepared")

    def built(self, plan: SetupPlan) -> list[Any]:
        return []

    def run(self, plan: RunPlan, observer: Observer) -> Outcome:
        self.ran.append(plan.group["trial"])
        observer.started("1")
        outcome = self.does(plan)
        places = {each.name: each.path for each in plan.outputs}
        target, logs = places["target"], places["logs"]
        target.write_text("made")
        if outcome.status == "succeeded":
            loss = plan.group["values"]["rate"] + plan.group["values"]["model.width"]
            (logs / "metrics.json").write_text(json.dumps({"loss": loss, "constant": 1}))
        return outcome


@pytest.fixture
def planner(make_box: MakeBox) -> TrialPlanner:
    return planner_of(make_box({**FILES, "run/copy.yaml": RUN}))


@pytest.fixture
def store(planner: TrialPlanner) -> RunStore:
    return RunStore(planner.template.workspace)


def planned(planner: TrialPlanner, store: RunStore) -> list[Trial]:
    known = numbers_of(past_trials(store, planner.sweep.name))
    return [
        planner.trial(number, values)
        for number, values in numbered(value_sets(planner.sweep, planner.space), known)
    ]


def run(trials: list[Trial], runner: FakeRunner, jobs: int = 1, leases: Leases | None = None) -> list[Ended]:
    none = Leases(DevicePool((), Path("/nowhere")), 0, lambda plan: None)
    return run_here(
        trials,
        runner,
        jobs=jobs,
        leases=leases or none,
        observer_for=lambda plan: Unheard(),
        on_event=lambda event: None,
    )


def obstacles(planner: TrialPlanner, store: RunStore) -> dict[int, str | None]:
    past, finished = past_trials(store, planner.sweep.name), Finished()
    return {
        trial.number: finished.obstacle(past[trial.number], trial)
        for trial in planned(planner, store)
        if trial.number in past
    }


def fails_on(*numbers: int) -> Callable[[RunPlan], Outcome]:
    return lambda plan: BAD if plan.group["trial"] in numbers else GOOD


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_trial_that_fails_stops_no_other_and_is_the_only_one_to_run_again(
    jobs: int, planner: TrialPlanner, store: RunStore
) -> None:
    runner = FakeRunner(fails_on(2))
    ends = run(planned(planner, store), runner, jobs)
    assert sorted(runner.ran) == [1, 2, 3, 4]
    assert sorted(each.state for each in ends) == ["failed", *["succeeded"] * 3]
    assert obstacles(planner, store) == {1: None, 2: "it failed", 3: None, 4: None}
    past = past_trials(store, "a")
    assert {number: each.record.metrics.get("loss") for number, each in past.items()} == {
        1: 4.1,
        2: None,
        3: 4.2,
        4: 8.2,
    }
    assert dict(past[3].values) == {"rate": 0.2, "model.width": 4}


def test_a_preparation_that_fails_is_not_tried_again_for_every_trial(
    planner: TrialPlanner, store: RunStore
) -> None:
    class Unprepared(FakeRunner):
        prepared = 0

        def run(self, plan: RunPlan, observer: Observer) -> Outcome:
            raise NotPrepared

        def prepare(self, plan: SetupPlan, observer: Observer) -> None:
            self.prepared += 1
            raise PreparationError("no registry answers")

    runner = Unprepared()
    ends = run(planned(planner, store), runner)
    assert [each.state for each in ends] == ["failed"] * 4
    assert runner.prepared == 1
    assert {id(each.error) for each in ends} == {id(ends[0].error)}


def test_the_records_say_what_they_are_a_part_of(planner: TrialPlanner, store: RunStore) -> None:
    run(planned(planner, store), FakeRunner())
    records, _ = store.read_all()
    assert [record.group["trial"] for record in records] == [1, 2, 3, 4]
    assert {record.group["id"] for record in records} == {planner.id}
    assert [record.hyperparameters["source"]["rate"] for record in records] == [0.1, 0.1, 0.2, 0.2]


def change_code(root: Path) -> None:
    (root / "build/echo.py").write_text("changed")


def change_the_file(root: Path) -> None:
    file = root / "workspace/in.yaml"
    file.write_text(file.read_text() + "more: 1\n")


def change_the_task(root: Path) -> None:
    file = root / "tasks/copy.yaml"
    text = file.read_text().replace("schema_version: 1.0.0", "schema_version: 1.1.0")
    file.write_text(text + "network: none\n")


def remove_an_output(root: Path) -> None:
    for file in root.glob("workspace/sweeps/a/*/target/copy.txt"):
        file.unlink()


def rebind(root: Path) -> None:
    (root / "workspace/in.yaml").rename(root / "workspace/other.yaml")
    (root / "run/copy.yaml").write_text(RUN.replace("in.yaml", "other.yaml"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (change_code, "build/ has changed"),
        (change_the_file, "the input 'source' has changed"),
        (change_the_task, "tasks/copy.yaml has changed"),
        (remove_an_output, "its output 'target' is gone"),
        (rebind, "a parameter is bound to another path"),
    ],
)
def test_what_was_made_of_something_else_is_made_again(
    change: Callable[[Path], None], reason: str, planner: TrialPlanner, store: RunStore
) -> None:
    run(planned(planner, store), FakeRunner())
    change(planner.box.root)
    assert set(obstacles(planner_of(planner.box.root), store).values()) == {reason}


def test_values_that_are_added_get_new_numbers_and_the_others_stand(planner: TrialPlanner, store: RunStore) -> None:
    run(planned(planner, store), FakeRunner())
    file = planner.sweep.file
    file.write_text(file.read_text().replace("[0.1, 0.2]", "[0.15, 0.1, 0.2]"))
    more = planner_of(planner.box.root)
    assert obstacles(more, store) == dict.fromkeys(range(1, 5))
    assert [dict(trial.values)["rate"] for trial in planned(more, store)] == [0.1, 0.1, 0.2, 0.2, 0.15, 0.15]


def test_the_latest_run_of_a_trial_is_what_counts(planner: TrialPlanner, store: RunStore) -> None:
    run(planned(planner, store)[:1], FakeRunner())
    run(planned(planner, store)[:1], FakeRunner(fails_on(1)))
    assert obstacles(planner, store) == {1: "it failed"}


def test_metrics_of_an_earlier_run_are_not_taken_for_those_of_a_later_one(
    planner: TrialPlanner, store: RunStore
) -> None:
    run(planned(planner, store)[:1], FakeRunner())
    run(planned(planner, store)[:1], FakeRunner(fails_on(1)))
    assert not past_trials(store, "a")[1].record.metrics


def test_other_sweeps_and_what_is_no_trial_do_not_count(planner: TrialPlanner, store: RunStore) -> None:
    strange: list[dict[str, Any]] = [
        {"kind": "sweep", "name": "b", "trial": 1, "values": {}},
        {"kind": "replay", "name": "a", "trial": 1, "values": {}},
        {"kind": "sweep", "name": "a", "trial": True, "values": {}},
        {"kind": "sweep", "name": "a", "trial": 0, "values": {}},
        {"kind": "sweep", "name": "a", "trial": 1, "values": {"x": []}},
        {"kind": "sweep", "name": "a", "trial": 1},
    ]
    (trial,) = planned(planner, store)[:1]
    run([trial], FakeRunner())
    record = store.read(trial.plan.id)
    for number, group in enumerate(strange):
        store.begin(replace(record, id=f"20990101T000000-{number:08x}", group=group))
    assert list(past_trials(store, "a")) == [1]
    assert past_trials(store, "a")[1].record.id == trial.plan.id


def test_only_one_command_runs_a_sweep(store: RunStore) -> None:
    with alone(store, "a"):
        with alone(store, "b"):
            pass
        with pytest.raises(UsageError, match="another command runs the sweep 'a'"), alone(store, "a"):
            pass
    with alone(store, "a"):
        pass


# ---- GPUs ----------------------------------------------------------------------------------------


def local(gpus: Any = None) -> Platform:
    return Platform(name="p", runner="local", options=LocalOptions(), resources=Resources(gpus=gpus))


def docker(gpus: Any = None, executable: str = "docker") -> Platform:
    options = DockerOptions(image="x", executable=executable)
    return Platform(name="p", runner="docker", options=options, resources=Resources(gpus=gpus))


SINGULARITY = Platform(
    name="p", runner="singularity", options=SingularityOptions(image="x"), resources=Resources(gpus=2)
)
SLURM = Platform(name="p", runner="slurm", options=SlurmOptions(platform="local"), resources=Resources(gpus=2))


@pytest.mark.parametrize(
    ("platform", "available", "jobs", "count"),
    [
        (local(), 4, 1, 4),
        (local(), 4, 2, 2),
        (local(), 4, 3, 1),
        (local(), 2, 8, 1),
        (local(), 0, 8, 0),
        (local(1), 4, 2, 1),
        (local("all"), 4, 2, 4),
        (local(0), 4, 2, 0),
        (local(1), 0, 1, 0),
        (docker(), 4, 2, 0),
        (docker(2), 4, 2, 2),
        (docker(executable="nvidia-docker"), 4, 2, 2),
        (SINGULARITY, 4, 1, 2),
        (SLURM, 4, 2, 0),
    ],
)
def test_how_many_gpus_a_trial_has_for_itself(platform: Platform, available: int, jobs: int, count: int) -> None:
    assert devices_per_trial(platform, available, jobs) == count


@pytest.mark.parametrize(
    ("platform", "available", "said"),
    [(local(1), 0, "this machine shows none"), (docker("all"), 0, "shows none"), (SINGULARITY, 1, "needs 2 GPUs")],
)
def test_trials_that_would_share_gpus_unasked_are_refused(platform: Platform, available: int, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        devices_per_trial(platform, available, jobs=2)


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[DevicePool]:
    pool = DevicePool(("0", "1"), tmp_path / "cache")
    yield pool
    pool.lease(2, lambda: pytest.fail("a GPU was not given back")).give_back()


def test_two_trials_never_share_a_gpu(planner: TrialPlanner, store: RunStore, pool: DevicePool) -> None:
    lock, in_use = threading.Lock(), set[str]()
    shared: list[str] = []

    def use(plan: RunPlan) -> Outcome:
        (device,) = plan.devices
        with lock:
            shared.extend(in_use & {device})
            in_use.add(device)
        time.sleep(0.05)
        with lock:
            in_use.discard(device)
        return fails_on(2)(plan)

    waited: list[RunPlan] = []
    ends = run(planned(planner, store), FakeRunner(use), jobs=4, leases=Leases(pool, 1, waited.append))
    assert shared == []
    assert len(waited) >= 2
    assert {each.plan.devices for each in ends} == {("0",), ("1",)}


def test_what_is_a_queue(planner: TrialPlanner) -> None:
    assert not goes_to_a_queue(built_in_platform("local"), FakeRunner(), planner.template)
