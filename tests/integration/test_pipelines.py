"""Pipelines as a user runs them: order, parallel runs, failures, and every way to be ended."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mlcommons_box.cache import CACHE_VARIABLE
from mlcommons_box.errors import EX_CANNOT_CREATE, EX_CONFIGURATION, EX_MISSING_INPUT, EX_UNAVAILABLE
from tests.conftest import write_files
from tests.integration.test_command_line import MLBOX, mlbox

PROGRAM = """\
import os, pathlib, signal, sys, time
task, *arguments = sys.argv[1:]
paths = dict(argument[2:].split("=", 1) for argument in arguments)
made = pathlib.Path(paths["made"])
words = pathlib.Path(paths["says"]).read_text().split()
print(f"{made.name} begins", flush=True)
deadline = time.monotonic() + 60
for word, *rest in (word.split(":") for word in words):
    if word == "meet":  # the other waits for us in the same way
        (made.parent / f"{made.name}.here").touch()
        while not (made.parent / f"{rest[0]}.here").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
    elif word == "fail":
        sys.exit(int(rest[0]))
    elif word == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif word == "wait":
        (made.parent / f"{made.name}.waits").touch()
        while time.monotonic() < deadline:
            time.sleep(0.01)
    elif word == "print":
        for number in range(int(rest[0])):
            print(made.name * 50, number, flush=True)
