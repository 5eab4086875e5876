"""What the record of a real training proves: a replay elsewhere, and every byte that differs, by its name.

The same of a byte of a real image.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlcommons_box.host import SSH_CONFIG_VARIABLE
from mlcommons_box.record import RunRecord
from mlcommons_box.run_store import RunStore
from tests import engines
from tests.conftest import ECHO_BOX, MakeBox, records_of, write_files
from tests.integration.conftest import pristine
from tests.integration.mnist import MLBOX
from tests.integration.test_ssh_contract import HOME

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


def changes(box: Path, task: str = "train", platform: str = "local") -> list[tuple[str, str]]:
    """What ``why`` says of the training, or of another task: kinds and names."""
    done = mlbox("why", box, f"--task={task}", f"--platform={platform}", "--json")
    assert done.returncode in (0, 1), done.stderr
    return [(each["kind"], each["name"]) for each in json.loads(done.stdout)[task]["changes"]]


def verified(box: Path, run: str = "train") -> list[tuple[str, str]]:
    done = mlbox("verify", run, "--mlbox", box, "--json")
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


RECIPE = {
    "Dockerfile": f'FROM {engines.BASE_IMAGE}\nCOPY echo.py word.txt /\nENTRYPOINT ["python3", "/echo.py"]\n',
    "echo.py": ECHO_BOX["build/echo.py"] + "shutil.copy('/word.txt', paths['logs'] + '/word.txt')\n",
    "word.txt": "word\n",
}
"""An image whose task copies a file of it to an output."""
WORD = ("output", "logs/word.txt")
IN_BUILD = {f"build/{name}": text for name, text in RECIPE.items()}


class Image:
    """The name of an image that is nobody else's."""

    def __init__(self, executable: str) -> None:
        self.executable = executable
        self.name = f"mlbox-proof:{uuid.uuid4().hex[:8]}"
        self.ids: set[str] = set()

    @property
    def platform(self) -> dict[str, str]:
        text = f"image: {self.name}\ndocker_runtime: {self.executable}\n"
        return {"platforms/p.yaml": f"schema_type: mlbox_docker\nschema_version: 1.1.0\n{text}"}

    def call(self, *words: str | Path) -> str:
        command = [self.executable, *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def build(self, directory: Path) -> str:
        """Make it without mlbox; its id."""
        self.call("build", "--tag", self.name, directory)
        return self.id()

    def id(self) -> str:
        found = self.call("image", "inspect", "--format", "{{.Id}}", self.name).removeprefix("sha256:")
        self.ids.add(found)
        return f"sha256:{found}"


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.engine(name)) for name in ("docker", "podman")])
def image(request: pytest.FixtureRequest) -> Iterator[Image]:
    made = Image(request.param)
    yield made
    made.call("rmi", "--force", *made.ids)


def run(root: Path, *words: str) -> RunRecord:
    """Run what is not up to date; the latest record."""
    done = mlbox("run", root, "--platform=p", "--skip-unchanged", "-q", *words)
    assert done.returncode == 0, done.stderr
    return records_of(root / "workspace")[-1]


def told_apart(root: Path, first: RunRecord, second: RunRecord) -> dict[tuple[str, str], tuple[str, str]]:
    """What ``diff`` says, and from what to what it changed."""
    done = mlbox("diff", first.id, second.id, "--mlbox", root, "--json")
    assert done.returncode == 1, done.stderr
    return {(each["kind"], each["name"]): (each["before"], each["after"]) for each in json.loads(done.stdout)}


def test_a_byte_of_an_image_that_was_made_elsewhere(image: Image, make_box: MakeBox, tmp_path: Path) -> None:
    recipe = write_files(tmp_path / "recipe", RECIPE)
    before = image.build(recipe)
    root = make_box(image.platform)
    first = run(root)
    assert first.image["id"] == before
    assert changes(root, "copy", "p") == []
    flip(recipe / "word.txt")
    after = image.build(recipe)
    assert before != after
    why = mlbox("why", root, "--platform=p")
    assert (why.returncode, f"image  id  '{before}' became '{after}'" in why.stdout) == (1, True)
    assert changes(root, "copy", "p") == [("image", "id")]
    assert (
        verified(root, first.id) == []
    )  # the files are all as they were; which image is called so now is no matter
    second = run(root)
    assert (second.id != first.id, second.image["id"]) == (True, after)
    assert run(root).id == second.id
    found = told_apart(root, first, second)
    assert set(found) == {("image", "id"), WORD}
    assert found["image", "id"] == (before, after)
    assert verified(root, first.id) == [WORD]
    assert verified(root, second.id) == []


def test_a_byte_of_what_an_image_is_made_from(image: Image, make_box: MakeBox) -> None:
    """Until it is made anew, nobody can say of a run that its code is that of ``build/``."""
    root = make_box({**image.platform, **IN_BUILD})
    first = run(root)
    assert first.image["id"] == image.id()
    flip(root / "build/word.txt")
    assert changes(root, "copy", "p") == verified(root, first.id) == [("code", "build/word.txt")]
    stale = run(root)
    assert stale.image["id"] == first.image["id"]
    assert stale.unproved == f"build/ has changed since {image.name} was built"
    assert changes(root, "copy", "p") == changes(root, "copy", "local") == [("record", "copy")]
    assert mlbox("configure", root, "--platform=p", "-q").returncode == 0
    second = run(root)
    assert second.image["id"] == image.id() != first.image["id"]
    assert changes(root, "copy", "p") == []
    assert set(told_apart(root, first, second)) == {("code", "build/word.txt"), ("image", "id"), WORD}


@pytest.mark.engine("docker", "ssh")
def test_a_byte_of_what_an_image_on_another_host_is_made_from(
    make_box: MakeBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SSH_CONFIG_VARIABLE, str(engines.ssh_config()))
    image = Image("docker")
    there = f"mlbox-proof-{uuid.uuid4().hex[:8]}"
    host = f"schema_type: mlbox_ssh\nschema_version: 1.1.0\nhost: {engines.SSH_HOST}\ndirectory: {there}\n"
    inner = {
        "platforms/inner.yaml": image.platform["platforms/p.yaml"],
        "platforms/p.yaml": f"{host}platform: inner\n",
    }
    root = make_box({**inner, **IN_BUILD})
    try:
        first = run(root)
        assert first.image["id"] == image.id()
        assert changes(root, "copy", "p") == []
        flip(root / "build/word.txt")
        assert changes(root, "copy", "p") == [("code", "build/word.txt")]
        assert run(root).image["id"] == first.image["id"]
        assert changes(root, "copy", "p") == [("record", "copy")]
        assert mlbox("configure", root, "--platform=p", "-q").returncode == 0
        second = run(root)
        assert second.image["id"] == image.id() != first.image["id"]
        assert changes(root, "copy", "p") == []
    finally:
        shutil.rmtree(HOME / there)
        image.call("rmi", "--force", *image.ids)
