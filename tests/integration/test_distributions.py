"""The distributions, as a user installs them."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mlcommons_box import __version__
from tests.conftest import REPOSITORY

KINDS = ("docker", "singularity", "ssh", "k8s")
PROJECTS = (".", *(f"packages/mlcommons-box-{kind}" for kind in KINDS))


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All wheels."""
    directory = tmp_path_factory.mktemp("dist")
    for project in PROJECTS:
        subprocess.run(
            [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(directory), project],
            cwd=REPOSITORY,
            check=True,
            capture_output=True,
        )
    return directory


def test_the_tutorial_s_installation_command_works_from_this_repository(dist: Path, tmp_path: Path) -> None:
    python = tmp_path / "env/bin/python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    environment = {**os.environ, "PIP_FIND_LINKS": f"{dist} {os.environ.get('PIP_FIND_LINKS', '')}".strip()}
    subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", *(f"mlcommons-box-{kind}" for kind in KINDS)],
        env=environment,
        check=True,
    )
    for command in ("mlbox", "mlcommons_box", *(f"mlcommons_box_{kind}" for kind in KINDS)):
        said = subprocess.check_output([str(python.parent / command), "--version"], text=True)
        assert said == f"mlcommons-box {__version__}\n"
    new = tmp_path / "new"
    subprocess.run([str(python.parent / "mlbox"), "init", str(new)], check=True)
    subprocess.run([str(python.parent / "mlbox"), "run", "--platform=local", str(new)], check=True)
    assert (new / "workspace/model/metrics.json").is_file()


def test_the_wheel_holds_what_the_software_needs_and_nothing_else(dist: Path) -> None:
    (wheel,) = dist.glob("mlcommons_box-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for needed in (
        "mlcommons_box/py.typed",
        "mlcommons_box/definition/schemas/mlbox_task.json",
        "mlcommons_box/cli/new_box/build/Dockerfile",
        "mlcommons_box/cli/new_box/workspace/data/points.csv",
        "mlcommons_box_docker/__main__.py",
    ):
        assert needed in names
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"mlcommons_box", "mlcommons_box_slurm", *(f"mlcommons_box_{kind}" for kind in KINDS)}


def test_the_thin_distributions_hold_no_code(dist: Path) -> None:
    for kind in KINDS:
        (wheel,) = dist.glob(f"mlcommons_box_{kind}-*.whl")
        assert all(".dist-info/" in name for name in zipfile.ZipFile(wheel).namelist())