made.write_text(made.name)
"""
ROOT = """\
schema_version: 1.0.0
schema_type: mlbox_root
name: pipeline
author: somebody
version: 0.1.0
mlbox_spec_version: 0.1.0
tasks: [tasks/first.yaml, tasks/then.yaml]
"""
FIRST = """\
schema_version: 1.0.0
schema_type: mlbox_task
inputs: [{name: says, type: file}]
outputs: [{name: made, type: file}]
"""
THEN = FIRST.replace("inputs: [", "inputs: [{name: given, type: file}, ")
RUN = """\
schema_version: 1.0.0
schema_type: mlbox_invoke
task_name: %s
input_binding: {says: says/%s%s}
output_binding: {made: made/%s}
"""

MakePipeline = Callable[..., Path]


@pytest.fixture
def make_pipeline(tmp_path: Path) -> MakePipeline:
    """Makes a box whose runs do what they are told: ``name="fail:3"``, or ``name="<other meet:third"``."""

    def make(**runs: str) -> Path:
        files = {"mlbox.yaml": ROOT, "build/main.py": PROGRAM, "tasks/first.yaml": FIRST, "tasks/then.yaml": THEN}
        for name, words in runs.items():
            given = next((word[1:] for word in words.split() if word.startswith("<")), None)
            also = f", given: made/{given}" if given else ""
            files[f"run/{name}.yaml"] = RUN % ("then" if given else "first", name, also, name)
            files[f"workspace/says/{name}"] = " ".join(word for word in words.split() if not word.startswith("<"))
        return write_files(tmp_path / "pipeline", files)

    return make


def records(box: Path) -> dict[str, dict[str, Any]]:
    listed = json.loads(mlbox("runs", box, "--json").stdout)
    return {each["run"]: each for each in listed}


def states(box: Path) -> dict[str, str]:
    return {run: record["status"] for run, record in records(box).items()}


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("jobs", [1, 4])
def test_the_order_comes_from_the_data(make_pipeline: MakePipeline, jobs: int) -> None:
    box = make_pipeline(a="<b", b="<c", c="", d="")
    result = mlbox("run", box, "--all", f"--jobs={jobs}", "--json")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    told = [(each["event"], each.get("run")) for each in events(result.stdout)]
    assert told[:4] == [("planned", name) for name in "cdba"]
    ended = [run for event, run in told if event == "ended"]
    assert ended.index("c") < ended.index("b") < ended.index("a")
    summary = events(result.stdout)[-1]
    assert (summary["event"], summary["counts"], summary["exit_status"]) == ("summary", {"succeeded": 4}, 0)
    log = next(each["logs"]["stdout"] for each in events(result.stdout) if each["event"] == "ended")
    assert Path(log).read_text().endswith(" begins\n")


def test_several_tasks_that_are_named_run_and_no_others(make_pipeline: MakePipeline) -> None:
    box = make_pipeline(a="<b", b="", c="")
    result = mlbox("run", box, "--task=a", "--task=run/b.yaml", "--task=b")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "b begins\na begins\n"
    assert "==> 2 succeeded in " in result.stderr
    assert set(records(box)) == {"a", "b"}


def test_runs_that_need_each_other_at_the_same_time_prove_that_they_are(make_pipeline: MakePipeline) -> None:
    box = make_pipeline(a="meet:b", b="meet:a")
    result = mlbox("run", box, "--all", "--jobs=2")
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.splitlines()) == ["a | a begins", "b | b begins"]
    assert states(box) == {"a": "succeeded", "b": "succeeded"}


def test_lines_of_runs_at_the_same_time_stay_whole(make_pipeline: MakePipeline) -> None:
    box = make_pipeline(**{name: f"meet:{other} print:300" for name, other in ("ab", "ba", "cd", "dc")})
    result = mlbox("run", box, "--all", "--jobs=4")
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert len(lines) == 4 * 301
    for name in "abcd":
        own = [line.removeprefix(f"{name} | ") for line in lines if line.startswith(f"{name} | ")]
        assert own == [f"{name} begins", *(f"{name * 50} {number}" for number in range(300))]


def test_two_that_start_at_once_prepare_once(
    make_pipeline: MakePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "empty-cache"))
    box = make_pipeline(a="meet:b", b="meet:a")
    result = mlbox("run", box, "--all", "--jobs=2")
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("building a Python environment with uv from the standard library only: ") == 1


def test_a_preparation_that_fails_is_told_once(
    make_pipeline: MakePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "empty-cache"))
    box = make_pipeline(a="", b="")
    write_files(box, {"build/requirements.txt": "./nothing-here\n"})
    result = mlbox("run", box, "--all", "--jobs=2")
    assert result.returncode == EX_UNAVAILABLE
    assert result.stderr.count("cannot build the Python environment") in (
        1,
        2,
    )  # two, when they did not start at once
    assert states(box) in ({"a": "failed", "b": "failed"}, {"a": "failed"}, {"b": "failed"})


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failure_stops_what_is_new_and_nothing_that_runs(make_pipeline: MakePipeline, jobs: int) -> None:
    box = make_pipeline(a="meet:b fail:7" if jobs == 2 else "fail:7", b="meet:a", c="<a", d="")
    result = mlbox("run", box, "--all", f"--jobs={jobs}")
    assert result.returncode == 7
    found = states(box)
    assert found["a"] == "failed"
    assert "c" not in found
    if jobs == 2:
        assert found["b"] == "succeeded"
    else:
        assert set(found) == {"a"}
        assert "==> 1 failed, 3 not started in " in result.stderr
        assert "note: not started: " in result.stderr


@pytest.mark.parametrize("jobs", ["1", "3", "auto"])
def test_what_does_not_need_the_failure_still_runs(make_pipeline: MakePipeline, jobs: str) -> None:
    box = make_pipeline(a="fail:7", b="<a", c="<b", d="", e="<d")
    result = mlbox("run", box, "--all", f"--jobs={jobs}", "--keep-going", "--json")
    assert result.returncode == 7
    assert states(box) == {"a": "failed", "d": "succeeded", "e": "succeeded"}
    told = events(result.stdout)
    reasons = {each["run"]: each["reason"] for each in told if each["event"] == "not-started"}
    assert reasons == dict.fromkeys("bc", "it reads what 'a' should have written")
    assert told[-1]["counts"] == {"succeeded": 2, "failed": 1, "not-started": 2}


def test_runs_that_write_the_same_or_wait_in_a_circle_are_refused_before_anything_runs(
    make_pipeline: MakePipeline,
) -> None:
    box = make_pipeline(a="<b", b="<a", c="")
    result = mlbox("run", box, "--all")
    assert result.returncode == EX_CONFIGURATION
    assert f"'a' writes '{box}/workspace/made/a', which 'b' reads" in result.stderr
    write_files(box, {"run/d.yaml": (box / "run/c.yaml").read_text()})
    result = mlbox("run", box, "--task=c", "--task=d", "--json")
    assert result.returncode == EX_CONFIGURATION
    assert f"the runs 'c' and 'd' write '{box}/workspace/made/c'" in result.stderr
    assert result.stdout == ""
    assert records(box) == {}


def test_what_nobody_makes_is_missed_before_anything_runs(make_pipeline: MakePipeline) -> None:
    box = make_pipeline(a="", b="<a", z="")
    (box / "workspace/says/z").unlink()
    result = mlbox("run", box, "--all")
    assert result.returncode == EX_MISSING_INPUT
    assert records(box) == {}
    assert mlbox("run", box, "--all", "--keep-going").returncode == EX_MISSING_INPUT
    assert states(box) == {"a": "succeeded", "b": "succeeded"}


# ---- Being ended ---------------------------------------------------------------------------------


@contextmanager
def running(box: Path, *words: str, waiting: str) -> Iterator[subprocess.Popen[str]]:
    """A pipeline in which the runs with these names have begun to wait."""
    command = [*MLBOX, "run", str(box), "--all", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 30
            while not all((box / f"workspace/made/{name}.waits").exists() for name in waiting):
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield process
        finally:
            process.kill()


def tasks_of(box: Path) -> list[int]:
    """The processes of tasks that are alive."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(box / "build").encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_every_task_and_records_it(make_pipeline: MakePipeline, number: int, status: int) -> None:
    box = make_pipeline(a="wait", b="wait", c="wait", d="", e="<a")
    with running(box, "--jobs=3", waiting="abc") as process:
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == status
    assert tasks_of(box) == []
    assert states(box) == dict.fromkeys("abc", "cancelled")
    assert {each["exit_status"] for each in records(box).values()} == {status}
    assert "3 cancelled, 2 not started" in err
    assert "Traceback" not in err


