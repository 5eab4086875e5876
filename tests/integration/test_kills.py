"""Whatever is killed, and whenever: a record never says too much, and nothing wrong is ever taken for up to date.

Each case is tried at twenty moments, spread over the whole of a run, from a seed that the test's id shows.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import engines
from tests.conftest import write_files

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
    "platforms/docker.yaml": f"{HEAD}mlbox_docker\nimage: mlbox-kills\ndocker_runtime: docker\n",
    "workspace/data.txt": "data\n",
}


class Box:
    """The box, run by commands as a user runs them."""

    def __init__(self, root: Path, platform: str) -> None:
        self.root = root
        self.platform = platform
        self.environ = {**os.environ, "MLCOMMONS_BOX_CACHE": os.environ["MLCOMMONS_BOX_CACHE"]}

    @property
    def out(self) -> Path:
        return self.root / "workspace/out.txt"

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [MLBOX, "run", str(self.root), f"--platform={self.platform}", "--skip-unchanged", "-q"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=self.environ,
        )

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([MLBOX, *words], capture_output=True, text=True, check=False, env=self.environ)

    def statuses(self) -> list[str]:
        """How all runs are; the store has to be readable."""
        done = self.call("runs", str(self.root), "--json")
        assert done.returncode == 0, done.stderr
        return [record["status"] for record in json.loads(done.stdout)]

    def until_nothing_writes(self) -> None:
        """Wait for a task that was left alone."""
        size = -1
        while self.out.exists() and size != (size := self.out.stat().st_size):
            time.sleep(0.15)

    def check(self) -> None:
        """What is said to have succeeded has made the whole output, and the next run makes it right."""
        self.statuses()
        done = self.call("why", str(self.root), f"--platform={self.platform}")
        assert done.returncode in (0, 1), done.stderr
        if done.returncode == 0:
            assert self.out.read_text() == EXPECTED
        done = self.call("run", str(self.root), f"--platform={self.platform}", "--skip-unchanged", "-q")
        assert done.returncode == 0, done.stderr
        assert self.out.read_text() == EXPECTED
        assert "succeeded" in self.statuses()


@pytest.fixture
def box(tmp_path: Path) -> Box:
    made = Box(write_files(tmp_path / "box", FILES), "local")
    assert made.call("run", str(made.root), "--platform=local", "-q").returncode == 0
    return made


def moments(name: str, longest: float) -> Iterator[float]:
    chance = random.Random(name)
    for number in range(MOMENTS):
        yield (number + chance.random()) / MOMENTS * longest


def descendants(pid: int) -> list[int]:
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [int(child), *descendants(int(child))]
    return found


def kill_ours(process: subprocess.Popen[bytes]) -> None:
    process.kill()


def kill_what_it_started(process: subprocess.Popen[bytes]) -> None:
    try:
        for pid in descendants(process.pid):
            os.kill(pid, signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        pass


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


@pytest.mark.engine("docker")
def test_kill_the_client_of_an_engine_at_any_moment(box: Box) -> None:
    box.platform = "docker"
    assert box.call("configure", str(box.root), "--platform=docker", "-q").returncode == 0
    try:
        for moment in moments("docker", 1.2):
            box.out.unlink(missing_ok=True)
            process = box.start()
            time.sleep(moment)
            kill_what_it_started(process)
            if process.wait() == 0:
                assert box.out.read_text() == EXPECTED
            box.until_nothing_writes()
            box.check()
        names = subprocess.run(
            ["docker", "ps", "-a", "--filter", "label=org.mlcommons.box.box=lines", "-q"],
            capture_output=True,
            check=True,
        )
        assert names.stdout == b""
    finally:
        subprocess.run(["docker", "rmi", "--force", "mlbox-kills"], capture_output=True, check=True)


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
