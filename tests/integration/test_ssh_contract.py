"""The promises of every runner hold on another host as well, all of them, with every engine over there."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlcommons_box.contract import ContainerContract, RunnerContract, Scene
from mlcommons_box.host import SSH_CONFIG_VARIABLE
from mlcommons_box.model import Platform, SshOptions
from tests import engines
from tests.integration.test_real_engines import DOCKERFILE, RECIPE, containers_of

HOME = Path("/home", engines.SSH_ACCOUNT)


SSH = shutil.which("ssh") or "ssh"
LOCAL = "schema_type: mlbox_local\nschema_version: 1.1.0\n"


def docker_platform(executable: str, image: str) -> str:
    return f"schema_type: mlbox_docker\nschema_version: 1.0.0\nimage: {image}\ndocker_runtime: {executable}\n"


def apptainer_platform(image: Path) -> str:
    return f"schema_type: mlbox_singularity\nschema_version: 1.1.0\nimage: {image}\n"


def on_host(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command over there, by hand."""
    command = [SSH, "-F", str(engines.ssh_config()), engines.SSH_HOST, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


class SshContract(RunnerContract):
    """What they have in common: the platform that the host hands over to is called 'inner'."""

    is_remote = True
    slack = 3.0

    @pytest.fixture(scope="class")
    @classmethod
    def directory(cls) -> Iterator[str]:
        name = f"mlbox-contract-{uuid.uuid4().hex[:8]}"
        yield name
        shutil.rmtree(HOME / name)

    @pytest.fixture
    def platform(self, directory: str, monkeypatch: pytest.MonkeyPatch) -> Platform:
        monkeypatch.setenv(SSH_CONFIG_VARIABLE, str(engines.ssh_config()))
        options = SshOptions(
            host=engines.SSH_HOST, platform="inner", directory=f"{directory}/{uuid.uuid4().hex[:8]}"
        )
        return Platform(name="lab", runner="ssh", options=options)

    def test_the_commands_shown_do_the_same_when_pasted_into_a_shell(self, scene: Scene) -> None:
        """Only the host could tell all of them, and it is not asked."""
        shown = [command.shell() for command in scene.runner.commands(scene.plan(""))]
        assert [line.split()[0] for line in shown] == ["rsync", "ssh"]


@pytest.mark.engine("ssh")
class TestLocal(SshContract):
    box_files = {"platforms/inner.yaml": LOCAL}  # noqa: RUF012


class DockerContract(SshContract, ContainerContract):
    executable: str

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def image(cls) -> Iterator[str]:
        """An image of its own, whose name the box has to know before it is made."""
        name = f"mlbox-contract:{uuid.uuid4().hex[:8]}"
        cls.box_files = {
            "build/Dockerfile": DOCKERFILE,
            "platforms/inner.yaml": docker_platform(cls.executable, name),
        }
        yield name
        assert on_host(cls.executable, "rmi", "--force", name).returncode == 0

    @pytest.fixture(autouse=True)
    def nothing_is_left(self, tmp_path: Path) -> Iterator[None]:
        yield
        listing = on_host(self.executable, "ps", "--all", "--format", "{{.Names}}")
        assert listing.returncode == 0
        assert not containers_of(tmp_path) & set(listing.stdout.split())


@pytest.mark.engine("ssh", "docker")
class TestDocker(DockerContract):
    executable = "docker"


@pytest.mark.engine("ssh", "podman")
class TestPodman(DockerContract):
    executable = "podman"


@pytest.mark.engine("ssh", "apptainer")
class TestApptainer(SshContract, ContainerContract):
    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def image(cls, directory: str) -> None:
        image = HOME / directory / "images/act.sif"
        cls.box_files = {
            "build/Singularity.recipe": RECIPE,
            "platforms/inner.yaml": apptainer_platform(image),
        }
