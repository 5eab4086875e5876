"""Runs are ordered by the data that joins them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from mlcommons_box.errors import EX_CONFIGURATION, ProblemsError
from mlcommons_box.model import Box, LocalOptions, Platform, Task
from mlcommons_box.pipeline import in_data_order
from mlcommons_box.planning import BoundParameter, RunPlan


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


def test_runs_that_wait_for_each_other_are_refused_by_name() -> None:
    with pytest.raises(ProblemsError, match="'a', 'b'") as caught:
        in_data_order([plan("c", "", "/z"), plan("a", "/x", "/y"), plan("b", "/y", "/x")])
    assert caught.value.exit_status == EX_CONFIGURATION
