from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from mlcommons_box.checking import Report, check_box
from mlcommons_box.errors import EX_DEFINITION, EX_MISSING_INPUT, UsageError, exit_status_of

ROOT = """schema_version: 1.0.0
schema_type: mlbox_root
name: tiny
author: A Person
version: 0.1.0
mlbox_spec_version: 0.1.0
tasks:
  - tasks/download.yaml
  - tasks/train.yaml
"""
DOWNLOAD = """schema_version: 1.0.0
schema_type: mlbox_task
inputs: []
outputs:
  - {name: data_dir, type: directory}
"""
TRAIN = """schema_version: 1.0.0
schema_type: mlbox_task
inputs:
  - {name: data_dir, type: directory}
  - {name: parameters_file, type: file}
outputs:
  - {name: model_dir, type: directory}
"""
RUN_DOWNLOAD = """schema_type: mlbox_invoke
schema_version: 1.0.0
task_name: download
input_binding: {}
output_binding:
  data_dir: $WORKSPACE/data
"""
RUN_TRAIN = """schema_type: mlbox_invoke
schema_version: 1.0.0
task_name: train
input_binding:
  data_dir: $WORKSPACE/data
  parameters_file: $WORKSPACE/parameters.yaml
output_binding:
  model_dir: model
"""
DOCKER = """schema_version: 1.0.0
schema_type: mlbox_docker
image: mlperf/mlbox:tiny
docker_runtime: docker
"""
FILES = {
    "mlbox.yaml": ROOT,
    "tasks/download.yaml": DOWNLOAD,
    "tasks/train.yaml": TRAIN,
    "run/download.yaml": RUN_DOWNLOAD,
    "run/train.yaml": RUN_TRAIN,
    "platforms/docker.yaml": DOCKER,
    "workspace/parameters.yaml": "epochs: 1\n",
}


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "box"
    write(root, FILES)
    return root


def found(report: Report) -> list[tuple[str, str, int, int]]:
    """Code and place of every problem."""
    places = [(each.code, each.location) for each in report.problems]
    return [
        (code, str(Path(place.file).relative_to(report.root)), place.line, place.column)
        for code, place in places
        if place
    ]


def test_a_right_box_passes(root: Path) -> None:
    report = check_box(root)

    assert report.problems == ()
    assert report.box
    assert [task.name for task in report.box.tasks] == ["download", "train"]
    assert [run.name for run in report.runs] == ["download", "train"]
    assert [platform.name for platform in report.platforms] == ["docker"]


def test_five_mistakes_are_reported_at_once_at_their_places(root: Path) -> None:
    write(
        root,
        {
            "mlbox.yaml": ROOT.replace("author:", "autor:") + "  - tasks/evaluate.yaml\n",  # 1 and 2
            "platforms/docker.yaml": DOCKER.replace("mlperf/mlbox:tiny", "[ubuntu]"),  # 3
            "run/download.yaml": RUN_DOWNLOAD.replace("data_dir", "dat_dir"),  # 4
            "run/train.yaml": RUN_TRAIN.replace("parameters.yaml", "none.yaml"),  # 5
        },
    )
    (root / "workspace" / "data").mkdir()

    report = check_box(root)

    assert found(report) == [
        ("unknown-key", "mlbox.yaml", 4, 1),
        ("missing-file", "mlbox.yaml", 10, 5),
        ("unknown-parameter", "run/download.yaml", 6, 3),
        ("missing-input", "run/train.yaml", 6, 20),
        ("wrong-type", "platforms/docker.yaml", 3, 8),
    ]
    assert report.box is None
    assert [run.name for run in report.runs] == ["train"]
    assert report.platforms == ()
    assert exit_status_of(report.problems) == EX_DEFINITION


def test_a_box_file_that_cannot_be_read_hides_no_other_mistake(root: Path) -> None:
    write(
        root,
        {
            "mlbox.yaml": "name: 'tiny\n",
            "run/train.yaml": RUN_TRAIN.replace("task_name", "task"),
            "platforms/docker.yaml": "",
        },
    )

    assert found(check_box(root)) == [
        ("yaml-syntax", "mlbox.yaml", 1, 7),
        ("unknown-key", "run/train.yaml", 3, 1),
        ("empty-file", "platforms/docker.yaml", 0, 0),
    ]


def test_a_wrong_task_does_not_make_its_runs_wrong(root: Path) -> None:
    write(root, {"tasks/train.yaml": TRAIN.replace("type: file", "type: text")})

    report = check_box(root)

    assert found(report) == [("bad-value", "tasks/train.yaml", 5, 35)]
    assert [run.name for run in report.runs] == ["download"]


def test_inputs_that_another_run_makes_are_not_missing(root: Path) -> None:
    write(
        root,
        {
            "run/below.yaml": RUN_TRAIN.replace("WORKSPACE/data", "WORKSPACE/data/part"),
            "run/above.yaml": RUN_TRAIN.replace("WORKSPACE/data", "WORKSPACE"),
            "run/same.yaml": RUN_TRAIN.replace("$WORKSPACE/data", "./x/../data/"),
        },
    )

    assert check_box(root).problems == ()


