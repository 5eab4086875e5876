"""The MNIST box, run for real by the local runner."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.integration.mnist import metrics, run, sha256


def test_it_learns(trained: Path) -> None:
    accuracy = metrics(trained)["test_accuracy"]
    assert isinstance(accuracy, float)
    assert accuracy >= 0.97


def test_it_leaves_model_metrics_picture_and_logs(trained: Path) -> None:
    workspace = trained / "workspace"
    assert metrics(trained)["model_sha256"] == sha256(workspace / "model/model.keras")
    assert (workspace / "model/learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert "test accuracy" in (workspace / "train_logs/train.log").read_text()
    assert (workspace / "download_logs/download.log").stat().st_size > 0


def test_again_from_scratch_without_network_gives_the_same_bytes(trained: Path) -> None:
    again = run(trained, "--task=train", "-P", "model_dir=model2", "-P", "log_dir=logs2", offline=True)
    assert again.returncode == 0, again.stderr
    for name in ("model.keras", "metrics.json", "learning_curve.png"):
        assert sha256(trained / "workspace/model" / name) == sha256(trained / "workspace/model2" / name)


def test_a_second_run_of_everything_needs_no_network(trained: Path) -> None:
    result = run(trained, "--task=download", offline=True)
    assert result.returncode == 0, result.stderr
    assert "4 of 4 files are already there" in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("optimizer: adma\ntrain_epochs: 1\nbatch_size: 32\n", "adam"),
        ("optimizer: adam\nbatch_size: 32\n", "train_epochs"),
        ("optimizer: adam\ntrain_epochs: 1\nbatch_size: 0\n", "batch_size"),
        ("optimizer: [\n", "YAML"),
    ],
)
def test_a_wrong_parameter_is_a_clear_error(trained: Path, parameters: str, message: str) -> None:
    (trained / "workspace/wrong.yaml").write_text(parameters)
    result = run(trained, "--task=train", "-P", "parameters_file=wrong.yaml", "-P", "model_dir=model3")
    assert result.returncode == 65
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not list((trained / "workspace/model3").iterdir())


def test_a_corrupt_data_file_is_a_clear_error(trained: Path) -> None:
    shutil.copytree(trained / "workspace/data", trained / "workspace/corrupt")
    with (trained / "workspace/corrupt/train-labels-idx1-ubyte").open("r+b") as file:
        file.write(b"\0\0\0\1")
    result = run(trained, "--task=train", "-P", "data_dir=corrupt", "-P", "model_dir=model3")
    assert result.returncode == 65
    assert "train-labels-idx1-ubyte" in result.stderr
    assert "Traceback" not in result.stderr
