"""How each engine is told which GPUs a run has for itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlcommons_box.model import (
    DockerOptions,
    EnvironmentVariable,
    LocalOptions,
    Platform,
    PlatformOptions,
    Resources,
    SingularityOptions,
)
from mlcommons_box.runners.container_run import Caller
from mlcommons_box.runners.docker import DockerRunner
from mlcommons_box.runners.interface import Runner
from mlcommons_box.runners.local import LocalRunner
from mlcommons_box.runners.singularity import SingularityRunner
from mlcommons_box.value import replace
from tests.conftest import MakeBox
from tests.golden.container_plans import CALLER, run_plan

ENVIRON = {**CALLER, "CUDA_VISIBLE_DEVICES": "0,1,2,3", "MLCOMMONS_BOX_INSTALLER": "pip"}
OPTIONS: dict[str, PlatformOptions] = {
    "docker": DockerOptions(image="x"),
    "nvidia-docker": DockerOptions(image="x", executable="nvidia-docker"),
    "podman": DockerOptions(image="x", executable="podman"),
    "singularity": SingularityOptions(image="/x.sif"),
    "local": LocalOptions(),
}


def line_of(
    root: Path, name: str, devices: tuple[str, ...], resources: Resources, *variables: EnvironmentVariable
) -> str:
    platform = Platform(name=name, runner=name, options=OPTIONS[name], resources=resources, environment=variables)
    caller = Caller(uid=1000, gid=1000)
    runner: Runner
    if name == "local":
        runner = LocalRunner(platform, ENVIRON)
    elif name == "singularity":
        (root / "build/Singularity.recipe").touch()
        runner = SingularityRunner(platform, ENVIRON, caller)
    else:
        runner = DockerRunner(platform, ENVIRON, caller, selinux=False)
    plan = replace(run_plan(root, platform), devices=devices)
    return next(line for each in runner.commands(plan) if " copy " in (line := each.shell(ENVIRON)))


@pytest.mark.parametrize("gpus", [None, 1, "all"])
@pytest.mark.parametrize(
    ("name", "devices", "words"),
    [
        ("docker", ("1",), "--gpus device=1 x copy"),
        ("docker", ("0", "GPU-8932f937"), "--gpus '\"device=0,GPU-8932f937\"' x copy"),
        ("nvidia-docker", ("2",), "--gpus device=2 x copy"),
        ("podman", ("1", "3"), "--device nvidia.com/gpu=1 --device nvidia.com/gpu=3 x copy"),
        ("singularity", ("1", "3"), "APPTAINERENV_CUDA_VISIBLE_DEVICES=1,3 apptainer"),
        ("singularity", ("1",), "--nv /x.sif copy"),
        ("local", ("1", "3"), " CUDA_VISIBLE_DEVICES=1,3 "),
    ],
)
def test_a_run_is_given_its_own_gpus(
    make_box: MakeBox, name: str, devices: tuple[str, ...], words: str, gpus: int | None
) -> None:
    line = line_of(make_box(), name, devices, Resources(gpus=gpus))
    assert words in line


@pytest.mark.parametrize("name", ["local", "singularity"])
def test_the_platform_file_has_the_last_word(make_box: MakeBox, name: str) -> None:
    variable = EnvironmentVariable(name="CUDA_VISIBLE_DEVICES", value="7")
    assert "CUDA_VISIBLE_DEVICES=7" in line_of(make_box(), name, ("1",), Resources(), variable)
