"""Runs on another host keep the promises of every runner, and can be come back to: with a fake ssh(1)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mlcommons_box.contract import RunnerContract, Scene
from mlcommons_box.contract.scene import BOX, eventually, is_alive
from mlcommons_box.errors import EX_CANNOT_CREATE, EX_MISSING_INPUT, EX_TEMPORARY, EX_UNAVAILABLE, EX_USAGE
from mlcommons_box.model import Platform, SshOptions
from mlcommons_box.run_store import RunStore
from mlcommons_box.value import as_data
from tests.conftest import records_of, write_files

pytestmark = pytest.mark.engine("rsync")
LAB = "schema_type: mlbox_ssh\nschema_version: 1.1.0\nhost: lab\nplatform: local\n"
REFUSED = "ssh: connect to host lab port 22: Connection refused\r\n"


class TestLocalOverSsh(RunnerContract):
    is_remote = True
    slack = 3.0

    @pytest.fixture
    def platform(self, lab: Path) -> Platform:
        return Platform(name="lab", runner="ssh", options=SshOptions(host="lab", platform="local"))

    @pytest.mark.parametrize("status", [1, 125, 255])
    def test_the_task_s_own_exit_status_comes_through(self, scene: Scene, status: int) -> None:
        super().test_the_task_s_own_exit_status_comes_through(scene, status)

    def test_the_commands_shown_do_the_same_when_pasted_into_a_shell(self, scene: Scene) -> None:
        """Only the host could tell all of them, and it is not asked."""
        shown = [command.shell() for command in scene.runner.commands(scene.plan(""))]
        assert [line.split()[0] for line in shown] == ["rsync", "ssh"]


class Desk:
    """Somebody with a box and a terminal."""

    def __init__(self, root: Path, lab: Path) -> None:
        self.root = root
        self.lab = lab
        self.started: list[subprocess.Popen[str]] = []

    def script(self, text: str) -> None:
        write_files(self.root, {"workspace/script.py": text})

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "mlcommons_box", words[0], "--mlbox", str(self.root), *words[1:]]
        started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.started.append(started)
        return started

    def __call__(self, *words: str, status: int = 0) -> tuple[str, str]:
        """Type a command; its words, which are to be these two."""
        started = self.start(*words)
        out, err = started.communicate(timeout=60)
        assert started.returncode == status, out + err
        return out, err

    def run(self, *words: str, status: int = 0) -> tuple[str, str]:
        return self("run", "--task=act", "--platform=lab", *words, status=status)

    def detach(self) -> str:
        return self.run("--detach")[0].strip()

    def record(self, run_id: str) -> dict[str, object]:
        content: dict[str, object] = as_data(RunStore(self.root / "workspace").read(run_id))
        return content

    @property
    def there(self) -> Path:
        """The box's workspace on the host."""
        (place,) = (self.lab / "home/mlcommons-box").iterdir()
        return place / "workspace"

    def until(self, happened: Callable[[], object]) -> None:
        assert eventually(lambda: bool(happened()), 20)

    def is_at_work(self) -> bool:
        return (self.lab / "home/mlcommons-box").exists() and (self.there / "out/at work").exists()


AT_WORK = "import time; open(out + '/at work', 'w').close(); print('begun', flush=True); "


@pytest.fixture
def desk(tmp_path: Path, lab: Path) -> Desk:
    root = write_files(tmp_path / "box", {**BOX, "platforms/lab.yaml": LAB, "workspace/script.py": ""})
    return Desk(root, lab)


def test_a_run_that_is_left_to_itself_is_waited_for_later(desk: Desk) -> None:
    desk.script(AT_WORK + "time.sleep(1); open(out + '/x', 'w').write('made'); print('done')")
    run_id = desk.detach()
    record = desk.record(run_id)
    assert (record["status"], record["detached"], str(record["native_id"])[:4]) == ("running", True, "lab:")
    assert "running" in desk("status")[0]
    out, err = desk("wait")
    assert out == "begun\ndone\n"
    assert "succeeded" in err
    assert (desk.root / "workspace/out/x").read_text() == "made"
    assert desk.record(run_id)["status"] == "succeeded"
    assert (desk.root / "workspace/.mlbox/runs" / run_id / "stdout.log").read_text() == "begun\ndone\n"
    assert desk("wait", run_id)[0] == ""  # it has ended, and says so again
    assert "no run is going on" in desk("status")[1]
    assert not (desk.there / ".mlbox/runs" / run_id).exists()


