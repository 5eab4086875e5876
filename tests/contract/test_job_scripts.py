"""Runs as scripts, run by the shells that are here: how they end, and that nothing of them is left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from mlcommons_box import process
from mlcommons_box.command import Command
from mlcommons_box.contract.scene import BOX, eventually, is_alive
from mlcommons_box.definition.loader import load_box, load_run_configuration
from mlcommons_box.model import LocalOptions, Platform
from mlcommons_box.planning import plan_run
from mlcommons_box.runners.job import Asks, Job
from mlcommons_box.runners.job_script import job_script
from mlcommons_box.runners.local import LocalRunner
from mlcommons_box.value import replace
from tests.conftest import write_files

SHELLS = [name for name in ("dash", "bash", "sh") if shutil.which(name)]
LOCAL = Platform(name="local", runner="local", options=LocalOptions())


class Desk:
    """A run's directory, and a box of one task that runs whatever Python is given."""

    def __init__(self, directory: Path, shell: str) -> None:
        self.directory = directory
        self.shell = shell
        self.job = directory / "the job"
        self.job.mkdir()
        self.token = f"mlbox-job-{uuid4()}"
        self.started: list[subprocess.Popen[bytes]] = []

    def plain(self, program: str, **more: object) -> Job:
        """A job without a preparation."""
        job = Job(
            needs=(),
            is_ready=(),
            preparation=(),
            lock=self.directory / "lock",
            task=Command(argv=(sys.executable, "-c", program, self.token)),
            asks="all",
            is_marked=True,
        )
        return replace(job, **more)

    def script(self, job: Job, timeout: float | None = None, name: str = "job.sh") -> Path:
        """The script of a job, in its file."""
        root = write_files(self.directory / "box", {**BOX, "workspace/script.py": ""})
        box = load_box(root)
        plan = plan_run(box, load_run_configuration(root / "run/act.yaml", box), LOCAL, timeout=timeout)
        path = self.job / name
        path.write_text(job_script(job, plan, self.job, os.environ, {}))
        return path

    def start(self, job: Job, timeout: float | None = None) -> subprocess.Popen[bytes]:
        """Start a job as it is started on a host."""
        return self.start_script(self.script(job, timeout))

    def start_script(self, path: Path) -> subprocess.Popen[bytes]:
        started = subprocess.Popen(
            [self.shell, str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.started.append(started)
        return started

    def run(self, job: Job, timeout: float | None = None) -> str:
        """Run a job, and return how it says that it ended."""
        self.start(job, timeout).communicate(timeout=30)
        return self.status()

    def status(self) -> str:
        return (self.job / "status").read_text().strip()

    def said(self, name: str) -> bytes:
        return (self.job / name).read_bytes()

    def left(self) -> list[int]:
        """Processes of the task, and of the script itself."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            except OSError:
                continue
            if (self.token.encode() in words or str(self.job).encode() in words) and is_alive(int(entry.name)):
                found.append(int(entry.name))
        return found


@pytest.fixture(params=SHELLS)
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path, str(request.param))
    yield desk
    for started in desk.started:
        started.communicate(timeout=30)
    assert eventually(lambda: not desk.left())


def test_the_script_is_one_for_every_shell(desk: Desk) -> None:
    script = desk.script(desk.plain(""))
    checked = subprocess.run([desk.shell, "-n", str(script)], capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, b"")


def test_success(desk: Desk) -> None:
    assert desk.run(desk.plain("import sys; print('out'); print('err', file=sys.stderr)")) == "task 0"
    assert (desk.said("stdout.log"), desk.said("stderr.log")) == (b"out\n", b"err\n")
    assert desk.started[0].stderr is not None
    assert (desk.directory / "box/workspace/out").is_dir()


@pytest.mark.parametrize("status", [1, 73, 124, 126, 137, 143, 255])
def test_the_task_s_exit_status(desk: Desk, status: int) -> None:
    assert desk.run(desk.plain(f"raise SystemExit({status})")) == f"task {status}"
    assert desk.started[0].returncode == status


def test_a_task_that_a_signal_ends(desk: Desk) -> None:
    assert desk.run(desk.plain("import os; os.kill(os.getpid(), 9)")) == "task 137"


def test_a_task_that_cannot_be_started(desk: Desk) -> None:
    assert desk.run(desk.plain("", task=Command(argv=("/no/such/program",)))).startswith("task 12")


def test_much_output_and_every_byte(desk: Desk) -> None:
    program = (
        "import sys; o = sys.stdout.buffer; o.write(bytes(range(256))); o.write(b'x' * 10_000_000);"
        "sys.stderr.buffer.write(bytes(range(256)))"
    )
    assert desk.run(desk.plain(program)) == "task 0"
    assert desk.said("stdout.log") == bytes(range(256)) + b"x" * 10_000_000
    assert desk.said("stderr.log") == bytes(range(256))


def test_the_time_limit(desk: Desk) -> None:
    began = time.monotonic()
    assert desk.run(desk.plain("import time; time.sleep(600)"), timeout=1) == "time 124"
    assert time.monotonic() - began < 8


def test_a_time_limit_that_is_not_reached_leaves_nothing_behind(desk: Desk) -> None:
    assert desk.run(desk.plain("pass"), timeout=600) == "task 0"


READY = "open('ready', 'w').close()"
ENDS_ITSELF = f"""
import os, signal, sys, time
os.chdir({{place!r}})
def end(*_):
    open('checkpoint', 'w').write('saved')
    sys.exit(5)
signal.signal(signal.SIGTERM, end)
{READY}
time.sleep(600)
"""
IGNORES = f"""
import os, signal, time
os.chdir({{place!r}})
signal.signal(signal.SIGTERM, signal.SIG_IGN)
{READY}
time.sleep(600)
"""


def asked_to_end(desk: Desk, program: str, **more: object) -> subprocess.Popen[bytes]:
    """A job that was asked to end when its task was at work."""
    started = desk.start(desk.plain(program.format(place=str(desk.directory)), **more))
    assert eventually((desk.directory / "ready").exists)
    started.send_signal(signal.SIGTERM)
    return started


@pytest.mark.parametrize("asks", ["first", "all", "contained"])
def test_a_task_can_end_in_its_own_way(desk: Desk, asks: Asks) -> None:
    asked_to_end(desk, ENDS_ITSELF, asks=asks).communicate(timeout=20)
    assert desk.status() == "cancelled 143"
    assert (desk.directory / "checkpoint").read_text() == "saved"


def test_a_task_that_ignores_the_request_is_killed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE", 1.0)
    stopped = Command(argv=("touch", str(desk.directory / "stopped")))
    asked_to_end(desk, IGNORES, stop=(stopped,)).communicate(timeout=20)
    assert desk.status() == "cancelled 143"
    assert (desk.directory / "stopped").exists()


def test_a_second_request_kills_at_once(desk: Desk) -> None:
    started = asked_to_end(desk, IGNORES)
    time.sleep(0.3)
    began = time.monotonic()
    started.send_signal(signal.SIGTERM)
    started.communicate(timeout=20)
    assert desk.status() == "cancelled 143"
    assert time.monotonic() - began < process.GRACE / 2


def test_what_the_task_leaves_running_is_ended(desk: Desk) -> None:
    program = """
import subprocess, sys
for new in (False, True):
    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', sys.argv[1]], start_new_session=new)
"""
    assert desk.run(desk.plain(program)) == "task 0"
    assert eventually(lambda: not desk.left())


def test_before_and_after_frame_the_task(desk: Desk) -> None:
    def touch(name: str) -> Command:
        return Command(argv=("touch", str(desk.directory / name)))

    before = f"import os, sys; sys.exit(0 if os.path.exists({str(desk.directory / 'before')!r}) else 1)"
    job = desk.plain(before, before=(touch("before"),), after=(touch("after"),))
    assert desk.run(job) == "task 0"
    assert (desk.directory / "after").exists()
    (desk.directory / "after").unlink()
    assert desk.run(replace(job, before=(Command(argv=("false",)),))) == "before 73"


def test_a_program_that_is_missing_is_named(desk: Desk) -> None:
    assert desk.run(desk.plain("", needs=(("sh",), ("no-such-1", "no-such-2")))) == "missing 69"
    assert desk.said("preparation.log") == b"there is none of the programs: no-such-1 no-such-2\n"
    assert not (desk.job / "stdout.log").exists()


def test_an_input_that_is_not_to_be_seen_is_named(desk: Desk) -> None:
    script = desk.script(desk.plain(""))
    (desk.directory / "box/workspace/script.py").unlink()
    desk.start_script(script).communicate(timeout=20)
    assert desk.status() == "missing 66"
    assert b"the input script is not to be seen on" in desk.said("preparation.log")


def test_an_output_that_cannot_be_made(desk: Desk) -> None:
    script = desk.script(desk.plain(""))
    (desk.directory / "box/workspace/out").write_text("a file")
    desk.start_script(script).communicate(timeout=20)
    assert desk.status() == "outputs 73"
    assert b"out" in desk.said("preparation.log")


def test_a_directory_that_is_not_there(desk: Desk, tmp_path: Path) -> None:
    """The file system of this machine is not to be seen there."""
    script = desk.script(desk.plain(""))
    moved = script.rename(tmp_path / "job.sh")
    desk.job.rmdir()
    started = desk.start_script(moved)
    _, said = started.communicate(timeout=20)
    assert started.returncode == 69
    assert b"is not to be seen on" in said


def prepared(desk: Desk, program: str) -> Job:
    """A job whose preparation makes the file ``made``, in half a second."""
    made = desk.directory / "made"
    return desk.plain(
        program,
        is_ready=(Command(argv=("test", "-f", str(made))),),
        preparation=(
            Command(argv=("sleep", "0.5")),
            Command(argv=("sh", "-c", 'echo made >>"$0"', str(desk.directory / "log"))),
            Command(argv=("touch", str(made))),
        ),
    )


def test_two_at_once_prepare_once(desk: Desk) -> None:
    job = prepared(desk, "print('ran')")
    scripts = [desk.script(job, name=name) for name in ("job.sh", "job2.sh")]
    other = desk.directory / "other"
    other.mkdir()
    scripts[1].write_text(scripts[1].read_text().replace(f"mlbox_run='{desk.job}'", f"mlbox_run={other}"))
    started = [desk.start_script(script) for script in scripts]
    for each in started:
        each.communicate(timeout=30)
    assert desk.status() == (other / "status").read_text().strip() == "task 0"
    assert (desk.directory / "log").read_text() == "made\n"
    assert (other / "stdout.log").read_text() == "ran\n"


def test_a_preparation_that_fails(desk: Desk) -> None:
    job = prepared(desk, "print('ran')")
    fails = Command(argv=("sh", "-c", "echo why it failed >&2; exit 9"))
    assert desk.run(replace(job, preparation=(fails, *job.preparation))) == "preparation 9"
    assert desk.said("preparation.log") == b"why it failed\n"
    assert not (desk.directory / "made").exists()
    assert not (desk.job / "stdout.log").exists()


def test_a_preparation_is_ended_with_all_that_it_started(desk: Desk) -> None:
    sleeper = Command(argv=(sys.executable, "-c", f"import time; {READY}; time.sleep(600)", desk.token))
    started = desk.start(replace(prepared(desk, ""), preparation=(replace(sleeper, directory=desk.directory),)))
    assert eventually((desk.directory / "ready").exists)
    started.send_signal(signal.SIGTERM)
    started.communicate(timeout=20)
    assert desk.status() == "cancelled 143"
    assert eventually(lambda: not desk.left(), 2)
    assert not (desk.job / "stdout.log").exists()


def test_who_waits_for_another_s_preparation_can_be_ended(desk: Desk) -> None:
    if shutil.which("flock") is None:
        pytest.fail("flock(1) of util-linux is needed")
    with subprocess.Popen(["flock", str(desk.directory / "lock"), "sleep", "60"], start_new_session=True) as holder:
        time.sleep(0.2)
        started = desk.start(prepared(desk, ""))
        time.sleep(0.5)
        started.send_signal(signal.SIGTERM)
        started.communicate(timeout=20)
        os.killpg(holder.pid, signal.SIGKILL)
    assert desk.status() == "cancelled 143"


def test_a_full_disk_is_no_success(desk: Desk) -> None:
    """There is then no file that says how it ended, which is told apart from an end."""
    script = desk.script(desk.plain(""))
    text = script.read_text().replace('>"$mlbox_run/status.partial"', ">/dev/full")
    script.write_text(text)
    desk.start_script(script).communicate(timeout=20)
    assert not (desk.job / "status").exists()


def test_variables_of_the_script_do_not_meet_those_of_the_task(desk: Desk) -> None:
    """Names that scripts like to use are names that a task may want, too."""
    names = [
        "run",
        "lock",
        "status",
        "session",
        "mark",
        "name",
        "child",
        "part",
        "grace",
        "leader",
        "asked",
        "found",
        "IFS_",
        "x",
    ]
    program = f"import os, json; print(json.dumps({{n: os.environ.get(n) for n in {names!r}}}))"
    values = tuple((name, f"value of {name}") for name in names)
    task = Command(argv=(sys.executable, "-c", program), environment=(("PATH", "/usr/bin:/bin"), *values))
    assert desk.run(desk.plain("", task=task), timeout=60) == "task 0"
    assert json.loads(desk.said("stdout.log")) == dict(values)


def test_the_local_runner_s_own_script_makes_an_environment_once(desk: Desk) -> None:
    """All of it: what is missing is made, the box's program runs, and the next run finds it there."""
    root = write_files(desk.directory / "box", {**BOX, "workspace/script.py": "print('hello from', argv[1])"})
    box = load_box(root)
    plan = plan_run(box, load_run_configuration(root / "run/act.yaml", box), LOCAL)
    caller = {**os.environ, "MLCOMMONS_BOX_CACHE": str(desk.directory / "cache")}
    job = LocalRunner(LOCAL, caller).job(plan)
    for _ in range(2):
        path = desk.job / "job.sh"
        path.write_text(job_script(job, plan, desk.job, caller, {}))
        desk.start_script(path).communicate(timeout=60)
        assert desk.status() == "task 0", desk.said("preparation.log") + desk.said("stderr.log")
    assert desk.said("stdout.log") == b"hello from act\n" * 2
