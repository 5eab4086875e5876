"""What real runs leave behind, and what the commands make of it: however a run ends, its record says so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mlcommons_box.errors import EX_INTERRUPTED, EX_TIMED_OUT
from tests.conftest import MakeBox
from tests.integration.test_command_line import MLBOX, mlbox

PROGRAM = """\
import pathlib, sys, time
task, *arguments = sys.argv[1:]
paths = dict(argument[2:].split("=", 1) for argument in arguments)
words = pathlib.Path(paths["source"]).read_text().split()
sys.stdout.buffer.write(b"out \\xff\\n")
sys.stdout.flush()
sys.stderr.write("err\\n")
if words[0] == "wait":
    gate = pathlib.Path(paths["source"] + ".gate")
    deadline = time.monotonic() + 60
    while not gate.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    print("after the gate")
sys.exit(int(words[1]))
"""


@pytest.fixture
def box(make_box: MakeBox) -> Path:
    """A box whose task does what its input says: ``now 0`` or ``wait 0``, where the number is its exit status."""
    return make_box({"build/echo.py": PROGRAM, "workspace/in.txt": "now 0\n"})


def says(box: Path, words: str) -> None:
    (box / "workspace/in.txt").write_text(words)


def record(box: Path, *words: str) -> dict[str, Any]:
    result = mlbox("show", *words, "--json", "--mlbox", box)
    assert result.returncode == 0, result.stderr
    data = json.loads(result.stdout)
    assert isinstance(data, dict)
    return data


def wait_until(happened: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def started(box: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A run whose task has begun to wait."""
    says(box, "wait 0")
    command = [*MLBOX, "run", "--platform=local", str(box)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"out \xff\n"
            yield process
        finally:
            (box / "workspace/in.txt.gate").touch()
            if process.poll() is None:
                process.terminate()


def run(box: Path, *words: str) -> int:
    return mlbox("run", "--platform=local", *words, box, errors="replace").returncode


def test_a_run_that_succeeds(box: Path) -> None:
    assert run(box) == 0
    data = record(box)
    assert (data["status"], data["exit_status"], data["run"], data["platform"]) == ("succeeded", 0, "copy", "local")
    assert data["duration"] >= 0
    assert data["plan"]["parameters"][0]["path"] == str(box / "workspace/in.txt")
    assert any("echo.py" in command for command in data["commands"])
    logs = subprocess.run([*MLBOX, "logs", f"--mlbox={box}"], capture_output=True, check=True)
    assert (logs.stdout, logs.stderr) == (b"out \xff\n", b"err\n")


def test_a_run_that_fails(box: Path) -> None:
    says(box, "now 7")
    assert run(box) == 7
    data = record(box)
    assert (data["status"], data["exit_status"]) == ("failed", 7)


def test_a_run_that_takes_too_long(box: Path) -> None:
    says(box, "wait 0")
    assert run(box, "--timeout=0.5") == EX_TIMED_OUT
    data = record(box)
    assert (data["status"], data["exit_status"]) == ("failed", EX_TIMED_OUT)
    assert "it ran longer than 0.5 s" in data["reason"]


def test_a_run_that_is_interrupted(box: Path) -> None:
    with started(box) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == EX_INTERRUPTED
    data = record(box)
    assert (data["status"], data["exit_status"], data["reason"]) == ("cancelled", EX_INTERRUPTED, "interrupted")


def test_a_run_that_goes_on_and_then_loses_its_mlbox(box: Path) -> None:
    with started(box) as process:
        data = record(box)
        assert (data["status"], data["ended_at"], data["supervisor"]["pid"]) == ("running", None, process.pid)
        task = int(data["native_id"])
        process.kill()
        wait_until(lambda: record(box)["status"] != "running")  # also before anybody has waited for the process
        process.wait(30)
    data = record(box)
    assert (data["status"], data["exit_status"]) == ("lost", None)
    assert "mlbox ended before the run did" in mlbox("show", f"--mlbox={box}").stdout
    assert " lost " in mlbox("runs", box).stdout
    wait_until(lambda: not Path(f"/proc/{task}").exists())


def test_all_of_them_are_listed_and_found(box: Path) -> None:
    assert run(box) == 0
    says(box, "now 3")
    assert run(box) == 3
    text = mlbox("runs", box).stdout
    listed = json.loads(mlbox("runs", box, "--json").stdout)
    assert [each["status"] for each in listed] == ["succeeded", "failed"]
    for each in listed:
        end = each["id"].rpartition("-")[2]
        assert end in text
        for name in (each["id"], end):
            assert record(box, name)["id"] == each["id"]
    assert record(box, "copy")["id"] == listed[1]["id"]
    assert [each["exit_status"] for each in json.loads(mlbox("runs", box, "--json", "--last=1").stdout)] == [3]


def test_runs_at_the_same_time_have_records_of_their_own(box: Path) -> None:
    mlbox("configure", box)
    command = [*MLBOX, "run", "--platform=local", str(box)]
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    listed = json.loads(mlbox("runs", box, "--json").stdout)
    assert len({each["id"] for each in listed}) == 4
    assert {each["status"] for each in listed} == {"succeeded"}


def follower(box: Path) -> subprocess.Popen[bytes]:
    command = [*MLBOX, "logs", "--follow", f"--mlbox={box}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_logs_are_followed_live_to_the_end(box: Path) -> None:
    with started(box) as process, follower(box) as following:
        assert following.stdout
        assert following.stdout.readline() == b"out \xff\n"
        assert process.poll() is None
        assert following.poll() is None
        (box / "workspace/in.txt.gate").touch()
        assert following.stdout.readline() == b"after the gate\n"
        out, err = following.communicate(timeout=30)
        assert (following.returncode, out, err) == (0, b"", b"err\n")
        assert process.wait(30) == 0


def test_following_ends_when_the_run_is_lost(box: Path) -> None:
    with started(box) as process, follower(box) as following:
        assert following.stdout
        following.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        assert following.wait(30) == 0


def test_ctrl_c_ends_the_following_and_not_the_run(box: Path) -> None:
    with started(box) as process, follower(box) as following:
        assert following.stdout
        following.stdout.readline()
        following.send_signal(signal.SIGINT)
        _, err = following.communicate(timeout=30)
        assert following.returncode == EX_INTERRUPTED
        assert b"Traceback" not in err
        (box / "workspace/in.txt.gate").touch()
        assert process.wait(30) == 0
    assert record(box)["status"] == "succeeded"


def test_a_reader_of_logs_that_leaves_is_no_error_of_ours(box: Path) -> None:
    assert run(box) == 0
    log = Path(record(box)["logs"]["stdout"])
    log.write_bytes(b"line\n" * 1_000_000)
    with subprocess.Popen(
        [*MLBOX, "logs", f"--mlbox={box}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == b"line\n"
        process.stdout.close()
        assert process.wait(30) == 128 + signal.SIGPIPE
        assert process.stderr.read() == b""
