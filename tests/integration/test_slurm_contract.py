"""The promises of every runner hold in a job of Slurm, all of them, with every engine, here and by SSH."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlcommons_box.command import Command
from mlcommons_box.contract import ContainerContract, RunnerContract, Scene
from mlcommons_box.contract.scene import BOX
from mlcommons_box.model import Platform, Resources, SlurmOptions
from mlcommons_box.process import capture
from tests.integration.test_real_engines import DOCKERFILE, RECIPE, containers_of
from tests.integration.test_slurm import call, check_that_nothing_is_left, image_of, until
from tests.integration.test_ssh_contract import (
    HOME,
    LOCAL,
    SshContract,
    apptainer_platform,
    docker_platform,
    on_host,
)

SMALL = Resources(cpus=1, memory=200 * 1024**2)


class SlurmContract(RunnerContract):
    """What they have in common; a shell after sbatch is not what it is after a task: the job is still to run."""

    inner = "inner"

    @pytest.fixture
    def platform(self) -> Platform:
        return Platform(name="cluster", runner="slurm", options=SlurmOptions(platform=self.inner), resources=SMALL)

    def test_the_commands_shown_do_the_same_when_pasted_into_a_shell(self, scene: Scene) -> None:
        plan = scene.plan("open(out + '/ran', 'w').write('by hand')")
        scene.runner.prepare(plan, scene.recorder)
        (scene.root / "workspace/out").mkdir()
        for command in scene.runner.commands(plan):
            completed, said = capture(Command(argv=("sh", "-ec", command.shell())))
            assert completed.exit_status == 0, said
        until(lambda: (scene.root / "workspace/.mlbox/runs" / plan.id / "job/status").exists())
        assert scene.out("ran") == "by hand"
        shutil.rmtree(scene.root / "workspace/.mlbox/runs" / plan.id)

    @pytest.fixture(autouse=True)
    def no_job_is_left(self, tmp_path: Path) -> Iterator[None]:
        yield
        check_that_nothing_is_left(tmp_path)


@pytest.mark.engine("slurm")
class TestLocal(SlurmContract):
    inner = "local"


class DockerContract(SlurmContract, ContainerContract):
    """The job makes the image, which all of these nodes then have."""

    executable: str

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def image(cls) -> Iterator[str]:
        name = f"mlbox-contract:{uuid.uuid4().hex[:8]}"
        cls.box_files = {
            "build/Dockerfile": DOCKERFILE,
            "platforms/inner.yaml": docker_platform(cls.executable, name),
        }
        yield name
        call(cls.executable, "rmi", "--force", name)

    @pytest.fixture(autouse=True)
    def no_container_is_left(self, tmp_path: Path) -> Iterator[None]:
        yield
        assert not containers_of(tmp_path) & set(
            call(self.executable, "ps", "--all", "--format={{.Names}}").split()
        )


@pytest.mark.engine("slurm", "docker")
class TestDocker(DockerContract):
    executable = "docker"


@pytest.mark.engine("slurm", "podman")
class TestPodman(DockerContract):
    executable = "podman"


@pytest.mark.engine("slurm", "apptainer")
class TestApptainer(SlurmContract, ContainerContract):
    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def image(cls) -> None:
        image = image_of("act", (RECIPE + BOX["build/act.py"]).encode())
        cls.box_files = {"build/Singularity.recipe": RECIPE, "platforms/inner.yaml": apptainer_platform(image)}


# ---- A cluster that SSH reaches ------------------------------------------------------------------


class SlurmBySshContract(SshContract):
    """The host's own platform is its cluster, whose jobs hand over to 'inside'."""

    slack = 4.0
    cluster = (
        "schema_type: mlbox_slurm\nschema_version: 1.1.0\nplatform: inside\nresources: {cpus: 1, memory: 200M}\n"
    )

    @pytest.fixture(autouse=True)
    def no_job_is_left(self, tmp_path: Path) -> Iterator[None]:
        yield
        check_that_nothing_is_left(tmp_path)


@pytest.mark.engine("slurm", "ssh")
class TestLocalBySsh(SlurmBySshContract):
    box_files = {  # noqa: RUF012
        "platforms/inner.yaml": SlurmBySshContract.cluster,
        "platforms/inside.yaml": LOCAL,
    }


class DockerBySshContract(SlurmBySshContract, ContainerContract):
    executable: str

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def image(cls) -> Iterator[str]:
        name = f"mlbox-contract:{uuid.uuid4().hex[:8]}"
        cls.box_files = {
            "build/Dockerfile": DOCKERFILE,
            "platforms/inner.yaml": cls.cluster,
            "platforms/inside.yaml": docker_platform(cls.executable, name),
        }
        yield name
        assert on_host(cls.executable, "rmi", "--force", name).returncode == 0

    @pytest.fixture(autouse=True)
    def no_container_is_left(self, tmp_path: Path) -> Iterator[None]:
        yield
        listing = on_host(self.executable, "ps", "--all", "--format", "{{.Names}}")
        assert listing.returncode == 0
        assert not containers_of(tmp_path) & set(listing.stdout.split())


@pytest.mark.engine("slurm", "ssh", "docker")
class TestDockerBySsh(DockerBySshContract):
    executable = "docker"


@pytest.mark.engine("slurm", "ssh", "podman")
class TestPodmanBySsh(DockerBySshContract):
    executable = "podman"


@pytest.mark.engine("slurm", "ssh", "apptainer")
class TestApptainerBySsh(SlurmBySshContract, ContainerContract):
    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def image(cls, directory: str) -> None:
        cls.box_files = {
            "build/Singularity.recipe": RECIPE,
            "platforms/inner.yaml": cls.cluster.replace("200M", "2G"),  # the first job makes the image
            "platforms/inside.yaml": apptainer_platform(HOME / directory / "images/act.sif"),
        }