def test_a_host_is_prepared_before_any_run(desk: Desk) -> None:
    _, err = desk("configure", "--platform=lab")
    assert "is ready on lab" in err
    environments = desk.lab / "home/.cache/mlcommons-box/environments"
    (made,) = environments.glob("*/complete.json")
    before = made.stat().st_mtime_ns
    desk.run()
    assert made.stat().st_mtime_ns == before
    desk("configure", "--platform=lab")
    assert made.stat().st_mtime_ns != before
    assert [each.name for each in (desk.there / ".mlbox").iterdir()] in ([], ["runs"])


def test_a_preparation_that_fails_over_there_says_why_and_leaves_nothing(desk: Desk) -> None:
    write_files(desk.root, {"build/requirements.txt": "./nothing-there\n"})
    _, err = desk("configure", "--platform=lab", status=EX_UNAVAILABLE)
    assert "the preparation failed on lab" in err
    assert "nothing-there" in err
    assert list((desk.there / ".mlbox").glob("configure-*")) == []


def test_the_exit_status_of_waiting_is_that_of_the_run(desk: Desk) -> None:
    desk.script("raise SystemExit(7)")
    run_id = desk.detach()
    assert "exit status 7" in desk("wait", run_id, status=7)[1]
    assert (desk.record(run_id)["status"], desk.record(run_id)["exit_status"]) == ("failed", 7)


def test_a_run_that_is_over_says_that_it_has_to_be_fetched(desk: Desk) -> None:
    desk.script("print('x')")
    run_id = desk.detach()
    desk.until(lambda: (desk.there / ".mlbox/runs" / run_id / "job/status").exists())
    (state,) = json.loads(desk("status", "--json")[0])
    assert (state["id"], state["state"]) == (run_id, "over")
    assert desk("logs")[0] == "x\n"
    assert desk.record(run_id)["status"] == "running"
    desk("wait")


def test_cancel_ends_a_run_and_brings_back_what_it_made(desk: Desk) -> None:
    desk.script(
        "import signal\ndef end(*_):\n  open(out + '/checkpoint', 'w').write('saved'); sys.exit()\n"
        "import sys; signal.signal(signal.SIGTERM, end)\n" + AT_WORK + "time.sleep(600)"
    )
    run_id = desk.detach()
    desk.until(desk.is_at_work)
    desk("cancel")
    record = desk.record(run_id)
    assert (record["status"], record["exit_status"], record["reason"]) == ("cancelled", 143, "cancelled")
    assert (desk.root / "workspace/out/checkpoint").read_text() == "saved"
    assert "has ended already" in desk("cancel", run_id)[1]


def test_logs_follow_a_run_that_nobody_watches(desk: Desk) -> None:
    desk.script(AT_WORK + "time.sleep(1); print('done')")
    run_id = desk.detach()
    assert desk("logs", "--follow")[0] == "begun\ndone\n"
    assert desk.record(run_id)["status"] == "succeeded"


def test_an_interrupt_ends_the_waiting_and_not_the_run(desk: Desk) -> None:
    desk.script(AT_WORK + "time.sleep(3); print('done')")
    run_id = desk.detach()
    desk.until(desk.is_at_work)
    waiting = desk.start("wait", run_id)
    time.sleep(1)
    waiting.send_signal(signal.SIGINT)
    waiting.communicate(timeout=20)
    assert waiting.returncode == 130
    assert desk.record(run_id)["status"] == "running"
    assert desk("wait", run_id)[0].endswith("done\n")


def test_a_run_outlives_the_command_that_was_killed(desk: Desk) -> None:
    desk.script(AT_WORK + "time.sleep(2); open(out + '/lines', 'a').write('once\\n'); print('done')")
    watching = desk.start("run", "--task=act", "--platform=lab")
    desk.until(desk.is_at_work)
    desk.until(lambda: list((desk.root / "workspace/.mlbox/runs").glob("*/job.json")))
    watching.kill()
    watching.communicate()
    assert "running" in desk("status")[0]
    out, _ = desk("wait")
    assert out == "begun\ndone\n"
    assert (desk.root / "workspace/out/lines").read_text() == "once\n"
    (record,) = records_of(desk.root / "workspace")
    assert record.status == "succeeded"


