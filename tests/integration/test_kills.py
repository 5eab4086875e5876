"""Whatever is killed, and whenever: a record never says too much, and nothing wrong is ever taken for up to date.

Each case is tried at twenty moments, spread over the whole of a run, from a seed that the test's id shows.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests import engines
from tests.conftest import records_of, write_files

MLBOX = str(Path(sys.executable).parent / "mlbox")
MOMENTS = 20
LINES = 25
EXPECTED = "".join(f"line {number}\n" for number in range(LINES))
TASK = f"""\
import pathlib, sys, time
values = dict(word[2:].split("=", 1) for word in sys.argv[2:])
text = pathlib.Path(values["data"]).read_text()
with open(values["out"], "w") as out:
    for number in range({LINES}):
        out.write(f"line {{number}}\\n")
        out.flush()
        time.sleep(0.01)
print("done")
"""
HEAD = "schema_version: 1.0.0\nschema_type: "
FILES = {
    "mlbox.yaml": f"{HEAD}mlbox_root\nname: lines\nauthor: a\nversion: 1.0.0\nmlbox_spec_version: 1.0.0\n"
    "tasks: [tasks/write.yaml]\n",
    "tasks/write.yaml": f"{HEAD}mlbox_task\ninputs: [{{name: data, type: file}}]\n"
    "outputs: [{name: out, type: file}]\n",
    "run/write.yaml": f"{HEAD}mlbox_invoke\ntask_name: write\ninput_binding: {{data: data.txt}}\n"
    "output_binding: {out: out.txt}\n",
    "build/lines.py": TASK,
    "build/Dockerfile": f'FROM {engines.BASE_IMAGE}\nCOPY lines.py /\nENTRYPOINT ["python3", "/lines.py"]\n',
    "build/Singularity.recipe": f"Bootstrap: docker\nFrom: {engines.REGISTRY}/{engines.BASE_IMAGE}\n"
    '%files\n    lines.py /lines.py\n%runscript\n    exec python3 /lines.py "$@"\n',
    "workspace/data.txt": "data\n",
}


class Box:
    """The box, run by commands as a user runs them."""

    def __init__(self, root: Path, platform: str, workspace: Path | None = None) -> None:
        self.root = root
        self.platform = platform
        self.workspace = workspace or root / "workspace"
        self.environ = {**os.environ, "MLCOMMONS_BOX_CACHE": os.environ["MLCOMMONS_BOX_CACHE"]}

    @property
    def out(self) -> Path:
        return self.workspace / "out.txt"

    def elsewhere(self, name: str) -> Box:
        """The same box in a workspace of its own, where the same has been run."""
        workspace = self.root.with_name(name)
        shutil.copytree(self.workspace, workspace)
        return Box(self.root, self.platform, workspace)

    def words(self, command: str) -> list[str]:
        return [command, str(self.root), f"--platform={self.platform}", f"--workspace={self.workspace}"]

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [MLBOX, *self.words("run"), "--skip-unchanged", "-q"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=self.environ,
        )

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([MLBOX, *words], capture_output=True, text=True, check=False, env=self.environ)

    def statuses(self) -> list[str]:
        """How all runs are; the store has to be readable."""
        return [record.status for record in records_of(self.workspace)]

    def until_nothing_writes(self) -> None:
        """Wait for a task that was left alone."""
        size = -1
        while self.out.exists() and size != (size := self.out.stat().st_size):
            time.sleep(0.15)

    def check(self) -> None:
        """What is said to have succeeded has made the whole output, and the next run makes it right."""
        self.statuses()
        done = self.call(*self.words("why"))
        assert done.returncode in (0, 1), done.stderr
        if done.returncode == 0:
            assert self.out.read_text() == EXPECTED
        done = self.call(*self.words("run"), "--skip-unchanged", "-q")
        assert done.returncode == 0, done.stderr
        assert self.out.read_text() == EXPECTED
        assert "succeeded" in self.statuses()

    def containers(self) -> set[bytes]:
        """What the containers of its runs are called."""
        return {f"mlbox-{record.id}".encode() for record in records_of(self.workspace)}

    def processes(self) -> list[int]:
        """What still runs for its runs: it is told the name of a container, or sees the workspace mounted."""
        names = self.containers()
        mounted = os.fsencode("/".join(self.workspace.parts[-3:]))
        found = []
        for pid in all_processes():
            with suppress(OSError):
                if names & set(arguments(pid)) or mounted in Path(f"/proc/{pid}/mountinfo").read_bytes():
                    found.append(pid)
        return found


@pytest.fixture
def box(tmp_path: Path) -> Box:
    made = Box(write_files(tmp_path / "box", FILES), "local")
    assert made.call("run", str(made.root), "--platform=local", "-q").returncode == 0
    return made


def moments(name: str, longest: float) -> Iterator[float]:
    chance = random.Random(name)
    for number in range(MOMENTS):
        yield (number + chance.random()) / MOMENTS * longest


def all_processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def arguments(pid: int) -> list[bytes]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return [b""]


def children(pid: int) -> list[int]:
    """Those of all its threads; none when it has ended."""
    found = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += [int(word) for word in (thread / "children").read_text().split()]
    return found


def kill_part(pid: int, part: str) -> None:
    """Kill a process, all that it started, or both; while it stands still it starts nothing more."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        seen: set[int] = set()
        while part != "itself" and (new := set(children(pid)) - seen):
            seen |= new
            for child in new:
                kill_part(child, "both")
        os.kill(pid, signal.SIGCONT if part == "all below" else signal.SIGKILL)


