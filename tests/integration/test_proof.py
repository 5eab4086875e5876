"""What the record of a real training proves: a replay elsewhere, and every byte that differs, by its name."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from mlcommons_box.run_store import RunStore
from tests.integration.conftest import pristine
from tests.integration.mnist import MLBOX

LOG = """\
        - name: log_dir              #    Path to a directory for log files that this task writes.
          type: directory            #    This is a directory.
"""


def mlbox(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*MLBOX, *map(str, words)], capture_output=True, text=True, check=False)


@pytest.fixture
def box(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained box, so that it can be spoiled; its records name the copy's own files."""
    root = tmp_path / "mnist"
    shutil.copytree(pristine(trained), root, symlinks=True)
    journal = root / "workspace/.mlbox/runs.jsonl"
    journal.write_text(journal.read_text().replace(str(trained), str(root)))
    return root


def changes(box: Path) -> list[tuple[str, str]]:
    """What ``why`` says of the training: kinds and names."""
    done = mlbox("why", box, "--task=train", "--platform=local", "--json")
    assert done.returncode in (0, 1), done.stderr
    return [(each["kind"], each["name"]) for each in json.loads(done.stdout)["train"]["changes"]]


def verified(box: Path) -> list[tuple[str, str]]:
    done = mlbox("verify", "train", "--mlbox", box, "--json")
    assert done.returncode in (0, 1), done.stderr
    return [(change["kind"], change["name"]) for each in json.loads(done.stdout) for change in each["changes"]]


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_record_has_all_that_proves_the_training(box: Path) -> None:
    record = RunStore(box / "workspace").find("train")
    assert record.unproved is None
    assert record.metrics["test_accuracy"] >= 0.97
    assert record.hyperparameters["parameters_file"]["train_epochs"] == 5
    assert record.image["packages"]["keras"]
    assert record.usage["peak_memory"] > 100_000_000
    assert record.usage["cpu_time"] > 1
    assert record.inputs["data_dir"]["size"] > 10_000_000
    assert changes(box) == verified(box) == []


def test_a_byte_of_the_data(box: Path) -> None:
    file = next(path for path in sorted((box / "workspace/data").rglob("*")) if path.is_file())
    flip(file)
    name = f"data_dir/{file.relative_to(box / 'workspace/data')}"
    assert changes(box) == verified(box) == [("input", name)]


def test_a_byte_of_the_code(box: Path) -> None:
    with (box / "build/mnist.py").open("a") as file:
        file.write("#")
    assert changes(box) == verified(box) == [("code", "build/mnist.py")]


def test_a_hyper_parameter(box: Path) -> None:
    file = box / "workspace/parameters/default.parameters.yaml"
    text = file.read_text()
    assert "train_epochs: 5" in text
    file.write_text(text.replace("train_epochs: 5", "train_epochs: 6"))
    assert changes(box) == [("hyperparameter", "train_epochs")]
    assert verified(box) == [("input", "parameters_file")]


def test_a_byte_of_the_model(box: Path) -> None:
    flip(box / "workspace/model/model.keras")
    assert changes(box) == verified(box) == [("output", "model_dir/model.keras")]


def test_another_package_in_the_environment(box: Path) -> None:
    journal = box / "workspace/.mlbox/runs.jsonl"
    keras = RunStore(box / "workspace").find("train").image["packages"]["keras"]
    journal.write_text(journal.read_text().replace(f'"keras": "{keras}"', '"keras": "2.0"'))
    assert changes(box) == [("image", "package keras")]


def test_two_trainings_differ_by_names(box: Path) -> None:
    first = RunStore(box / "workspace").find("train").id
    file = box / "workspace/parameters/default.parameters.yaml"
    file.write_text(file.read_text().replace("train_epochs: 5", "train_epochs: 1"))
    assert mlbox("run", box, "--task=train", "--platform=local", "-q").returncode == 0
    done = mlbox("diff", first, "train", "--mlbox", box, "--json")
    assert done.returncode == 1, done.stderr
    found = {(each["kind"], each["name"]) for each in json.loads(done.stdout)}
    assert {("hyperparameter", "train_epochs"), ("input", "parameters_file"), ("metric", "test_accuracy")} <= found
    assert ("output", "model_dir/model.keras") in found
    assert not {kind for kind, _ in found} & {"code", "image", "binding", "environment"}


@pytest.mark.engine("docker")
def test_a_replay_in_docker_of_what_ran_without_an_engine_is_bit_exact(box: Path, tmp_path: Path) -> None:
    task = box / "tasks/train.yaml"
    declared = task.read_text().replace(LOG, f"{LOG}          reproducible: false\n")
    task.write_text(declared.replace("schema_version: 1.0.0", "schema_version: 1.1.0"))
    assert "reproducible" in declared
    assert mlbox("configure", box, "--platform=docker", "--ca-bundle=host", "-q").returncode == 0
    done = mlbox(
        "replay", "train", "--mlbox", box, "--platform=docker", "--into", tmp_path / "again", "--json", "-q"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout[done.stdout.index("[\n") :])
    assert {each["name"]: each["state"] for each in found} == {
        "log_dir": "differs by nature",
        "model_dir": "bit-exact",
    }
    record = RunStore(tmp_path / "again").find(None)
    assert record.group["kind"] == "replay"
    assert record.image["id"].startswith("sha256:")
