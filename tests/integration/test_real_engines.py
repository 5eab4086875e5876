"""The container runners keep their promises on the real engines, as root and as an ordinary user."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlcommons_box.contract import ContainerContract, Scene
from mlcommons_box.model import DockerOptions, Platform, SingularityOptions
from tests import engines

DOCKERFILE = f"""\
FROM {engines.BASE_IMAGE}
COPY act.py /act.py
RUN chmod a+r /act.py
ENTRYPOINT ["python3", "/act.py"]
"""
RECIPE = f"""\
Bootstrap: docker
From: {engines.REGISTRY}/{engines.BASE_IMAGE}

%files
    act.py /act.py

%post
    chmod a+r /act.py

%runscript
    exec python3 /act.py "$@"
"""


def containers_of(place: Path) -> set[str]:
    """What the containers of all runs are called whose box is below a directory."""
    return {f"mlbox-{run.name}" for run in place.rglob(".mlbox/runs/*")}


class DockerContract(ContainerContract):
    """What Docker and Podman have in common."""

    box_files = {"build/Dockerfile": DOCKERFILE}  # noqa: RUF012
    executable: str

    @pytest.fixture(scope="class")
    @classmethod
    def image(cls) -> Iterator[str]:
        name = f"mlbox-contract:{uuid.uuid4().hex[:8]}"
        yield name
        subprocess.run([cls.executable, "rmi", "--force", name], check=True, capture_output=True)

    @pytest.fixture
    def platform(self, image: str) -> Platform:
        options = DockerOptions(image=image, executable=self.executable)
        return Platform(name=self.executable, runner="docker", options=options)

    @pytest.fixture(autouse=True)
    def nothing_is_left(self, tmp_path: Path) -> Iterator[None]:
        program = str(shutil.which(self.executable))
        yield
        listing = [program, "ps", "--all", "--format", "{{.Names}}"]
        left = subprocess.run(listing, check=True, capture_output=True, text=True).stdout
        assert not containers_of(tmp_path) & set(left.split())


@pytest.mark.engine("docker")
class TestDocker(DockerContract):
    executable = "docker"


@pytest.mark.engine("podman")
class TestPodman(DockerContract):
    executable = "podman"


@pytest.mark.engine("apptainer")
class TestApptainer(ContainerContract):
    box_files = {"build/Singularity.recipe": RECIPE}  # noqa: RUF012

    @pytest.fixture(scope="class")
    @classmethod
    def image(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("images") / "act.sif"

    @pytest.fixture
    def platform(self, image: Path) -> Platform:
        return Platform(name="apptainer", runner="singularity", options=SingularityOptions(image=str(image)))

    def test_its_scratch_directory_is_real_and_gone_afterwards(
        self, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scene.runner.prepare(scene.plan(""), scene.recorder)
        monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
        script = (
            "import shutil; open('/tmp/x', 'wb').write(bytes(100_000_000)); print(shutil.disk_usage('/tmp').total)"
        )
        assert scene.act(script).status == "succeeded"
        assert int(scene.recorder.text("stdout")) > 100_000_000
        assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.engine("podman", "apptainer", "ordinary-user")
def test_an_ordinary_user_has_the_same_promises(
    ordinary_bin: Path, ordinary_checkout: Path, ordinary_directory: Path
) -> None:
    """This very file, run by somebody who is not root; Docker's socket is for root."""
    assert os.geteuid() == 0
    arguments = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "TestPodman or TestApptainer"]
    # A directory of its own: pytest need not look through those of earlier runs, which it may not all read.
    place = ordinary_directory / "contract"
    place.mkdir()
    shutil.chown(place, engines.ACCOUNT)
    arguments += ["--basetemp", str(place / "pytest")]
    command = engines.as_ordinary_user(
        str(ordinary_bin / "python"), *arguments, str(ordinary_checkout / "tests/integration/test_real_engines.py"),
        **{engines.VARIABLE: "podman,apptainer", "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ordinary_checkout)
    assert result.returncode == 0, result.stdout[-20_000:] + result.stderr
    assert " passed" in result.stdout


@pytest.mark.parametrize(
    "executable", [pytest.param(name, marks=pytest.mark.engine(name)) for name in ("docker", "podman", "apptainer")]
)
def test_what_is_mounted_below_an_input_cannot_be_changed_either(executable: str, tmp_path: Path) -> None:
    """Engines make a mount read-only, and not what this machine has mounted below it."""
    if executable == "apptainer":
        files, options = {"build/Singularity.recipe": RECIPE}, SingularityOptions(image="act.sif")
        platform = Platform(name="p", runner="singularity", options=options)
    else:
        files, docker = {"build/Dockerfile": DOCKERFILE}, DockerOptions(image="mlbox-below", executable=executable)
        platform = Platform(name="p", runner="docker", options=docker)
    inputs = "inputs: [{name: script, type: file}, {name: data, type: directory}]"
    scene = Scene(tmp_path / "box", platform, files)
    scene.write(
        {
            "tasks/act.yaml": (scene.root / "tasks/act.yaml").read_text().replace(
                "inputs: [{name: script, type: file}]", inputs
            ),
            "run/act.yaml": (scene.root / "run/act.yaml").read_text().replace(
                "{script: script.py}", "{script: script.py, data: data}"
            ),
            "workspace/data/below it/x": "",
        }
    )  # fmt: skip
    below = scene.root / "workspace/data/below it"
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(below)], check=True)
    try:
        outcome = scene.act("data = argv[3].split('=', 1)[1]\nopen(data + '/below it/new', 'w')")
        left = list(below.iterdir())
    finally:
        subprocess.run(["umount", str(below)], check=True)
    if executable != "apptainer":
        subprocess.run([executable, "rmi", "--force", "mlbox-below"], check=True, capture_output=True)
    assert outcome.exit_status == 1
    assert b"Read-only file system" in scene.recorder.text("stderr")
    assert left == []
