"""A run is replayed only under what its record says, and what comes out is compared byte by byte."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlcommons_box.definition.loader import load_box
from mlcommons_box.errors import BoxError, ConfigurationError, UnavailableError
from mlcommons_box.model import DockerOptions, EnvironmentVariable, Platform
from mlcommons_box.planning import RunPlan
from mlcommons_box.record import RunRecord
from mlcommons_box.replaying import Replayed, compared, obstacles, pinned, prepared_replay, replay_plan
from mlcommons_box.runners.interface import Outcome
from mlcommons_box.tree_store import TreeStore
from mlcommons_box.value import replace
from tests.unit.proof import GOOD, LOCAL, PYTHON, Bench, train
from tests.unit.test_up_to_date import ODD, edited, odd_records

DOCKER = Platform(name="docker", runner="docker", options=DockerOptions(image="digits:1"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "box")


def again(bench: Bench, record: RunRecord, tmp_path: Path) -> list[Replayed]:
    workspace = tmp_path / "fresh"
    workspace.mkdir()
    plan = replay_plan(record, load_box(bench.root), bench.platform, workspace)
    trees = TreeStore(bench.workspace)
    assert list(obstacles(record, plan, bench.runner, trees)) == []
    replayed = bench.run(plan) if plan.workspace == bench.workspace else run_in(bench, plan, workspace)
    return compared(record, replayed, plan, trees, TreeStore(workspace))


def run_in(bench: Bench, plan: RunPlan, workspace: Path) -> RunRecord:
    here, bench.workspace = bench.workspace, workspace
    try:
        return bench.run(plan)
    finally:
        bench.workspace = here


def test_the_same_bytes_or_different_by_nature(bench: Bench, tmp_path: Path) -> None:
    record = bench.run()
    before = (bench.workspace / "model/weights").read_bytes()
    assert [(each.name, each.state) for each in again(bench, record, tmp_path)] == [
        ("model", "bit-exact"),
        ("log", "differs by nature"),
    ]
    assert (bench.workspace / "model/weights").read_bytes() == before
    assert (tmp_path / "fresh/model/model/weights").read_bytes() == before
    assert bench.why().record == record


def test_what_has_diverged_is_named_by_its_files(bench: Bench, tmp_path: Path) -> None:
    record = bench.run()

    def play(plan: RunPlan) -> Outcome:
        outcome = train(plan)
        (plan.outputs[0].path / "weights").write_text("other")
        (plan.outputs[0].path / "new").write_text("")
        return outcome

    bench.player.does = play
    model, log = again(bench, record, tmp_path)
    assert (model.state, log.state) == ("diverged", "differs by nature")
    assert [each.name for each in model.changes] == ["model/new", "model/weights"]


def test_what_has_no_hash_is_unknown(bench: Bench, tmp_path: Path) -> None:
    record = bench.run()
    for odd in ODD:
        if not (isinstance(odd, dict) and isinstance(odd.get("digest"), str)):
            fresh = tmp_path / str(len(os.listdir(tmp_path)))
            fresh.mkdir()
            assert again(bench, replace(record, outputs={"model": odd, "log": {}}), fresh)[1].state == "unknown"


def other_environment(bench: Bench) -> None:
    """The platform file says something else now."""
    seed = EnvironmentVariable(name="SEED", value="7")
    bench.platform = replace(bench.platform, environment=(*bench.platform.environment, seed))


OBSTACLES: dict[str, tuple[Callable[[Bench], object], str]] = {
    "code": (edited("build/lib/net.py", "2", "3"), "code build/lib/net.py: its content changed"),
    "task": (
        edited("tasks/train.yaml", "inputs:", "network: none\ninputs:"),
        "code tasks/train.yaml: its parameters",
    ),
    "environment": (other_environment, "environment SEED: 7 is new"),
    "input": (edited("workspace/data/a.txt", "1", "3"), "input data/a.txt: its content changed"),
    "input file": (edited("workspace/settings.yaml", "0.1", "0.2"), "input settings: its content changed"),
    "gone": (lambda bench: (bench.workspace / "settings.yaml").unlink(), "input settings: it is not there"),
    "pipe": (lambda bench: os.mkfifo(bench.workspace / "data/pipe"), "input data: cannot read"),
    "package": (
        lambda bench: setattr(bench.player, "image", {**PYTHON, "packages": {"numpy": "2"}}),
        "image package numpy: '1.26.0' became '2'",
    ),
    "image": (lambda bench: setattr(bench.player, "image", {}), "is not here any more"),
    "engine": (lambda bench: setattr(bench.player, "fails", UnavailableError("asleep")), "image: asleep"),
}


@pytest.mark.parametrize("change", OBSTACLES)
def test_what_stands_in_the_way_is_named(bench: Bench, tmp_path: Path, change: str) -> None:
    record = bench.run()
    do, expected = OBSTACLES[change]
    do(bench)
    plan = replay_plan(record, load_box(bench.root), bench.platform, tmp_path / "fresh")
    found = list(obstacles(record, plan, bench.runner, TreeStore(bench.workspace)))
    assert len(found) == 1
    assert expected in found[0]


def test_changed_outputs_do_not_stand_in_the_way(bench: Bench, tmp_path: Path) -> None:
    record = bench.run()
    (bench.workspace / "model/weights").unlink()
    assert again(bench, record, tmp_path)[0].state == "bit-exact"


def test_an_image_is_pinned_by_its_id(bench: Bench) -> None:
    record = replace(bench.run(), platform="docker", runner="docker", image={"id": f"sha256:{'a' * 64}"})
    options = pinned(DOCKER, record).options
    assert isinstance(options, DockerOptions)
    assert options.image == "a" * 64
    assert pinned(replace(DOCKER, name="other"), record).options == DOCKER.options
    assert pinned(LOCAL, record) == LOCAL
    assert pinned(DOCKER, replace(record, image={"id": 5})) == DOCKER


def test_an_image_by_its_id_is_the_same_whatever_it_is_called(bench: Bench, tmp_path: Path) -> None:
    bench.platform = DOCKER
    bench.player.image = {"id": f"sha256:{'a' * 64}"}
    record = bench.run()
    plan = replay_plan(record, load_box(bench.root), pinned(DOCKER, record), tmp_path / "fresh")
    assert list(obstacles(record, plan, bench.runner, TreeStore(bench.workspace))) == []
    bench.player.image = {"id": f"sha256:{'b' * 64}"}
    (found,) = obstacles(record, plan, bench.runner, TreeStore(bench.workspace))
    assert found.startswith("image id: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "gone"}, "the box has no task 'gone'"),
        ({"plan": {"parameters": [{"name": "x", "direction": "input", "path": "/x"}]}}, "other parameters now"),
        ({"plan": {"parameters": [{"name": "data", "direction": "output", "path": "/x"}]}}, "other parameters now"),
    ],
    ids=str,
)
def test_what_the_box_has_no_more(bench: Bench, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    record = replace(bench.run(), **change)
    with pytest.raises(ConfigurationError, match=message):
        replay_plan(record, load_box(bench.root), bench.platform, tmp_path)


def test_whatever_a_record_holds_the_answer_is_ours(bench: Bench, tmp_path: Path) -> None:
    record = bench.run()
    box, trees = load_box(bench.root), TreeStore(bench.workspace)
    for odd in odd_records(bench, record):
        try:
            plan = replay_plan(odd, box, bench.platform, tmp_path / "fresh")
            list(obstacles(odd, plan, bench.runner, trees))
            compared(odd, record, plan, trees, trees)
        except BoxError:
            continue
        pinned(DOCKER, odd)


@pytest.mark.parametrize("name", ["..", "../..", "a/b"])
def test_an_output_has_a_directory_in_the_fresh_workspace_or_none(bench: Bench, tmp_path: Path, name: str) -> None:
    """A stranger's box may call its outputs whatever it likes."""
    edited("tasks/train.yaml", "name: model", f"name: '{name}'")(bench)
    edited("run/train.yaml", "model: ", f"'{name}': ")(bench)
    bench.player.does = lambda plan: GOOD
    record = bench.run()
    with pytest.raises(ConfigurationError, match="cannot have a directory of its name"):
        replay_plan(record, load_box(bench.root), bench.platform, tmp_path / "fresh")


def test_what_cannot_be_replayed_leaves_no_workspace(bench: Bench, tmp_path: Path) -> None:
    record = bench.run()
    edited("build/train.py", "print(1)", "print(2)")(bench)
    box, trees, fresh = load_box(bench.root), TreeStore(bench.workspace), tmp_path / "fresh"
    with pytest.raises(ConfigurationError, match="cannot be replayed"):
        prepared_replay(record, box, bench.platform, bench.runner, trees, into=fresh, ca_bundle=None)
    assert not fresh.exists()
