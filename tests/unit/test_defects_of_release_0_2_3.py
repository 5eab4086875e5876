"""What release 0.2.3 did wrong, as its users met it; one test for each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlcommons_box.cli.drop_in import docker
from mlcommons_box.cli.main import main
from mlcommons_box.errors import EX_CONFIGURATION, EX_DEFINITION, EX_MISSING_INPUT
from tests.conftest import REPOSITORY, MakeBox

PUBLISHED = REPOSITORY / "tests/definitions/valid/published"
DOCKER = "schema_type: mlbox_docker\nschema_version: 1.0.0\nimage: {}\ndocker_runtime: docker\n"
RUN = "schema_type: mlbox_invoke\nschema_version: 1.0.0\ntask_name: copy\n"


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    def read() -> str:
        captured = capsys.readouterr()
        return captured.out + captured.err

    return read


@pytest.mark.parametrize("box", ["mnist", "hello_world"])
def test_its_own_boxes_were_refused_by_its_own_check(box: str) -> None:
    assert main(["validate", "--no-inputs", str(PUBLISHED / box)]) == 0


def test_its_own_ssh_platform_was_refused_by_its_own_runner(said: Callable[[], str]) -> None:
    assert main(["describe", str(PUBLISHED / "mnist"), "--json"]) == 0
    assert '"runner": "ssh"' in said()


@pytest.mark.parametrize("name", ["eval", "yaml", "lay.yam"])
def test_letters_of_yaml_were_cut_off_a_task_s_name(name: str, make_box: MakeBox, said: Callable[[], str]) -> None:
    root = make_box()
    (root / "run/copy.yaml").rename(root / f"run/{name}.yaml")
    assert main(["run", str(root), f"--task={name}", "--dry-run"]) == 0
    assert f"/{name}" not in said()


def test_a_binding_that_was_missing_was_accepted(make_box: MakeBox, said: Callable[[], str]) -> None:
    root = make_box({"run/copy.yaml": RUN + "input_binding: {source: in.txt}\noutput_binding: {target: a}\n"})
    assert main(["run", str(root), "--dry-run"]) == EX_DEFINITION
    assert "the output 'logs' of the task 'copy' is not bound" in said()


def test_a_binding_that_was_not_declared_was_a_key_error(make_box: MakeBox, said: Callable[[], str]) -> None:
    root = make_box(
        {"run/copy.yaml": RUN + "input_binding: {sauce: in.txt}\noutput_binding: {target: a, logs: b}\n"}
    )
    assert main(["run", str(root), "--dry-run"]) == EX_DEFINITION
    text = said()
    assert "the task 'copy' has no input 'sauce'; did you mean 'source'?" in text
    assert "Traceback" not in text


def test_relative_paths_became_named_volumes(
    make_box: MakeBox, said: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_box({"platforms/docker.yaml": DOCKER.format("a")})
    monkeypatch.chdir(root.parent)
    put_docker_on_the_path(root.parent, monkeypatch)
    words = [root.name, "--platform=docker", "-P", "target=out/x", "-P", "logs=logs", "--dry-run"]
    assert main(["run", *words]) == 0
    assert f"source={root.resolve()}/workspace/out,target=/mlbox_io1" in said()


def test_missing_inputs_were_made_as_empty_directories(make_box: MakeBox) -> None:
    root = make_box({"workspace/in.txt": None})
    assert main(["run", str(root)]) == EX_MISSING_INPUT
    assert not (root / "workspace/in.txt").exists()


def test_the_docker_runner_took_a_singularity_platform(make_box: MakeBox) -> None:
    platform = "schema_type: mlbox_singularity\nschema_version: 1.0.0\nimage: a.sif\n"
    root = make_box({"platforms/singularity.yaml": platform})
    for command in (["configure"], ["run", "--task=run/copy.yaml"]):
        words = [*command, f"--mlbox={root}", "--platform=platforms/singularity.yaml"]
        assert docker(words) == EX_CONFIGURATION


def test_the_name_of_an_image_was_run_by_a_shell(make_box: MakeBox, said: Callable[[], str]) -> None:
    root = make_box({"platforms/docker.yaml": DOCKER.format("'x; touch y'")})
    assert main(["run", str(root), "--platform=docker", "--dry-run"]) == EX_DEFINITION
    assert "expected a Docker image name" in said()


def test_passwords_of_proxies_were_printed(
    make_box: MakeBox, said: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_box({"platforms/docker.yaml": DOCKER.format("a"), "build/Dockerfile": "FROM b\n"})
    put_docker_on_the_path(root.parent, monkeypatch)
    monkeypatch.setenv("https_proxy", "http://me:geheim@proxy.example:3128")
    for command in ("configure", "run"):
        for platform in ("docker", "local"):
            main([command, str(root), f"--platform={platform}", "--dry-run", *(["-v"] if command == "run" else [])])
    text = said()
    assert "https_proxy" in text
    assert "geheim" not in text


def put_docker_on_the_path(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that is there, and that no dry run ever starts."""
    program = directory / "bin/docker"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