def kill_ours(process: subprocess.Popen[bytes]) -> None:
    process.kill()


def kill_what_it_started(process: subprocess.Popen[bytes]) -> None:
    for pid in children(process.pid):
        kill_part(pid, "both")


@pytest.mark.parametrize("kill", [kill_ours, kill_what_it_started])
def test_kill_at_any_moment(box: Box, kill: Callable[[subprocess.Popen[bytes]], None]) -> None:
    for moment in moments(kill.__name__, 0.6):
        box.out.unlink(missing_ok=True)
        process = box.start()
        time.sleep(moment)
        was_running = process.poll() is None
        kill(process)
        status = process.wait()
        if kill is kill_ours and was_running:
            assert status == -signal.SIGKILL
            assert box.statuses()[-1] in ("lost", "succeeded")
        if status == 0:
            assert box.out.read_text() == EXPECTED
        box.until_nothing_writes()
        box.check()


@contextmanager
def image_of(box: Box, executable: str) -> Iterator[None]:
    """The box has a platform of Docker or Podman, whose image and containers are gone in the end."""
    image = f"mlbox-kills:{uuid.uuid4().hex[:8]}"
    platform = f"{HEAD}mlbox_docker\nimage: {image}\ndocker_runtime: {executable}\n"
    write_files(box.root, {f"platforms/{executable}.yaml": platform})
    box.platform = executable
    try:
        done = box.call("configure", str(box.root), f"--platform={executable}", "-q")
        assert done.returncode == 0, done.stderr
        yield
    finally:
        subprocess.run([executable, "rmi", "--force", image], capture_output=True, check=True)


def containers(executable: str) -> set[bytes]:
    """What the containers of an engine are called."""
    command = [executable, "ps", "--all", "--format", "{{.Names}}"]
    return set(subprocess.run(command, capture_output=True, check=True).stdout.split())


@pytest.mark.engine("docker")
def test_kill_the_client_of_an_engine_at_any_moment(box: Box) -> None:
    with image_of(box, "docker"):
        for moment in moments("docker", 1.2):
            box.out.unlink(missing_ok=True)
            process = box.start()
            time.sleep(moment)
            kill_what_it_started(process)
            if process.wait() == 0:
                assert box.out.read_text() == EXPECTED
            box.until_nothing_writes()
            box.check()
        assert not containers("docker") & box.containers()


Find = Callable[[Box, subprocess.Popen[bytes]], list[int]]
"""The processes of an engine that belong to a run; none while they are not there yet."""

PARTS = ("itself", "all below", "both")


def client(box: Box, process: subprocess.Popen[bytes]) -> list[int]:
    return children(process.pid)


