"""Which platform a box runs on where nobody has named one."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlcommons_box import selection
from mlcommons_box.definition.remembered import RememberedDefinitions
from mlcommons_box.errors import ConfigurationError, DefinitionError, UsageError
from mlcommons_box.model import Platform
from mlcommons_box.planning import SetupPlan
from mlcommons_box.runners.docker import DockerRunner
from mlcommons_box.runners.singularity import SingularityRunner
from mlcommons_box.selection import PLATFORM_VARIABLE
from tests.conftest import MakeBox

DOCKER = "schema_version: 1.0.0\nschema_type: mlbox_docker\nimage: example/echo:1\ndocker_runtime: docker\n"
PODMAN = DOCKER.replace("docker_runtime: docker", "docker_runtime: podman").replace("1.0.0", "1.1.0")
SINGULARITY = "schema_version: 1.0.0\nschema_type: mlbox_singularity\nimage: echo.sif\n"
SLURM = "schema_version: 1.1.0\nschema_type: mlbox_slurm\nplatform: docker.yaml\n"


def select_platform(root: Path, given: str | None, runner: str | None = None) -> Platform:
    """The platform that a command would run the box on."""
    definitions = RememberedDefinitions(root, root.parent / "cache")
    return selection.select_platform(definitions, definitions.load_box(), given, runner)


def engines(monkeypatch: pytest.MonkeyPatch, *usable: str) -> None:
    """Which clients this machine seems to have."""

    def docker(self: DockerRunner, plan: SetupPlan) -> bool:
        return self.options.executable in usable

    monkeypatch.setattr(DockerRunner, "is_available", docker)
    monkeypatch.setattr(SingularityRunner, "is_available", lambda self, plan: "apptainer" in usable)


@pytest.fixture(autouse=True)
def _nobody_named_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PLATFORM_VARIABLE)


@pytest.fixture
def root(make_box: MakeBox) -> Path:
    """A box with platforms whose order by name is not the order of preference."""
    files = {"a-sif": SINGULARITY, "b-podman": PODMAN, "c-docker": DOCKER, "d-docker": DOCKER}
    return make_box({f"platforms/{name}.yaml": text for name, text in files.items()})


@pytest.mark.parametrize(
    ("usable", "chosen"),
    [
        (("docker", "podman", "apptainer"), "b-podman"),
        (("docker", "apptainer"), "c-docker"),
        (("apptainer",), "a-sif"),
        ((), "local"),
    ],
)
def test_docker_comes_before_singularity_and_that_before_no_container(
    root: Path, monkeypatch: pytest.MonkeyPatch, usable: tuple[str, ...], chosen: str
) -> None:
    engines(monkeypatch, *usable)
    assert select_platform(root, None).name == chosen


def test_a_box_without_platforms_runs_locally_whatever_is_here(
    make_box: MakeBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines(monkeypatch, "docker", "podman", "apptainer")
    platform = select_platform(make_box(), None)
    assert (platform.name, platform.runner, platform.file) == ("local", "local", None)


def test_other_machines_are_never_chosen_by_themselves(make_box: MakeBox, monkeypatch: pytest.MonkeyPatch) -> None:
    engines(monkeypatch, "apptainer")
    root = make_box({"platforms/cluster.yaml": SLURM, "platforms/docker.yaml": DOCKER})
    assert select_platform(root, None).name == "local"


def test_the_variable_names_one_and_the_flag_has_the_last_word(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines(monkeypatch, "docker", "podman", "apptainer")
    monkeypatch.setenv(PLATFORM_VARIABLE, "a-sif")
    assert select_platform(root, None).name == "a-sif"
    assert select_platform(root, "local").name == "local"
    monkeypatch.setenv(PLATFORM_VARIABLE, "")
    assert select_platform(root, None).name == "b-podman"


def test_a_variable_that_names_no_platform_of_the_box_is_an_error(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PLATFORM_VARIABLE, "c-dokcer")
    with pytest.raises(UsageError, match="c-dokcer"):
        select_platform(root, None)


def test_a_command_for_one_runner_neither_asks_the_variable_nor_takes_another(
    root: Path, make_box: MakeBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PLATFORM_VARIABLE, "a-sif")
    other = make_box({"platforms/docker.yaml": DOCKER}, name="other")
    assert select_platform(other, None, runner="docker").name == "docker"
    with pytest.raises(ConfigurationError, match="for the singularity runner, not for docker"):
        select_platform(root, "a-sif", runner="docker")


@pytest.mark.parametrize("usable", [(), ("docker",)])
def test_a_broken_platform_file_is_reported_and_not_passed_over(
    make_box: MakeBox, monkeypatch: pytest.MonkeyPatch, usable: tuple[str, ...]
) -> None:
    engines(monkeypatch, *usable)
    root = make_box({"platforms/docker.yaml": DOCKER, "platforms/new.yaml": DOCKER.replace("image", "imgae")})
    with pytest.raises(DefinitionError) as caught:
        select_platform(root, None)
    places = {Path(problem.location.file).name for problem in caught.value.problems if problem.location}
    assert places == {"new.yaml"}
    assert select_platform(root, "docker").name == "docker"
