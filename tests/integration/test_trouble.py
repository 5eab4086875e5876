"""Whatever is wrong with the machine, the environment or a daemon: a known end, and no record that lies."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from mlcommons_box.command import Command
from mlcommons_box.host import LocalHost
from mlcommons_box.process import stream
from mlcommons_box.process_tree import start_ticks
from mlcommons_box.run_store import RunStore
from mlcommons_box.runners.batch import Submitted, survey
from mlcommons_box.runners.process_queue import ProcessBackend
from mlcommons_box.value import replace
from tests import engines
from tests.conftest import MakeBox, records_of
from tests.recorded_runs import recorded

MLBOX = [sys.executable, "-m", "mlcommons_box"]
DEFECT = "defect"


def call(*words: object, **more: object) -> subprocess.CompletedProcess[str]:
    command = [*MLBOX, *map(str, words)]
    options = {"capture_output": True, "text": True, "check": False, "timeout": 120, "stdin": subprocess.DEVNULL}
    return subprocess.run(command, **{**options, **more})  # type: ignore[call-overload,no-any-return]


def shell(line: str, *words: object) -> subprocess.CompletedProcess[str]:
    """A line of a shell in which ``"$@"`` is a command of ours."""
    command = ["bash", "-o", "pipefail", "-c", line, "bash", *MLBOX, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def box(make_box: MakeBox) -> Path:
    """A box with a run that has succeeded."""
    root = make_box()
    assert call("run", root, "--platform=local", "-q").returncode == 0
    return root


# ---- What cannot be written down -------------------------------------------------------------------


def test_a_task_whose_start_cannot_be_recorded_is_ended(tmp_path: Path) -> None:
    started: list[int] = []

    def record(pid: int) -> None:
        started.append(pid)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        stream(Command(argv=("sleep", "60")), on_output=lambda name, chunk: None, on_start=record)
    assert not Path(f"/proc/{started[0]}").exists()


def test_what_a_task_has_left_is_ended_though_nobody_takes_its_words(tmp_path: Path) -> None:
    left = tmp_path / "left"
    script = f"sleep 60 & echo $! >{left}; echo word"

    def refuse(name: str, chunk: bytes) -> None:
        time.sleep(0.3)  # by now the shell has ended, and what it left is there
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        stream(Command(argv=("sh", "-c", script)), on_output=refuse)
    assert not start_ticks(int(left.read_text())), "it goes on"


@pytest.mark.parametrize("is_its_own", [True, False])
def test_a_run_is_ended_by_its_number_only_while_that_is_its_own(tmp_path: Path, is_its_own: bool) -> None:
    """The number of a run that ended long ago may be another process's by now."""
    run, other = tmp_path / "it's a run", tmp_path / "other"
    run.mkdir()
    other.mkdir()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with subprocess.Popen(["sleep", "60"], cwd=run if is_its_own else other) as process:
        (run / "process").write_text(f"{process.pid} {boot}\n")
        submitted = Submitted(id=str(process.pid), directory=str(run))
        (state,) = survey(LocalHost(), ProcessBackend(), [submitted])
        assert state.phase == ("running" if is_its_own else "ended")
        (run / "status").write_text("task 0\n")
        LocalHost().shell(ProcessBackend().cancellation([submitted], at_once=False))
        assert process.poll() is None, "it has ended, and says so"
        (run / "status").unlink()
        answer = LocalHost().shell(ProcessBackend().cancellation([submitted], at_once=False))
        assert answer.succeeded
        time.sleep(0.2)
        assert (process.poll() == -signal.SIGTERM) == is_its_own
        process.kill()


# ---- Streams -------------------------------------------------------------------------------------

COMMANDS = (
    ["--version"],
    ["validate"],
    ["describe"],
    ["runs"],
    ["show"],
    ["logs"],
    ["why", "--task=copy", "--platform=local"],
    ["run", "--task=copy", "--platform=local"],
    ["nonsense"],
)
AT_THE_BOX = {"--version", "nonsense"}


def of(words: list[str], root: Path) -> list[object]:
    return list(words) if words[0] in AT_THE_BOX else [*words, "--mlbox", root]


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_without_a_stream_all_goes_as_with_one(box: Path, closed: str) -> None:
    for words in COMMANDS:
        usual = call(*of(words, box)).returncode
        done = shell(f'"$@" {closed}', *of(words, box))
        assert done.returncode == usual, (words, done.stderr)
        assert DEFECT not in done.stderr
        assert "Traceback" not in done.stdout + done.stderr
    assert {record.status for record in records_of(box / "workspace")} == {"succeeded"}


