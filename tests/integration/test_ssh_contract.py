"""The promises of every runner hold on another host as well, with every engine over there.

What is the same for every engine is tried with two of them, and by samples: test_fake_ssh.py has all.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlcommons_box.contract import ContainerContract, RunnerContract, Scene
from mlcommons_box.host import SSH_CONFIG_VARIABLE
from mlcommons_box.model import Platform, SshOptions
from mlcommons_box.run_store import RunStore
from tests import engines
from tests.integration.test_real_engines import DOCKERFILE, RECIPE

HOME = Path("/home", engines.SSH_ACCOUNT)


SSH = shutil.which("ssh") or "ssh"


def on_host(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command over there, by hand."""
    command = [SSH, "-F", str(engines.ssh_config()), engines.SSH_HOST, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


class SshContract(RunnerContract):
    """What they have in common."""

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

    @pytest.mark.parametrize("status", [1, 125, 255])
    def test_the_task_s_own_exit_status_comes_through(self, scene: Scene, status: int) -> None:
        super().test_the_task_s_own_exit_status_comes_through(scene, status)

    @pytest.mark.parametrize("name", ["quotes ' and \"", "comma,colon:\nline", "-données $(touch x) *?[a]\\"])
    def test_odd_names_are_names_and_nothing_else(self, name: str, platform: Platform, tmp_path: Path) -> None:
        super().test_odd_names_are_names_and_nothing_else(name, platform, tmp_path)

    @pytest.mark.parametrize("number", [signal.SIGINT])
    def test_an_interrupt_ends_everything_and_is_told_apart_from_a_failure(self, scene: Scene, number: int) -> None:
        super().test_an_interrupt_ends_everything_and_is_told_apart_from_a_failure(scene, number)

    def test_the_commands_shown_do_the_same_when_pasted_into_a_shell(self, scene: Scene) -> None:
        """Only the host could tell all of them, and it is not asked."""
        shown = [command.shell() for command in scene.runner.commands(scene.plan(""))]
        assert [line.split()[0] for line in shown] == ["rsync", "ssh"]


@pytest.mark.engine("ssh")
class TestLocal(SshContract):
    box_files = {"platforms/inner.yaml": "schema_type: mlbox_local\nschema_version: 1.1.0\n"}  # noqa: RUF012


class DockerContract(SshContract, ContainerContract):
    executable: str

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def image(cls) -> Iterator[str]:
        """An image of its own, whose name the box has to know before it is made."""
        name = f"mlbox-contract:{uuid.uuid4().hex[:8]}"
        text = f"schema_type: mlbox_docker\nschema_version: 1.0.0\nimage: {name}\n"
        text += f"docker_runtime: {cls.executable}\n"
        cls.box_files = {"build/Dockerfile": DOCKERFILE, "platforms/inner.yaml": text}
        yield name
        assert on_host(cls.executable, "rmi", "--force", name).returncode == 0

    @pytest.fixture(autouse=True)
    def nothing_is_left(self, scene: Scene) -> Iterator[None]:
        yield
        listing = on_host(self.executable, "ps", "--all", "--format", "{{.Names}}")
        assert listing.returncode == 0
        runs = {f"mlbox-{run_id}" for run_id in RunStore(scene.root / "workspace").ids()}
        assert not runs & set(listing.stdout.split())


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
        text = "schema_type: mlbox_singularity\nschema_version: 1.0.0\n"
        text += f"image: {HOME / directory}/images/act.sif\n"
        cls.box_files = {"build/Singularity.recipe": RECIPE, "platforms/inner.yaml": text}


for kind in (TestPodman, TestApptainer):
    for name in (
        "test_a_task_that_a_signal_ends_has_failed",
        "test_a_task_that_ignores_the_request_to_end_is_killed",
        "test_a_tool_that_is_missing_is_named_before_anything_starts",
        "test_output_comes_as_it_is_written",
        "test_output_is_bytes_and_passes_unchanged",
        "test_the_commands_shown_do_the_same_when_pasted_into_a_shell",
        "test_the_record_says_what_happened",
        "test_the_task_has_no_standard_input_to_wait_for",
        "test_runs_work_outside_the_main_thread",
    ):
        setattr(kind, name, None)
