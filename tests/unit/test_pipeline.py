"""Runs are ordered by the data that joins them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from mlcommons_box.errors import EX_CONFIGURATION, ProblemsError
from mlcommons_box.model import Box, LocalOptions, Platform, Task
from mlcommons_box.pipeline import Pipeline, PlaceIndex, in_data_order
from mlcommons_box.planning import BoundParameter, RunPlan
from mlcommons_box.value import replace


def plan(name: str, reads: str = "", writes: str = "") -> RunPlan:
    """A run that reads and writes the directories named in a text."""
    sides: tuple[tuple[Literal["input", "output"], str], ...] = (("input", reads), ("output", writes))
    parameters = [
        BoundParameter(name=f"{direction}{number}", type="directory", direction=direction, path=Path(path))
        for direction, paths in sides
        for number, path in enumerate(paths.split())
    ]
    task = Task(name=name, file=Path(name), inputs=(), outputs=())
    box = Box(root=Path("/box"), name="b", author="a", version="1.0.0", spec_version="1.0.0", tasks=(task,))
    platform = Platform(name="local", runner="local", options=LocalOptions())
    return RunPlan(
        id=name,
        box=box,
        platform=platform,
        workspace=box.workspace,
        run=name,
        task=task,
        parameters=tuple(parameters),
    )


def names(plans: list[RunPlan]) -> str:
    return " ".join(each.run for each in in_data_order(plans))


def test_a_run_comes_after_those_whose_outputs_it_reads() -> None:
    assert names([plan("train", "/d", "/m"), plan("download", "", "/d"), plan("eval", "/m /d")]) == (
        "download train eval"
    )


def test_a_path_below_a_written_directory_counts_and_so_does_a_directory_above_it() -> None:
    assert names([plan("a", "/d/part"), plan("b", "", "/d")]) == "b a"
    assert names([plan("a", "/d"), plan("b", "", "/d/part")]) == "b a"
    assert names([plan("a", "/data2"), plan("b", "", "/data")]) == "a b"


def test_runs_that_share_nothing_keep_their_order() -> None:
    assert names([plan("c"), plan("a"), plan("b")]) == "c a b"


def test_a_run_may_read_what_it_writes_itself() -> None:
    assert names([plan("a", "/d", "/d")]) == "a"


def refusal(*plans: RunPlan) -> str:
    with pytest.raises(ProblemsError) as caught:
        in_data_order(plans)
    assert caught.value.exit_status == EX_CONFIGURATION
    return "\n".join(problem.message for problem in caught.value.problems)


def test_runs_that_wait_for_each_other_are_refused_with_the_paths_of_one_circle() -> None:
    plans = [
        plan("before", "", "/z"),
        plan("after", "/x", "/w"),
        plan("a", "/x /z", "/y/part"),
        plan("b", "/y", "/v"),
        plan("c", "/v", "/x"),
    ]
    assert refusal(*plans) == (
        "these runs wait for each other's outputs: 'a', 'b' and 'c'\n"
        "  'a' writes '/y/part', and 'b' reads '/y'\n"
        "  'b' writes '/v', which 'c' reads\n"
        "  'c' writes '/x', which 'a' reads"
    )


def test_two_runs_that_read_what_both_write_wait_for_each_other() -> None:
    assert "'a' and 'b'" in refusal(plan("a", "/d", "/d/a"), plan("b", "/d", "/d/b"))


def test_a_long_circle_is_shown_in_part() -> None:
    count = 1000
    said = refusal(*(plan(f"r{each}", f"/{each}", f"/{(each + 1) % count}") for each in range(count)))
    assert "'r11' and 988 more" in said
    assert said.endswith("  and so on, 1000 steps in all")


def test_one_path_that_two_runs_write_is_refused() -> None:
    assert refusal(plan("a", "", "/d"), plan("b", "", "/d")) == "the runs 'a' and 'b' write '/d'"
    assert "'a', 'b' and 'c' write '/d'" in refusal(*(plan(name, "", "/d") for name in "abc"))


def test_a_path_inside_of_what_another_run_writes_is_refused() -> None:
    said = refusal(plan("a", "", "/d/logs/a"), plan("b", "", "/d"))
    assert said == "the run 'a' writes '/d/logs/a', which is inside '/d', and that is written by 'b'"


def test_a_run_may_write_a_path_inside_of_its_own() -> None:
    assert names([plan("a", "", "/d /d/logs")]) == "a"


def test_the_same_path_of_two_volume_claims_is_not_the_same_data() -> None:
    one, other = plan("a", "", "/d"), plan("b", "", "/d")
    (output,) = one.parameters
    assert len(in_data_order([replace(one, parameters=(replace(output, claim="c"),)), other])) == 2


def test_the_root_holds_everything() -> None:
    assert names([plan("a", "/"), plan("b", "", "/x/y")]) == "b a"
    assert names([plan("a", "/x/y"), plan("b", "", "/")]) == "b a"


def test_what_a_run_waits_for_is_told_by_the_paths() -> None:
    pipeline = Pipeline([plan("a", "/d/x /other"), plan("b", "", "/d")])
    (join,) = pipeline.joins(0)
    assert (join.writer, join.reader, join.written, join.wanted) == (1, 0, "/d", "/d/x")
    made, given = pipeline.plans[0].inputs
    assert pipeline.is_made(0, made)
    assert not pipeline.is_made(0, given)
    assert not list(pipeline.joins(1))


def test_what_depends_on_a_failure_never_starts_and_the_rest_does() -> None:
    frontier = Pipeline(
        [plan("a", "", "/a"), plan("b", "", "/b"), plan("c", "/a", "/c"), plan("d", "/c /b"), plan("e", "/b")]
    ).frontier()
    assert [frontier.take(), frontier.take(), frontier.take()] == [0, 1, None]
    assert frontier.failed(0) == [2, 3]
    frontier.ended(1)
    assert [frontier.take(), frontier.take()] == [4, None]


def test_the_work_grows_with_the_number_of_runs_and_not_with_its_square(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers of one directory in which as many others write: counted, for time depends on the machine."""
    looked_up = 0

    class Counting(PlaceIndex):
        def _above(self, directory: str) -> tuple[str, ...]:
            nonlocal looked_up
            looked_up += 1
            return super()._above(directory)

    monkeypatch.setattr("mlcommons_box.pipeline.PlaceIndex", Counting)
    count = 2000
    writers = [plan(f"w{each}", "", f"/out/{each}/model") for each in range(count)]
    readers = [plan(f"r{each}", "/out", f"/made/{each}") for each in range(count)]
    pipeline = Pipeline([*readers, *writers])
    assert [each.run for each in pipeline.ordered] == [each.run for each in [*writers, *readers]]
    assert looked_up < 6 * count
    assert sum(map(len, pipeline._followers)) == 2 * count