def test_an_output_that_takes_nothing_is_told(box: Path) -> None:
    for words in COMMANDS:
        done = shell('"$@" >/dev/full', *of(words, box))
        quiet = words[0] in ("validate", "nonsense")
        assert done.returncode == (call(*of(words, box)).returncode if quiet else 73), words
        assert DEFECT not in done.stderr
        assert quiet or "cannot write" in done.stderr
    assert records_of(box / "workspace")[-1].status in ("failed", "succeeded")


def test_a_reader_that_has_seen_enough_ends_every_command(box: Path) -> None:
    store = RunStore(box / "workspace")
    store.write(*(replace(recorded(number, store), id=f"20260101T000000-{number:08x}") for number in range(2000)))
    commands = [of(words, box) for words in (["runs"], ["runs", "--json"], ["describe"])]
    commands += [["schema", "mlbox_task"], ["--help"], ["run", "--help"]]
    for words in commands:
        done = shell('"$@" | head -n 1', *words)
        assert done.returncode in (0, 141), (words, done.stderr)
        assert len(done.stdout.splitlines()) == 1
        assert done.stderr == ""


# ---- Environment ---------------------------------------------------------------------------------

KEEP = {name: os.environ[name] for name in ("PATH", "PYENV_VERSION", "MLBOX_PLATFORM") if name in os.environ}
ENVIRONMENTS: dict[str, dict[str, str]] = {
    "nothing but a path": {},
    "a home that is not there": {"HOME": "/nonexistent"},
    "a home that nobody can write to": {"HOME": "/proc"},
    "an empty home": {"HOME": ""},
    "no place for scratch files": {"TMPDIR": "/nonexistent"},
    "a cache that is a file": {"MLCOMMONS_BOX_CACHE": "/etc/hostname"},
    "C": {"LANG": "C", "LC_ALL": "C"},
    "C, and no UTF-8 in its place": {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "ASCII": {"PYTHONIOENCODING": "ascii"},
    "a locale that is not there": {"LC_ALL": "xx_XX.UTF-8"},
    "no such terminal": {"TERM": "nonsense", "COLUMNS": "x"},
}


WITHOUT_A_CACHE = ("a home that nobody can write to", "a cache that is a file")


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_odd_environment(name: str, make_box: MakeBox, tmp_path: Path) -> None:
    own = {} if name == "an empty home" or "home" in name else {"HOME": str(tmp_path)}
    variables = {**KEEP, **({} if name == "nothing but a path" else own), **ENVIRONMENTS[name]}
    root = make_box(name="böx \udcff")
    for words in (["validate"], ["run", "--task=copy", "--platform=local"], ["runs"], ["show"], ["describe"]):
        done = subprocess.run(
            [*MLBOX, *words, "--mlbox", os.fsencode(root)],
            env=variables,
            capture_output=True,
            check=False,
            timeout=60,
        )
        if words[0] == "run" and name in WITHOUT_A_CACHE:
            assert done.returncode == 73
            assert b"set MLCOMMONS_BOX_CACHE to a directory that you can write to" in done.stderr
        elif words[0] != "show" or name not in WITHOUT_A_CACHE:
            assert done.returncode == 0, (words, done.stderr[-500:])
    if name not in WITHOUT_A_CACHE:
        assert records_of(root / "workspace")[-1].status == "succeeded"


@pytest.mark.parametrize("mask", [0o000, 0o077, 0o777])
def test_an_odd_umask(mask: int, make_box: MakeBox) -> None:
    """Under 0777 nobody but root can use what was made: a known end, and what is made is no defect."""
    root = make_box()
    done = call("run", root, "--platform=local", umask=mask)
    assert done.returncode in ((0, 73, 69, 1) if mask == 0o777 else (0,)), done.stderr
    assert DEFECT not in done.stderr
    assert call("runs", "--mlbox", root).returncode == 0
    if mask == 0:
        modes = {path.stat().st_mode & 0o777 for path in (root / "workspace/.mlbox").rglob("*")}
        assert modes <= {0o666, 0o777}


def test_a_workspace_that_is_read_only(box: Path) -> None:
    workspace = box / "workspace"
    subprocess.run(["mount", "--bind", str(workspace), str(workspace)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(workspace)], check=True)
        before = (workspace / ".mlbox/runs.jsonl").read_bytes()
        done = call("run", box, "--platform=local")
        assert done.returncode == 73, done.stderr
        assert "Read-only file system" in done.stderr
        assert (workspace / ".mlbox/runs.jsonl").read_bytes() == before
        for words in (["runs"], ["show"], ["logs"], ["why", "--task=copy", "--platform=local"], ["describe"]):
            assert call(*words, "--mlbox", box).returncode == 0, words
        for words in (["gc", "--keep=0"], ["rm", "copy"], ["clean", "--yes"]):
            assert call(*words, "--mlbox", box).returncode == 73, words
    finally:
        subprocess.run(["umount", str(workspace)], check=True)


# ---- Signals -------------------------------------------------------------------------------------

SLOW = """\
import sys, time
open(sys.argv[3].split("=", 1)[1], "w").write("begun")
print("begun", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_a_run_and_its_record_says_so(number: signal.Signals, make_box: MakeBox) -> None:
    root = make_box({"build/echo.py": SLOW})
    command = [*MLBOX, "run", str(root), "--platform=local"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(number)
        assert process.wait(timeout=30) == 128 + number
    (record,) = records_of(root / "workspace")
    assert (record.status, record.exit_status) == ("cancelled", 128 + number)


# ---- Clocks --------------------------------------------------------------------------------------

AT_ANOTHER_TIME = """\
import sys, time
jump, now, now_ns, gmtime = float(sys.argv[1]), time.time, time.time_ns, time.gmtime
time.time = lambda: now() + jump
time.time_ns = lambda: now_ns() + int(jump * 1e9)
time.gmtime = lambda seconds=None: gmtime(time.time() if seconds is None else seconds)
from mlcommons_box.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


def test_a_clock_that_jumps_makes_no_run_look_up_to_date_or_wrong(make_box: MakeBox) -> None:
    root = make_box()
    source, target = root / "workspace/in.txt", root / "workspace/out/copy.txt"
    jumps = (0, -86400 * 400, 86400 * 400, -3600, 0, 3600, -86400 * 20000, 1)
    for number, jump in enumerate(jumps):
        source.write_text(f"{number % 3}\n")
        command = [sys.executable, "-c", AT_ANOTHER_TIME, str(jump)]
        for words in (
            ["run", "--skip-unchanged", "--task=copy"],
            ["why", "--task=copy"],
            ["runs"],
            ["show"],
            ["status"],
        ):
            on = ["--platform=local"] if words[0] in ("run", "why") else []
            done = subprocess.run(
                [*command, *words, *on, "--mlbox", str(root)], capture_output=True, text=True, check=False
            )
            # By a clock that went back, another run is the last one: then it is run again, which is never wrong.
            assert done.returncode == 0 or (words[0] == "why" and done.returncode == 1), (jump, words, done.stderr)
        assert target.read_text() == f"{number % 3}\n"
    records = records_of(root / "workspace")
    assert {record.status for record in records} == {"succeeded"}
    assert all(record.duration is not None and 0 <= record.duration < 60 for record in records)
    assert len({record.id for record in records}) == len(records)


# ---- Many at once --------------------------------------------------------------------------------


def test_fifty_commands_at_once_in_one_workspace(box: Path, tmp_path: Path) -> None:
    """Runs, lists, reports and removals: each ends as it does alone, and every run has one whole record."""
    kinds = (
        ["run", "--task=copy", "--platform=local", "-q"],
        ["runs", "--json"],
        ["gc", "--keep=1000"],
        ["report", "--force"],
        ["show", "--json"],
    )
    commands = [list(kinds[number % len(kinds)]) for number in range(50)]
    random.Random(4).shuffle(commands)

    def one(number: int) -> tuple[list[str], subprocess.CompletedProcess[str]]:
        words = commands[number]
        more = [f"--output={tmp_path}/{number}.html"] if words[0] == "report" else []
        return words, call(*words, *more, "--mlbox", box)

    with ThreadPoolExecutor(50) as pool:
        ended = list(pool.map(one, range(50)))
    for words, done in ended:
        assert done.returncode == 0, (words, done.stderr)
        if "--json" in words:
            json.loads(done.stdout)
    records = records_of(box / "workspace")
    assert len(records) == 11
    assert {record.status for record in records} == {"succeeded"}


# ---- A daemon that dies, or hangs ----------------------------------------------------------------

PATIENCE = 60.0
"""Seconds in which a command has to end when its daemon is gone."""


class Daemon:
    """A Docker daemon of our own, beside the one of the machine, with one image.

    It is in a network of its own: a daemon without a bridge removes ``docker0``, and that is the machine's.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "docker.sock"
        self.log = (directory / "log").open("wb")
        self.process = subprocess.Popen(
            [
                "unshare",
                "--net",
                "dockerd",
                f"--host=unix://{self.socket}",
                f"--data-root={directory}/data",
                f"--exec-root={directory}/exec",
                f"--pidfile={directory}/pid",
                "--bridge=none",
                "--iptables=false",
                "--ip6tables=false",
            ],
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.environment = {**os.environ, "DOCKER_HOST": f"unix://{self.socket}"}
        deadline = time.monotonic() + 60
        while self.docker("version").returncode:
            assert time.monotonic() < deadline, (directory / "log").read_text()[-500:]
            time.sleep(0.2)

    def docker(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["docker", *words], env=self.environment, capture_output=True, check=False, timeout=120
        )

    def end(self) -> None:
        """End it with all that it has started, by their ids, and take what it has mounted away."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        self.log.close()
        for name in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):
                if str(self.directory).encode() in Path("/proc", name, "cmdline").read_bytes():
                    os.kill(int(name), signal.SIGKILL)
        mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for place in sorted((each for each in mounted if each.startswith(str(self.directory))), reverse=True):
            subprocess.run(["umount", "--lazy", place], check=False, capture_output=True)
        subprocess.run(["rm", "-rf", str(self.directory)], check=False, capture_output=True)


