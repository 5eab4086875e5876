from __future__ import annotations

from pathlib import Path

import pytest

from mlcommons_box.definition.places import find_file, name_below, yaml_files
from mlcommons_box.errors import UsageError

FILES = [
    "run/train.yaml",
    "run/test.yml",
    "run/alice/hello.yaml",
    "run/bob/hello.yaml",
    "run/bob/bye.yaml",
    "run/a.b.yaml",
    "run/no suffix",
    "platforms/train.yaml",
]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "box"
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.yaml").touch()
    (elsewhere / "train").mkdir()
    (elsewhere / "test").touch()
    (root / "bye").touch()
    monkeypatch.chdir(elsewhere)
    return root


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("run/train.yaml", "run/train.yaml"),  # a path in the box
        ("platforms/train.yaml", "platforms/train.yaml"),
        ("./run/../run/train.yaml", "run/train.yaml"),
        ("train", "run/train.yaml"),  # a short name, even beside a directory of that name
        ("train.yaml", "run/train.yaml"),
        ("test", "run/test.yml"),  # even beside a program of that name
        ("a.b", "run/a.b.yaml"),
        ("no suffix", "run/no suffix"),
        ("alice/hello", "run/alice/hello.yaml"),  # a nested name
        ("bob/hello.yaml", "run/bob/hello.yaml"),
        ("bye", "run/bob/bye.yaml"),  # the only one of its name
    ],
)
def test_a_path_in_the_box_or_a_short_name_is_found(root: Path, given: str, found: str) -> None:
    assert find_file(root, "run", given, "run configuration") == root / found


def test_a_path_in_the_current_directory_is_found(root: Path) -> None:
    assert find_file(root, "run", "mine.yaml", "run configuration") == Path.cwd() / "mine.yaml"
    assert find_file(root, "run", str(root / "run" / "test.yml"), "run configuration") == root / "run" / "test.yml"


def test_a_path_in_the_box_comes_before_one_in_the_current_directory(root: Path) -> None:
    Path("run").mkdir()
    Path("run/train.yaml").touch()

    assert find_file(root, "run", "run/train.yaml", "run configuration") == root / "run" / "train.yaml"


def test_a_name_that_several_files_have_is_ambiguous(root: Path) -> None:
    with pytest.raises(UsageError) as caught:
        find_file(root, "run", "hello", "run configuration")

    assert caught.value.message == "several run configurations are called 'hello'"
    assert caught.value.hint == "choose one of: alice/hello, bob/hello"


def test_an_unknown_name_is_suggested_the_nearest(root: Path) -> None:
    with pytest.raises(UsageError) as caught:
        find_file(root, "run", "trian", "run configuration")

    assert caught.value.message == "there is no run configuration 'trian'"
    assert caught.value.hint == "did you mean 'train'?"


def test_a_name_far_from_all_is_told_which_there_are(root: Path) -> None:
    with pytest.raises(UsageError) as caught:
        find_file(root, "run", "zzz", "run configuration")

    assert caught.value.hint == "this box has: a.b, alice/hello, bob/bye, bob/hello, test, train"


def test_without_files_the_message_says_where_they_would_be(root: Path) -> None:
    with pytest.raises(UsageError) as caught:
        find_file(root, "sweeps", "any", "sweep")

    assert caught.value.hint == "this box has none (no files in sweeps/)"


@pytest.mark.parametrize("given", ["", ".", "..", "run", "x" * 5000, "nul\0", "\ud800", "train/none"])
def test_what_names_no_file_is_unknown(root: Path, given: str) -> None:
    with pytest.raises(UsageError, match="there is no run configuration"):
        find_file(root, "run", given, "run configuration")


def test_all_files_are_listed_in_the_order_of_their_names(root: Path) -> None:
    names = [name_below(file, root / "run") for file in yaml_files(root / "run")]

    assert names == ["a.b", "alice/hello", "bob/bye", "bob/hello", "test", "train"]
    assert yaml_files(root / "none") == []


def test_a_directory_that_is_a_link_to_itself_is_not_followed(root: Path) -> None:
    (root / "run" / "again").symlink_to(".")

    assert len(yaml_files(root / "run")) == 6
