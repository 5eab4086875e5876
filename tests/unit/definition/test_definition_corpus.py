from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from mlcommons_box.checking import check_box
from mlcommons_box.definition.loader import load_box
from mlcommons_box.errors import Problem
from tests.unit.definition.definition_corpus import (
    DEFINITIONS,
    INVALID,
    KINDS,
    VALID,
    assert_exactly,
    boxes,
    every_file,
    expected_problems,
    name_of,
    read_single,
    single_files,
)


@pytest.mark.parametrize("file", single_files(VALID), ids=name_of)
def test_a_valid_file_has_no_problem(file: Path) -> None:
    assert read_single(file) == []


@pytest.mark.parametrize("file", single_files(INVALID), ids=name_of)
def test_an_invalid_file_has_exactly_the_problems_that_it_names(file: Path) -> None:
    expected = expected_problems(file)

    assert expected, "an invalid file names its problems"
    assert_exactly(read_single(file), expected)


@pytest.mark.parametrize("root", boxes(VALID), ids=name_of)
def test_a_valid_box_passes_with_all_its_files(root: Path) -> None:
    report = check_box(root)

    assert report.problems == ()
    assert report.box == load_box(root)
    assert len(report.runs) == len(list(root.glob("run/**/*.yaml")))
    assert len(report.platforms) == len(list(root.glob("platforms/*.yaml")))


@pytest.mark.parametrize("root", boxes(INVALID), ids=name_of)
def test_an_invalid_box_has_exactly_the_problems_that_its_files_name(root: Path) -> None:
    found: dict[Path, list[Problem]] = defaultdict(list)
    for problem in check_box(root).problems:
        assert problem.location is not None
        found[Path(problem.location.file)].append(problem)

    files = [file for file in every_file() if root in file.parents]
    assert set(found) <= set(files)
    assert any(expected_problems(file) for file in files)
    for file in files:
        assert_exactly(found[file], expected_problems(file))


def test_the_corpus_has_every_kind_of_file_at_every_version() -> None:
    texts = [file.read_text("utf-8-sig") for file in single_files(VALID)]
    for kind in KINDS:
        versions = ["1.0.0", "1.1.0"] + ["0.1.0"] * (kind == "mlcommons_box_platform")
        for version in versions:
            assert any(kind in text and version in text for text in texts), f"no {kind} at {version}"


def test_every_expectation_is_beside_an_invalid_file() -> None:
    assert all(file.with_suffix("").is_file() for file in DEFINITIONS.rglob("*.expect"))
    assert not any(expected_problems(file) for file in VALID.rglob("*.yaml"))