def test_a_second_signal_ends_tasks_that_do_not_want_to(make_pipeline: MakePipeline) -> None:
    box = make_pipeline(a="stubborn wait", b="stubborn wait")
    with running(box, "--jobs=2", "--keep-going", waiting="ab") as process:
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert len(tasks_of(box)) == 2
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=8)
    assert process.returncode == 130
    assert tasks_of(box) == []
    assert states(box) == {"a": "cancelled", "b": "cancelled"}


def test_an_interrupt_outweighs_an_earlier_failure(make_pipeline: MakePipeline) -> None:
    box = make_pipeline(a="fail:7", b="wait", c="wait")
    with running(box, "--jobs=2", "--keep-going", "--json", waiting="bc") as process:
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert events(out)[-1]["exit_status"] == 130


def test_one_after_the_other_an_interrupt_starts_nothing_more(make_pipeline: MakePipeline) -> None:
    box = make_pipeline(a="wait", b="", c="")
    with running(box, "--keep-going", waiting="a") as process:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert states(box) == {"a": "cancelled"}


def test_a_reader_who_leaves_ends_all(make_pipeline: MakePipeline) -> None:
    box = make_pipeline(a="meet:b print:100000", b="meet:a wait", c="")
    with running(box, "--jobs=2", waiting="b") as process:
        assert process.stdout
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 141
    assert tasks_of(box) == []
    assert states(box) == {"a": "cancelled", "b": "cancelled"}


def test_a_log_that_cannot_be_written_fails_one_run_and_hangs_nothing(make_pipeline: MakePipeline) -> None:
    box = make_pipeline(a="print:20000", b="", c="<b", d="<a")
    limited = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)); "
    limited += "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    result = subprocess.run(
        [sys.executable, "-c", limited, "-m", "mlcommons_box", "run", str(box), "--all", "--jobs=2", "-k"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == EX_CANNOT_CREATE
    assert "cannot write the log" in result.stderr
    assert states(box) == {"a": "failed", "b": "succeeded", "c": "succeeded"}


# ---- What people see -----------------------------------------------------------------------------


def test_at_a_terminal_the_bottom_shows_what_runs_and_leaves_nothing_behind(make_pipeline: MakePipeline) -> None:
    box = make_pipeline(a="meet:b print:3", b="meet:a print:3", c="<a")
    controller, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "NO_COLOR": "1"}
    with subprocess.Popen(
        [*MLBOX, "run", str(box), "--all", "--jobs=2"], stdout=terminal, stderr=terminal, env=environment
    ) as process:
        os.close(terminal)
        said = b""
        while True:
            try:
                chunk = os.read(controller, 1 << 16)
            except OSError:
                break
            if not chunk:
                break
            said += chunk
        assert process.wait(30) == 0
    os.close(controller)
    text = said.decode()
    assert "/3 ended" in text
    last = text.rpartition("\x1b[J")[2]
    assert last.splitlines()[-1].startswith("==> 3 succeeded in ")
    assert "ended," not in last
