"""Many processes write the records of one workspace at once, while others read and remove: nothing is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlcommons_box.run_store import RunStore
from tests.conftest import REPOSITORY, records_of
from tests.recorded_runs import recorded

WRITERS = 50
EACH = 100
WRITER = """\
import sys
from pathlib import Path
from mlcommons_box.run_store import RunStore
from mlcommons_box.value import replace
from tests.recorded_runs import recorded

writer, count, workspace, run = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
store = RunStore(workspace)
print("ready", flush=True)
sys.stdin.read()
for number in range(count):
    record = replace(recorded(number, store), id=f"{writer:04}-{number:04}", run=run)
    record = replace(record, status="running", exit_status=None)
    store.begin(record)
    store.write(replace(record, native_id=str(number)))
    store.write(replace(record, native_id=str(number), status="succeeded", exit_status=0))
"""
READER = """\
import sys
from pathlib import Path
from mlcommons_box.run_store import RunStore

store, known = RunStore(Path(sys.argv[1])), set()
print("ready", flush=True)
while True:
    records, unreadable = store.read_all()
    assert not unreadable, unreadable
    found = {(record.id, record.status) for record in records if record.run == "kept"}
    ended = {run_id for run_id, status in found if status == "succeeded"}
    assert known <= ended, known - ended  # what was there once is there for ever
    known = ended
"""
REMOVER = """\
import sys
from mlcommons_box.cli.main import main

print("ready", flush=True)
while True:
    status = main(["gc", "--keep=5", "--older-than=1h", f"--workspace={sys.argv[1]}"])
    assert status == 0, status
"""


def started(program: str, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )


def ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout
    assert process.stdout.readline() == "ready\n", process.communicate()[1]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "workspace").mkdir()
    return tmp_path / "workspace"


def go(process: subprocess.Popen[str]) -> None:
    """Let it begin."""
    assert process.stdin
    process.stdin.close()
    process.stdin = None


def all_at_once(processes: list[subprocess.Popen[str]], seconds: float) -> None:
    for process in processes:
        ready(process)
    for process in processes:
        go(process)
    for process in processes:
        _, said = process.communicate(timeout=seconds)
        assert process.returncode == 0, said


def watched(workspace: Path, work: Callable[[], None], *programs: str) -> None:
    """Do something while others read and remove without a pause."""
    beside = [started(program, workspace) for program in programs]
    try:
        for process in beside:
            ready(process)
        work()
        for process in beside:
            assert process.poll() is None, process.communicate()[1]
    finally:
        for process in beside:
            process.kill()
            process.communicate()


def test_fifty_processes_write_while_one_reads(workspace: Path) -> None:
    def work() -> None:
        all_at_once([started(WRITER, writer, EACH, workspace, "kept") for writer in range(WRITERS)], 300)

    watched(workspace, work, READER)
    records = records_of(workspace)
    assert len(records) == WRITERS * EACH
    assert {record.status for record in records} == {"succeeded"}


def test_fifty_processes_write_while_one_removes_and_one_reads(workspace: Path) -> None:
    """Half of them write records that are old enough to go, the others such as have to stay."""
    young = WRITER.replace('status="running"', 'started_at="2099-01-01T00:00:00.000Z", status="running"')

    def work() -> None:
        writers = [started(young, writer, EACH, workspace, "kept") for writer in range(WRITERS // 2)]
        writers += [started(WRITER, writer + 1000, EACH, workspace, "old") for writer in range(WRITERS // 2)]
        all_at_once(writers, 300)

    watched(workspace, work, READER, REMOVER)
    records = records_of(workspace)
    kept = {record.id for record in records if record.run == "kept"}
    assert len(kept) == WRITERS // 2 * EACH
    assert {record.status for record in records} == {"succeeded"}
    assert any(record.run == "old" for record in records)  # the last one that succeeded always stays


def test_processes_that_are_killed_while_they_write_leave_whole_records(workspace: Path) -> None:
    chance = random.Random(5)  # a test, the same every time
    for round_ in range(15):
        process = started(WRITER, round_, 100_000, workspace, "kept")
        ready(process)
        go(process)
        time.sleep(chance.random() * 0.2)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    records = records_of(workspace)
    assert records
    store = RunStore(workspace)
    store.write(recorded(1, store))
    assert len(records_of(workspace)) == len(records) + 1
    lines = store.journal.content().split(b"\n")[:-1]
    broken = [line for line in lines if not is_json(line)]
    assert len(broken) <= 15


def is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