@pytest.fixture(scope="module")
def base_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("base") / "image.tar"
    subprocess.run(["docker", "save", "--output", str(file), engines.BASE_IMAGE], check=True)
    return file


@pytest.fixture(scope="module")
def daemon(base_image: Path) -> Iterator[Daemon]:
    daemon = Daemon(Path(tempfile.mkdtemp(prefix="mlbox-dockerd-", dir="/tmp")))  # the name of a socket is short
    try:
        assert daemon.docker("load", "--input", str(base_image)).returncode == 0
        yield daemon
    finally:
        daemon.end()


IMPATIENT = """\
import sys
from mlcommons_box import process
from mlcommons_box.runners import docker
process.GRACE, docker._PATIENCE = 2.0, 4.0
from mlcommons_box.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.engine("docker")
@pytest.mark.parametrize("what", ["hangs and the time is over", "hangs and the user interrupts", "dies"])
def test_a_daemon_in_the_middle_of_a_run(what: str, daemon: Daemon, make_box: MakeBox) -> None:
    root = make_box(
        {
            "build/echo.py": SLOW.replace("60", "20"),
            "build/Dockerfile": f'FROM {engines.BASE_IMAGE}\nCOPY echo.py /\nENTRYPOINT ["python3", "/echo.py"]\n',
            "platforms/p.yaml": "schema_type: mlbox_docker\nschema_version: 1.1.0\nimage: mlbox-daemon\n"
            "docker_runtime: docker\n",
        }
    )
    command = [sys.executable, "-c", IMPATIENT, "run", str(root), "--platform=p"]
    if what == "hangs and the time is over":
        command.append("--timeout=4s")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=daemon.environment, text=True, **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == "begun\n"
        began = time.monotonic()
        daemon.process.send_signal(signal.SIGKILL if what == "dies" else signal.SIGSTOP)
        if what == "hangs and the user interrupts":
            process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    assert time.monotonic() - began < PATIENCE
    (record,) = records_of(root / "workspace")
    assert record.status == {"dies": "failed", "hangs and the user interrupts": "cancelled"}.get(what, "failed")
    assert record.exit_status == process.returncode != 0
    assert DEFECT not in said
    if what != "dies":
        assert f"the container mlbox-{record.id} may go on" in str(record.reason)
    daemon.process.send_signal(signal.SIGCONT)  # in this order, as one daemon is for all three
    again = call("why", "--task=copy", "--platform=p", "--mlbox", root, env=daemon.environment)
    assert again.returncode == 1, again.stdout