def monitor(box: Box, process: subprocess.Popen[bytes]) -> list[int]:
    """Podman's conmon; below it is the OCI runtime at first, then the container."""
    names = box.containers()
    return [pid for pid in all_processes() if arguments(pid)[0].endswith(b"conmon") and names & set(arguments(pid))]


def kill_at_any_moment(box: Box, find: Find, parts: Sequence[str], longest: float) -> None:
    """Kill parts of an engine, in turn, in twenty workspaces, at moments counted from when it is there.

    They are checked side by side: Podman waits for 20 seconds when its monitor is gone.
    """

    def end(each: Box, process: subprocess.Popen[bytes]) -> int:
        status = process.wait()
        assert not each.processes()
        if status == 0:
            assert each.out.read_text() == EXPECTED
        each.check()
        return status

    box.out.unlink()
    boxes = [box.elsewhere(f"workspace-{number:02}") for number in range(MOMENTS)]
    ends = []
    with ThreadPoolExecutor(MOMENTS) as pool:
        for number, moment in enumerate(moments(find.__name__, longest)):
            process = boxes[number].start()
            while process.poll() is None and not find(boxes[number], process):
                time.sleep(0.01)
            time.sleep(moment)
            if process.poll() is None:
                for pid in find(boxes[number], process):
                    kill_part(pid, parts[number % len(parts)])
            ends.append(pool.submit(end, boxes[number], process))
    statuses = [each.result() for each in ends]
    assert any(statuses)
    if box.platform != "apptainer":
        assert not containers(box.platform) & set().union(*(each.containers() for each in boxes))


@pytest.mark.engine("podman")
@pytest.mark.parametrize(
    ("find", "parts", "longest"), [(client, ["both"], 0.6), (monitor, PARTS, 0.4)], ids=["client", "monitor"]
)
def test_kill_a_process_of_podman_at_any_moment(box: Box, find: Find, parts: Sequence[str], longest: float) -> None:
    with image_of(box, "podman"):
        kill_at_any_moment(box, find, parts, longest)


@pytest.mark.engine("apptainer")
def test_kill_a_process_of_apptainer_at_any_moment(box: Box, tmp_path: Path) -> None:
    image = tmp_path / "lines.sif"
    write_files(box.root, {"platforms/apptainer.yaml": f"{HEAD}mlbox_singularity\nimage: {image}\n"})
    box.platform = "apptainer"
    # To compress it takes longer than all the rest.
    build = ["apptainer", "build", "--mksquashfs-args", "-noI -noD -noF -noX", str(image), "Singularity.recipe"]
    subprocess.run(build, cwd=box.root / "build", capture_output=True, check=True)
    try:
        kill_at_any_moment(box, client, PARTS, 0.4)
    finally:
        image.unlink()


def test_a_disk_that_is_full_at_any_moment(box: Box, tmp_path: Path) -> None:
    """The workspace lies on a disk of its own, which has room for a few bytes more each time."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], check=True)
    try:
        for number in range(MOMENTS):
            for path in sorted(disk.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            (disk / "data.txt").write_text("data\n")
            words = ("run", str(box.root), "--platform=local", "--skip-unchanged", "-q", f"--workspace={disk}")
            with (disk / "filler").open("wb") as filler:
                free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
                filler.write(b"x" * max(0, free - number * 4096))
            done = box.call(*words)
            listed = box.call("runs", f"--workspace={disk}", "--json")
            assert listed.returncode == 0, listed.stderr
            statuses = [record["status"] for record in json.loads(listed.stdout)]
            whole = (disk / "out.txt").exists() and (disk / "out.txt").read_text() == EXPECTED
            assert done.returncode != 0 or whole
            assert "succeeded" not in statuses or whole
            (disk / "filler").unlink()
            assert box.call(*words).returncode == 0
            assert (disk / "out.txt").read_text() == EXPECTED
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_two_at_once_in_one_workspace(box: Box) -> None:
    for _ in range(5):
        box.out.unlink(missing_ok=True)
        before = len(box.statuses())
        processes = [box.start(), box.start()]
        assert [process.wait() for process in processes] == [0, 0]
        assert len(box.statuses()) in (before + 1, before + 2)
        box.check()
