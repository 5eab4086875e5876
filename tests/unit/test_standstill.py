"""Right after a run, and ever after, a moment is enough to see that nothing has changed; what has is seen too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlcommons_box import file_state
from mlcommons_box import standstill as module
from mlcommons_box.cli.run_many import run_many
from mlcommons_box.cli.terminal import Terminal
from mlcommons_box.definition.loader import load_box
from mlcommons_box.errors import Interrupted
from mlcommons_box.model import DockerOptions, Platform
from mlcommons_box.pipeline import Pipeline
from mlcommons_box.planning import RunPlan, plan_setup
from mlcommons_box.runners.interface import Outcome
from mlcommons_box.standstill import Standstill
from mlcommons_box.value import replace
from tests.conftest import write_files
from tests.unit.proof import Bench, train


class Selection:
    """One run of a box, asked for again and again with ``--skip-unchanged``."""

    def __init__(self, root: Path, cache: Path) -> None:
        self.bench = Bench(root, {"platforms/inner.yaml": "", "mine.yaml": ""})
        self.cache = cache

    @property
    def standstill(self) -> Standstill:
        """What a new process has."""
        bench = self.bench
        setup = plan_setup(load_box(bench.root), bench.platform, bench.workspace)
        files = [bench.root / "platforms/inner.yaml", bench.root / "mine.yaml"]
        return Standstill(self.cache, setup, bench.runner, ["all"], files)

    def run(self) -> int:
        """Run what has to run."""
        return run_many(
            Pipeline([self.bench.plan()]),
            self.bench.runner,
            Terminal(-1),
            at_once=1,
            keep_going=False,
            standstill=self.standstill,
            as_json=False,
        )

    @property
    def stands_still(self) -> bool:
        """Whether that is known at a glance."""
        runs = self.standstill.runs()
        return runs is not None and [run for run, _ in runs] == ["train"]


@pytest.fixture
def selection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Selection:
    monkeypatch.setenv("MLCOMMONS_BOX_CACHE", str(tmp_path / "cache"))
    return Selection(tmp_path / "box", tmp_path / "cache")


@pytest.fixture
def done(selection: Selection) -> Selection:
    """One that has just run."""
    assert not selection.stands_still
    assert selection.run() == 0
    return selection


def write(name: str, content: str) -> Callable[[Selection], object]:
    return lambda selection: write_files(selection.bench.root, {name: content})


def other_image(selection: Selection) -> None:
    selection.bench.player.image = {"python": "3.12.0", "packages": {}}


def other_platform(selection: Selection) -> None:
    selection.bench.platform = Platform(name="docker", runner="docker", options=DockerOptions(image="other"))


CHANGES: dict[str, Callable[[Selection], object]] = {
    "an input": write("workspace/data/a.txt", "2\n"),
    "a new file in an input": write("workspace/data/new.txt", ""),
    "an output": write("workspace/model/weights", "0"),
    "an output that is gone": lambda selection: (selection.bench.workspace / "out/log.txt").unlink(),
    "the code": write("build/train.py", "print(2)\n"),
    "a run configuration": write("run/other.yaml", ""),
    "a run configuration elsewhere": write("mine.yaml", "# other"),
    "the platform that another hands over to": write("platforms/inner.yaml", "# other"),
    "the environment": other_image,
    "the platform": other_platform,
    "another run's record": lambda selection: selection.bench.run(),
}


def test_nothing_is_looked_for_again_right_after_a_run(done: Selection) -> None:
    assert done.stands_still
    assert done.run() == 0
    assert len(done.bench.player.runs) == 1
    assert done.stands_still


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_is_seen(done: Selection, change: Callable[[Selection], object]) -> None:
    change(done)
    assert not done.stands_still


def test_an_interrupt_is_no_answer(done: Selection) -> None:
    done.bench.player.fails = Interrupted(2)
    with pytest.raises(Interrupted):
        done.standstill.runs()
    with pytest.raises(Interrupted):
        done.standstill.picture([done.bench.plan()])


def test_a_young_file_counts_by_its_content_and_not_by_its_looks(done: Selection) -> None:
    picture = done.standstill.picture([done.bench.plan()])
    assert picture is not None
    done.standstill.keep(picture, [("train", "as it was")])
    assert done.stands_still
    other = [(path, out, entries, dict.fromkeys(young, b"other")) for path, out, entries, young in picture.places]
    done.standstill.keep(replace(picture, places=tuple(other)), [("train", "as it was")])
    assert not done.stands_still


def test_a_file_that_has_settled_is_not_read_again(done: Selection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_state, "SETTLED", 0)
    assert done.stands_still  # and from now on by its looks alone
    monkeypatch.setattr(module, "digests_of", None)
    assert done.stands_still


def test_much_that_is_young_is_not_read_once_more(selection: Selection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SOON", 1)
    assert selection.run() == 0
    assert not selection.stands_still


def test_a_failure_never_stands_still(selection: Selection) -> None:
    selection.bench.player.does = lambda plan: Outcome(status="failed", exit_status=3)
    assert selection.run() == 3
    assert not selection.stands_still


def test_what_changes_its_own_input_never_stands_still(selection: Selection) -> None:
    def careless(plan: RunPlan) -> Outcome:
        write_files(selection.bench.root, {"workspace/data/a.txt": "changed\n"})
        return train(plan)

    selection.bench.player.does = careless
    assert selection.run() == 0
    assert not selection.stands_still


def test_what_changes_while_it_is_checked_does_not_stand_still(
    done: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The picture is taken first: what changes after it does not look the same any more."""
    picture = Standstill.picture

    def then_somebody_writes(self: Standstill, plans: list[RunPlan]) -> module.Picture | None:
        taken = picture(self, plans)
        write_files(done.bench.root, {"workspace/data/a.txt": "2\n"})
        return taken

    monkeypatch.setattr(Standstill, "picture", then_somebody_writes)
    assert done.run() == 0
    assert not done.stands_still