def test_a_run_whose_preparation_fails_is_over(desk: Desk) -> None:
    write_files(desk.root, {"build/requirements.txt": "./no-such-thing\n"})
    run_id = desk.detach()
    _, said = desk("wait", run_id, status=EX_UNAVAILABLE)
    assert "the preparation failed on lab" in said
    assert "no-such-thing" in said
    assert desk.record(run_id)["status"] == "failed"


def test_a_run_whose_directory_was_removed_is_lost(desk: Desk) -> None:
    desk.script(AT_WORK + "time.sleep(3)")
    run_id = desk.detach()
    desk.until(desk.is_at_work)
    directory = desk.there / ".mlbox/runs" / run_id
    while directory.exists():  # the job may write meanwhile
        shutil.rmtree(directory, ignore_errors=True)
    assert "is gone from lab" in desk("wait", run_id, status=EX_TEMPORARY)[1]
    assert desk.record(run_id)["status"] == "lost"


def test_a_run_whose_process_was_killed_is_lost(desk: Desk) -> None:
    desk.script(AT_WORK + "time.sleep(600)")
    run_id = desk.detach()
    desk.until(desk.is_at_work)
    pid = int(str(desk.record(run_id)["native_id"]).partition(":")[2])
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    os.kill(pid, signal.SIGKILL)
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    _, said = desk("wait", run_id, status=EX_TEMPORARY)
    assert "has not said how it ended" in said
    assert desk.record(run_id)["status"] == "lost"


def test_a_host_that_is_away_makes_a_run_unreachable_and_not_lost(desk: Desk) -> None:
    desk.script("print('done')")
    run_id = desk.detach()
    (desk.lab / "down").write_text(REFUSED)
    (state,) = json.loads(desk("status", "--json")[0])
    assert state["state"] in ("unknown", "unreachable")
    assert "it does not answer" in state["reason"]
    assert desk.record(run_id)["status"] == "running"
    (desk.lab / "down").unlink()
    assert desk("wait")[0] == "done\n"


def test_the_connection_comes_back_while_a_run_is_followed(desk: Desk) -> None:
    desk.script(AT_WORK + "time.sleep(2); print('done'); open(out + '/lines', 'a').write('once\\n')")
    watching = desk.start("run", "--task=act", "--platform=lab")
    desk.until(desk.is_at_work)
    (desk.lab / "down").write_text(REFUSED)
    time.sleep(3)
    (desk.lab / "down").unlink()
    out, err = watching.communicate(timeout=40)
    assert (watching.returncode, out) == (0, "begun\ndone\n"), err
    assert (desk.root / "workspace/out/lines").read_text() == "once\n"


@pytest.mark.parametrize("platform", ["local", "docker"])
def test_a_run_here_cannot_be_left_to_itself(desk: Desk, platform: str) -> None:
    docker = "schema_type: mlbox_docker\nschema_version: 1.0.0\nimage: a\ndocker_runtime: docker\n"
    write_files(desk.root, {"platforms/docker.yaml": docker})
    _, said = desk("run", "--task=act", f"--platform={platform}", "--detach", status=EX_USAGE)
    assert "ends with the command that started it" in said
    assert not (desk.root / "workspace/.mlbox").exists()


def test_runs_that_need_each_other_cannot_all_be_left_to_themselves(desk: Desk) -> None:
    run = (desk.root / "run/act.yaml").read_text()
    second = run.replace("script: script.py", "script: out/made.py").replace("out: out", "out: out2")
    write_files(desk.root, {"run/second.yaml": second})
    _, said = desk("run", "--all", "--platform=lab", "--detach", status=EX_USAGE)
    assert "cannot start before that has ended" in said
    assert not (desk.lab / "home/mlcommons-box").exists()


def test_two_runs_are_left_to_themselves_and_both_are_waited_for(desk: Desk) -> None:
    desk.script("print('done')")
    run = (desk.root / "run/act.yaml").read_text()
    write_files(desk.root, {"run/second.yaml": run.replace("out: out", "out: out2")})
    ids = desk("run", "--all", "--platform=lab", "--detach")[0].split()
    assert len(ids) == 2
    desk("wait")
    assert [desk.record(run_id)["status"] for run_id in ids] == ["succeeded", "succeeded"]