def test_inputs_that_no_run_makes_are_missing(root: Path) -> None:
    write(root, {"run/train.yaml": RUN_TRAIN.replace("WORKSPACE/data", "WORKSPACE/data2")})
    (root / "workspace" / "parameters.yaml").unlink()

    report = check_box(root)

    assert found(report) == [
        ("missing-input", "run/train.yaml", 5, 13),
        ("missing-input", "run/train.yaml", 6, 20),
    ]
    assert exit_status_of(report.problems) == EX_MISSING_INPUT
    assert report.box
    assert len(report.runs) == 2


def test_inputs_of_the_wrong_type_are_missing(root: Path) -> None:
    (root / "workspace" / "parameters.yaml").unlink()
    (root / "workspace" / "parameters.yaml").mkdir()

    (problem,) = check_box(root).problems

    assert problem.message.startswith("the input 'parameters_file' is not a file: ")


def test_inputs_need_not_be_looked_for(root: Path) -> None:
    (root / "workspace" / "parameters.yaml").unlink()

    assert check_box(root, inputs=False).problems == ()


def test_inputs_are_looked_for_in_the_given_workspace(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    assert found(check_box(root, workspace=elsewhere)) == [("missing-input", "run/train.yaml", 6, 20)]

    (root / "workspace" / "parameters.yaml").rename(elsewhere / "parameters.yaml")
    assert check_box(root, workspace=elsewhere).problems == ()
    assert len(check_box(root).problems) == 1


def test_paths_that_cannot_be_used_are_wrong_even_when_inputs_are_not_looked_for(root: Path) -> None:
    write(root, {"run/train.yaml": RUN_TRAIN.replace("model_dir: model", "model_dir: ~/model")})

    assert found(check_box(root, inputs=False)) == [("bad-path", "run/train.yaml", 8, 14)]


def test_sweeps_and_handed_over_platforms_are_checked(root: Path) -> None:
    write(
        root,
        {
            "sweeps/rate.yaml": "schema_version: 1.0.0\nschema_type: mlbox_sweep\nrun: trian\nmethod: grid\n"
            "parameters: {rate: [1]}\n",
            "platforms/ssh.yaml": "host: cellar\nplatform: podman.yaml\n",
        },
    )

    assert found(check_box(root)) == [
        ("missing-file", "platforms/ssh.yaml", 2, 11),
        ("unknown-run", "sweeps/rate.yaml", 3, 6),
    ]


def test_the_box_may_be_given_as_its_file(root: Path) -> None:
    assert check_box(root / "mlbox.yaml") == check_box(root)


def test_without_a_box_nothing_is_checked(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no box"):
        check_box(tmp_path)


def test_links_to_files_and_directories_are_followed(root: Path, tmp_path: Path) -> None:
    for name in ("tasks/train.yaml", "run/train.yaml", "workspace/parameters.yaml", "platforms/docker.yaml"):
        kept = tmp_path / "kept" / name
        kept.parent.mkdir(parents=True, exist_ok=True)
        (root / name).rename(kept)
        (root / name).symlink_to(kept)
    (root / "tasks").rename(tmp_path / "tasks")
    (root / "tasks").symlink_to(tmp_path / "tasks")

    report = check_box(root)

    assert report.problems == ()
    assert (len(report.runs), len(report.platforms)) == (2, 1)


def test_links_that_lead_nowhere_are_problems_at_their_places(root: Path) -> None:
    for name in ("run/train.yaml", "platforms/docker.yaml"):
        (root / name).unlink()
        (root / name).symlink_to("nowhere")
    (root / "platforms" / "loop.yaml").symlink_to("loop.yaml")

    assert found(check_box(root)) == [
        ("missing-file", "run/train.yaml", 0, 0),
        ("missing-file", "platforms/docker.yaml", 0, 0),
        ("unreadable", "platforms/loop.yaml", 0, 0),
    ]


def test_an_input_that_is_a_link_to_nothing_is_missing(root: Path) -> None:
    (root / "workspace" / "parameters.yaml").unlink()
    (root / "workspace" / "parameters.yaml").symlink_to("nowhere")

    (problem,) = check_box(root).problems

    assert problem.message.startswith("the input 'parameters_file' is a link to something that does not exist: ")


def test_a_directory_in_the_place_of_a_file_is_not_a_run(root: Path) -> None:
    (root / "run" / "more.yaml").mkdir()

    assert check_box(root).problems == ()


def test_the_problems_of_hundreds_of_wrong_runs_are_cut_off(root: Path) -> None:
    write(root, {f"run/{number}.yaml": RUN_TRAIN.replace("task_name", "task") for number in range(200)})

    problems = check_box(root).problems

    assert len(problems) == 101
    assert problems[-1].code == "too-many"


def test_checking_writes_nothing_and_starts_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("checking a box has no effect")

    for place, name in (
        (subprocess, "Popen"),
        (os, "system"),
        (os, "fork"),
        (os, "posix_spawn"),
        (os, "mkdir"),
        (os, "makedirs"),
        (socket, "socket"),
    ):
        monkeypatch.setattr(place, name, forbidden)

    def state() -> dict[Path, tuple[int, int]]:
        return {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in (root, *root.rglob("*"))}

    before = state()
    check_box(root)
    assert state() == before


def test_a_broken_box_is_checked_without_effect_too(root: Path) -> None:
    write(root, {"mlbox.yaml": "[", "tasks/train.yaml": "!!python/object/apply:os.mkdir [pwned]"})
    before = sorted(root.rglob("*"))

    check_box(root)

    assert sorted(root.rglob("*")) == before
