"""The tutorial's own commands, on every engine, as root and as an ordinary user: the same bytes everywhere."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mlcommons_box.value import as_data
from tests import engines
from tests.conftest import records_of, write_files
from tests.integration.mnist import copy_of_the_box, metrics, sha256
from tests.integration.test_real_engines import containers_of

BIN = Path(sys.executable).parent
Shell = Callable[..., subprocess.CompletedProcess[str]]


def as_ourselves(argv: Sequence[str], directory: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MLCOMMONS_BOX_CA_BUNDLE": "host"}
    return subprocess.run(argv, cwd=directory, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(params=["root", pytest.param("ordinary user", marks=pytest.mark.engine("ordinary-user"))])
def user(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Desk:
    """Somebody with a copy of the MNIST box and the commands of the tutorial."""

    def __init__(self, request: pytest.FixtureRequest, user: str, directory: Path) -> None:
        self.ordinary = user != "root"
        self.uid = pwd.getpwnam(engines.ACCOUNT).pw_uid if self.ordinary else os.geteuid()
        self.bin: Path = request.getfixturevalue("ordinary_bin") if self.ordinary else BIN
        self.directory = (
            request.getfixturevalue("ordinary_directory") / request.node.name if self.ordinary else directory
        )
        self.root = copy_of_the_box(self.directory)
        self.hand_over()

    def hand_over(self) -> None:
        """All files belong to whoever sits here."""
        subprocess.run(["chown", "-R", f"{self.uid}", str(self.directory)], check=True)

    def __call__(self, line: str) -> subprocess.CompletedProcess[str]:
        """Type a line of the tutorial in the directory of the box."""
        program, *words = line.split()
        argv = [str(self.bin / program), *words]
        if self.ordinary:
            argv = engines.as_ordinary_user("env", "-C", str(self.root), *argv, MLCOMMONS_BOX_CA_BUNDLE="host")
        result = as_ourselves(argv, self.root)
        assert result.returncode == 0, result.stdout + result.stderr
        return result

    def strangers(self) -> list[Path]:
        """What in the box belongs to somebody else."""
        return [path for path in self.root.rglob("*") if path.lstat().st_uid != self.uid]

    def records(self) -> list[dict[str, object]]:
        """The records of all runs."""
        return [as_data(record) for record in records_of(self.root / "workspace")]


@pytest.fixture
def desk(request: pytest.FixtureRequest, user: str, tmp_path: Path) -> Desk:
    return Desk(request, user, tmp_path)


def check_what_was_left(desk: Desk, trained: Path) -> None:
    assert metrics(desk.root)["model_sha256"] == metrics(trained)["model_sha256"]
    for name in ("model/model.keras", "model/metrics.json", "model/learning_curve.png"):
        assert sha256(desk.root / "workspace" / name) == sha256(trained / "workspace" / name), name
    assert desk.strangers() == []
    assert [record["status"] for record in desk.records()] == ["succeeded", "succeeded"]


def train_with_docker(desk: Desk) -> None:
    desk("mlcommons_box_docker configure --mlbox=. --platform=platforms/docker.yaml")
    desk("mlcommons_box_docker run --mlbox=. --platform=platforms/docker.yaml --task=run/download.yaml")
    desk("mlcommons_box_docker run --mlbox=. --platform=platforms/docker.yaml --task=run/train.yaml")


def nothing_runs(desk: Desk, executable: str) -> bool:
    listing = [executable, "ps", "--all", "--format", "{{.Names}}"]
    command = engines.as_ordinary_user(*listing) if desk.ordinary else listing
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return not containers_of(desk.root) & set(names)


@pytest.mark.engine("docker")
@pytest.mark.parametrize("user", ["root"])
def test_docker(desk: Desk, trained: Path) -> None:
    train_with_docker(desk)
    check_what_was_left(desk, trained)
    assert nothing_runs(desk, "docker")


@pytest.mark.engine("podman")
def test_podman(desk: Desk, trained: Path) -> None:
    platform = desk.root / "platforms/docker.yaml"
    platform.write_text(platform.read_text().replace("docker_runtime: docker", "docker_runtime: podman"))
    train_with_docker(desk)
    check_what_was_left(desk, trained)
    assert nothing_runs(desk, "podman")


@pytest.mark.engine("apptainer")
def test_singularity(desk: Desk, trained: Path) -> None:
    """The image's path is changed, as the tutorial says; the recipe's registry is the one of this machine."""
    write_files(
        desk.root,
        {
            name: (desk.root / name).read_text().replace(old, new)
            for name, old, new in (
                ("platforms/singularity.yaml", "/opt/singularity/", "images/"),
                ("build/Singularity.recipe", "From: python", f"From: {engines.REGISTRY}/python"),
            )
        },
    )
    desk("mlcommons_box_singularity configure --mlbox=. --platform=platforms/singularity.yaml")
    desk("mlcommons_box_singularity run --mlbox=. --platform=platforms/singularity.yaml --task=run/download.yaml")
    desk("mlcommons_box_singularity run --mlbox=. --platform=platforms/singularity.yaml --task=run/train.yaml")
    check_what_was_left(desk, trained)
    assert [path.name for path in (desk.root / "workspace/images").iterdir()] == ["mlperf_mlbox_mnist-0.01.simg"]
