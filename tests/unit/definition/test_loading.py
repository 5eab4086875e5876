from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlcommons_box.definition.loader import load_box, load_platform, load_run_configuration, read_box
from mlcommons_box.definition.places import box_root
from mlcommons_box.definition.problems import Problems
from mlcommons_box.errors import EX_DEFINITION, EX_USAGE, DefinitionError, UsageError
from mlcommons_box.model import Box, EnvironmentVariable, Parameter, Task
from tests.unit.definition.definition_corpus import VALID

ROOT = """schema_version: 1.1.0
schema_type: mlbox_root
name: tiny
author: A Person
version: 1.2.3-rc.1
mlbox_spec_version: 0.1.0
description: A tiny box.
tasks:
  - tasks/train.yaml
"""
TRAIN = """schema_version: 1.1.0
schema_type: mlbox_task
description: Trains.
network: none
environment: {LEVEL: 3, TOKEN: , EXACT: 1.50}
inputs:
  - {name: data_dir, type: directory, description: What was downloaded.}
outputs:
  - {name: log, type: file}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "mlbox.yaml").write_text(ROOT)
    (tmp_path / "tasks" / "train.yaml").write_text(TRAIN)
    return tmp_path


def add_task(root: Path, name: str) -> None:
    with (root / "mlbox.yaml").open("a") as stream:
        stream.write(f"  - {name}\n")


def found_in(root: Path) -> list[tuple[str, int]]:
    with pytest.raises(DefinitionError) as caught:
        load_box(root)
    return [(each.code, each.location.line) for each in caught.value.problems if each.location]


def test_a_box_has_every_value_of_its_files(root: Path) -> None:
    assert load_box(root) == Box(
        root=root,
        name="tiny",
        author="A Person",
        version="1.2.3-rc.1",
        spec_version="0.1.0",
        description="A tiny box.",
        tasks=(
            Task(
                name="train",
                file=root / "tasks" / "train.yaml",
                inputs=(Parameter(name="data_dir", type="directory", description="What was downloaded."),),
                outputs=(Parameter(name="log", type="file"),),
                description="Trains.",
                network="none",
                environment=(
                    EnvironmentVariable(name="LEVEL", value="3"),
                    EnvironmentVariable(name="TOKEN", value=None),
                    EnvironmentVariable(name="EXACT", value="1.50"),
                ),
            ),
        ),
    )


def test_what_a_task_does_not_say_has_its_default() -> None:
    task = load_box(VALID / "tutorial" / "mnist").tasks[0]

    assert (task.name, task.description, task.network, task.environment) == ("download", None, "default", ())
    assert task.inputs == ()
    assert [parameter.name for parameter in task.outputs] == ["data_dir", "log_dir"]


def test_a_parameter_remembers_its_place(root: Path) -> None:
    place = load_box(root).tasks[0].inputs[0].location

    assert place
    assert (place.file, place.line, place.column, place.length) == (str(root / "tasks" / "train.yaml"), 7, 12, 8)


def test_workspace_and_build_are_below_the_root(root: Path) -> None:
    box = load_box(root)

    assert box.workspace == root / "workspace"
    assert box.build == root / "build"


@pytest.mark.parametrize("given", ["", ".", "mlbox.yaml", "../{name}", "./tasks/..", "{root}", "{root}/mlbox.yaml"])
def test_a_box_is_given_as_a_directory_or_its_file(root: Path, given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)

    assert load_box(given.format(name=root.name, root=root)).root == root
    assert load_box().root == root


def test_a_box_in_a_directory_called_mlbox_yaml_is_found(tmp_path: Path) -> None:
    root = tmp_path / "mlbox.yaml"
    (root / "tasks").mkdir(parents=True)
    (root / "mlbox.yaml").write_text(ROOT)
    (root / "tasks" / "train.yaml").write_text(TRAIN)

    assert load_box(root).root == root
    assert load_box(root / "mlbox.yaml").root == root


def test_a_box_behind_a_link_is_found_where_the_link_is(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    link = tmp_path_factory.mktemp("elsewhere") / "link"
    link.symlink_to(root)

    assert load_box(link).root == link


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "there is no box in {!r}: it has no mlbox.yaml"),
        ("mlbox.yaml", "there is no box in {!r}: it has no mlbox.yaml"),
        ("none", "there is no directory '{}/none'"),
        ("x" * 5000, "there is no directory "),
    ],
)
def test_without_a_box_the_message_says_what_is_missing(tmp_path: Path, given: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        box_root(tmp_path / given)

    assert caught.value.message.startswith(message.format(str(tmp_path)))
    assert caught.value.exit_status == EX_USAGE


def test_a_box_file_that_leads_nowhere_is_a_problem_of_that_file(tmp_path: Path) -> None:
    (tmp_path / "mlbox.yaml").symlink_to("nowhere")

    with pytest.raises(DefinitionError) as caught:
        load_box(tmp_path)

    assert [problem.code for problem in caught.value.problems] == ["missing-file"]
    assert caught.value.exit_status == EX_DEFINITION


def test_all_mistakes_of_a_box_are_raised_at_once(root: Path) -> None:
    (root / "mlbox.yaml").write_text(ROOT.replace("author", "autor") + "  - tasks/none.yaml\n")
    (root / "tasks" / "train.yaml").write_text(TRAIN.replace("file", "folder"))

    assert found_in(root) == [("unknown-key", 4), ("bad-value", 9), ("missing-file", 10)]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("tasks/none.yaml", "missing-file"),
        ("../outside.yaml", "outside-box"),
        ("tasks/../../outside.yaml", "outside-box"),
        ("/etc/hostname", "outside-box"),
        ("..", "outside-box"),
        (".", "not-a-file"),
        ("tasks", "not-a-file"),
        ("tasks/train.yaml", "duplicate-task"),
        ("./tasks//train.yaml", "duplicate-task"),
        ("more/train.yml", "duplicate-task"),
        ("tasks/-v.yaml", "bad-value"),
        ("tasks/" + "x" * 5000, "missing-file"),
        ("mlbox.yaml", "schema-type"),
    ],
)
def test_a_task_file_that_cannot_be_one_is_a_problem(root: Path, name: str, code: str) -> None:
    add_task(root, name)

    assert [each[0] for each in found_in(root)] == [code]


def test_a_task_file_below_a_name_that_begins_with_two_dots_is_inside(root: Path) -> None:
    (root / "..tasks").mkdir()
    (root / "..tasks" / "more.yaml").write_text(TRAIN)
    add_task(root, "..tasks/more.yaml")

    assert [task.name for task in load_box(root).tasks] == ["train", "more"]


def test_a_task_file_that_leads_nowhere_is_a_problem(root: Path) -> None:
    (root / "tasks" / "lost.yaml").symlink_to("nowhere")
    add_task(root, "tasks/lost.yaml")

    assert [each[0] for each in found_in(root)] == ["missing-file"]


def test_a_task_file_may_be_a_link(root: Path) -> None:
    (root / "tasks" / "again.yaml").symlink_to("train.yaml")
    add_task(root, "tasks/again.yaml")

    assert [task.name for task in load_box(root).tasks] == ["train", "again"]


def test_the_tasks_of_a_wrong_box_are_still_known(root: Path) -> None:
    (root / "mlbox.yaml").write_text(ROOT.replace("name: tiny", "name: 1"))

    draft = read_box(root, Problems())

    assert draft.box is None
    assert draft.tasks
    assert list(draft.tasks) == ["train"]


@pytest.mark.parametrize("text", ["", "[", "tasks: tasks/train.yaml\n", "name: a\n", "- a\n"])
def test_the_tasks_of_an_unreadable_box_are_not_known(root: Path, text: str) -> None:
    (root / "mlbox.yaml").write_text(text)

    draft = read_box(root, problems := Problems())

    assert draft.box is None
    assert draft.tasks is None
    assert problems


def test_a_run_configuration_is_loaded_for_its_box() -> None:
    box = load_box(VALID / "tutorial" / "mnist")

    run = load_run_configuration(box.root / "run" / "train.yaml", box)

    assert (run.name, run.task) == ("train", "train")


def test_loading_a_wrong_file_raises_its_problems(root: Path) -> None:
    box = load_box(root)

    with pytest.raises(DefinitionError, match="the file does not exist"):
        load_run_configuration(root / "run" / "none.yaml", box)
    with pytest.raises(DefinitionError, match="the file does not exist"):
        load_platform(root / "platforms" / "none.yaml")
    with pytest.raises(DefinitionError, match="found 'mlbox_task', which is a task"):
        load_platform(root / "tasks" / "train.yaml")


def test_a_file_name_that_is_not_utf_8_is_loaded(root: Path) -> None:
    name = os.fsdecode(b"caf\xe9.yaml")
    (root / name).write_text(
        "schema_version: 1.0.0\nschema_type: mlbox_docker\nimage: ubuntu\ndocker_runtime: docker\n"
    )

    assert load_platform(root / name).file == root / name