def test_a_dry_run_asks_nobody(desk: Desk) -> None:
    (desk.lab / "down").write_text(REFUSED)
    (desk.lab / "bin/rsync").write_text("#!/bin/sh\ntouch $FAKE_SSH/asked\n")
    (desk.lab / "bin/rsync").chmod(0o755)
    out, _ = desk.run("--dry-run")
    assert "rsync --archive" in out
    assert "ssh -o BatchMode=yes" in out
    assert not (desk.lab / "asked").exists()


def test_a_host_that_is_away_from_the_beginning(desk: Desk) -> None:
    (desk.lab / "down").write_text(REFUSED)
    _, said = desk.run(status=EX_UNAVAILABLE)
    assert "cannot reach the host 'lab': it does not answer" in said
    assert "Connection refused" in said


def without(desk: Desk, monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    """Take programs away from the host."""
    place = desk.lab / "programs"
    place.mkdir()
    for folder in ("/usr/bin", "/bin"):
        for program in Path(folder).iterdir():
            if program.name not in missing and not (place / program.name).is_symlink():
                (place / program.name).symlink_to(program)
    monkeypatch.setenv("FAKE_SSH_PATH", str(place))


def test_a_host_without_rsync(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    without(desk, monkeypatch, "rsync")
    _, said = desk.run(status=EX_UNAVAILABLE)
    assert "there is no rsync on lab" in said


def test_a_host_without_the_engine(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    without(desk, monkeypatch, "docker", "podman")
    docker = "schema_type: mlbox_docker\nschema_version: 1.0.0\nimage: a\ndocker_runtime: docker\n"
    lab = LAB.replace("platform: local", "platform: docker")
    write_files(desk.root, {"platforms/docker.yaml": docker, "platforms/lab.yaml": lab, "build/Dockerfile": ""})
    _, said = desk.run(status=EX_UNAVAILABLE)
    assert "there is no program 'docker' on lab" in said


def test_a_directory_there_that_cannot_be_made(desk: Desk) -> None:
    (desk.lab / "home/mlcommons-box").write_text("a file")
    _, said = desk.run(status=EX_CANNOT_CREATE)
    assert "cannot make the directory" in said
    assert "name another 'directory' in the platform file" in said


def test_an_input_that_is_neither_here_nor_there(desk: Desk) -> None:
    _, said = desk.run("-P", "script=/no/such/file", status=EX_MISSING_INPUT)
    assert "the input 'script' is no file on lab: '/no/such/file'" in said


def test_nothing_stays_when_a_run_is_over(desk: Desk) -> None:
    """No connection, no process, no script that may hold secrets."""
    desk.script("import os; print(os.getpid(), os.getppid())")
    out, _ = desk.run()
    assert not any(is_alive(int(pid)) for pid in out.split())
    assert not list(desk.there.glob(".mlbox/runs/*/job"))


def _texts(paths: Sequence[Path]) -> str:
    return "".join(path.read_text(errors="replace") for path in paths if path.is_file())


def test_a_variable_of_the_caller_is_in_no_record(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_MINE", "geheim")
    write_files(desk.root, {"platforms/lab.yaml": LAB + "environment: {KEY_OF_MINE: }\n"})
    desk.script("import os; print(len(os.environ['KEY_OF_MINE']))")
    out, err = desk.run("-v")
    assert out == "6\n"
    assert "geheim" not in err + desk.run("--dry-run")[0]
    assert "geheim" not in _texts(list(desk.root.rglob("*"))) + _texts(list(desk.lab.rglob("*")))


def test_what_ssh_leaves_in_the_background_is_the_connection(tmp_path: Path) -> None:
    """It is in our session for a moment yet, when its parent has ended."""
    program = write_files(tmp_path / "bin", {"ssh": f"#!/bin/sh\nsleep 60 &\necho $! >{tmp_path}/pid\n"}) / "ssh"
    program.chmod(0o755)
    script = "from mlcommons_box.host import Login, SshHost; SshHost(Login(host='lab')).connect()"
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    pid = int((tmp_path / "pid").read_text())
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)
