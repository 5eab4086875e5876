"""What release 0.2.3 did wrong, as its users met it; one test for each."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from mlcommons_box.cli.drop_in import docker
from mlcommons_box.cli.main import main
from mlcommons_box.contract import Recorder
from mlcommons_box.errors import EX_CONFIGURATION, EX_DEFINITION, EX_MISSING_INPUT
from mlcommons_box.host import Login
from mlcommons_box.runners.submitted_run import SubmittedRun, follow
from mlcommons_box.runners.transfer import Output
from tests.conftest import REPOSITORY, MakeBox, write_files
from tests.unit.test_follower import Leaving

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


# ---- Other hosts ---------------------------------------------------------------------------------


def ssh_lines(root: Path, said: Callable[[], str]) -> list[str]:
    """The commands of a run on another host; none is started."""
    assert main(["run", str(root), "--platform=lab", "--dry-run"]) == 0
    return said().splitlines()


@pytest.fixture
def with_ssh(make_box: MakeBox, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A box with a platform of another host, and clients that are there."""

    def make(platform: str) -> Path:
        root = make_box({"platforms/lab.yaml": platform, "platforms/docker.yaml": DOCKER.format("a")})
        write_files(root.parent, {f"bin/{name}": "#!/bin/sh\nexit 1\n" for name in ("ssh", "rsync")})
        write_files(root, {"build/Dockerfile": "FROM b\n"})
        for program in (root.parent / "bin").iterdir():
            program.chmod(0o755)
        monkeypatch.setenv("PATH", str(root.parent / "bin"))
        return root

    return make


FORMS = {
    "tutorial": (PUBLISHED / "mnist/platforms/ssh.yaml").read_text(),
    "release": (REPOSITORY / "tests/definitions/valid/platform/ssh_0_2_3.yaml").read_text(),
    "now": "schema_type: mlbox_ssh\nschema_version: 1.1.0\nhost: REMOTE_HOST\nuser: USER\nplatform: docker.yaml\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_an_ssh_platform_is_run(
    form: str, with_ssh: Callable[[str], Path], said: Callable[[], str]
) -> None:
    """The tutorial's own was refused by the runner of the release, which read keys that no document had."""
    lines = ssh_lines(with_ssh(FORMS[form]), said)
    assert any(line.startswith("rsync --archive ") and " REMOTE_HOST:" in line for line in lines)
    (command,) = (line for line in lines if line.startswith("ssh "))
    assert " -l USER " in command
    assert " -- REMOTE_HOST sh " in command


@pytest.mark.parametrize("form", FORMS)
def test_the_keys_of_hosts_were_not_checked(
    form: str, with_ssh: Callable[[str], Path], said: Callable[[], str]
) -> None:
    """``-o StrictHostKeyChecking=no`` was part of every command: anybody could be the host."""
    text = "\n".join(ssh_lines(with_ssh(FORMS[form]), said))
    assert "StrictHostKeyChecking" not in text
    assert "UserKnownHostsFile" not in text


def test_a_key_that_was_given_made_every_command_fail(
    with_ssh: Callable[[str], Path], said: Callable[[], str]
) -> None:
    """``-i KEY`` came to be one word with what followed."""
    lines = ssh_lines(with_ssh(FORMS["release"]), said)
    (command,) = (line for line in lines if line.startswith("ssh "))
    words = shlex.split(command.partition("<<")[0])
    assert words[words.index("-i") + 1] == "/home/user/.ssh/gcp_rsa"


def test_what_a_failed_run_left_on_its_host_was_lost(tmp_path: Path) -> None:
    """Results were brought back only when the task had succeeded."""
    host, output = Leaving(), Output(there="/box/out", here=str(tmp_path / "out"), type="directory")
    host.status = "task 1"
    run = SubmittedRun(
        queue="process", id="7", directory="/box/job", login=Login(host="lab"), box="/box", outputs=(output,)
    )
    outcome = follow(run, host, Recorder(), tmp_path)
    assert outcome is not None
    assert outcome.exit_status == 1
    assert host.copied == ["/box/out"]
