"""What ``runs``, ``show`` and ``logs`` say of records, as a user calls them."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mlcommons_box.cli.arguments import complete_recorded_runs
from mlcommons_box.cli.main import main
from mlcommons_box.command import Command
from mlcommons_box.definition.loader import load_box, load_run_configuration
from mlcommons_box.errors import EX_CONFIGURATION, EX_INTERRUPTED, EX_USAGE
from mlcommons_box.model import LocalOptions, Platform
from mlcommons_box.planning import plan_run
from mlcommons_box.process import Stream
from mlcommons_box.record import RunRecord, Supervisor, ended, moment, new_record
from mlcommons_box.report.records import duration_of, duration_text, record_text
from mlcommons_box.run_store import RunStore
from mlcommons_box.value import as_data, replace
from tests.conftest import MakeBox

LOCAL = Platform(name="local", runner="local", options=LocalOptions())


class Result:
    def __init__(self, status: int, out: bytes, err: bytes) -> None:
        self.status = status
        self.raw_out, self.raw_err = out, err
        self.out, self.err = out.decode("utf-8", "replace"), err.decode("utf-8", "replace")

    @property
    def cells(self) -> list[list[str]]:
        """The cells of a table, without its heading."""
        return [re.split(r" {2,}", line.strip()) for line in self.out.splitlines()[2:]]


Call = Callable[..., Result]
Put = Callable[..., RunRecord]


@pytest.fixture
def mlbox(capfdbinary: pytest.CaptureFixture[bytes]) -> Call:
    """Calls the command line in this process."""

    def call(*words: object) -> Result:
        capfdbinary.readouterr()
        status = main([str(word) for word in words])
        captured = capfdbinary.readouterr()
        return Result(status, captured.out, captured.err)

    return call


@pytest.fixture
def root(make_box: MakeBox, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A box, in the current directory, that has not run yet."""
    root = make_box()
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def store(root: Path) -> RunStore:
    return RunStore(root / "workspace")


@pytest.fixture
def put(root: Path, store: RunStore) -> Put:
    """Puts the record of a run with this random end into the box's workspace; the next one is a day younger."""
    box = load_box(root)
    plan = plan_run(box, load_run_configuration(root / "run/copy.yaml", box), LOCAL)
    made: list[str] = []

    def put(end: str, out: bytes = b"", err: bytes = b"", **changes: Any) -> RunRecord:
        made.append(end)
        day = f"{len(made):02}"
        record = new_record(plan, [Command(argv=("cp", "a b", "c"))])
        record = replace(
            ended(record, "succeeded", exit_status=0, reason=None, duration=2.5),
            **{
                "id": f"202601{day}T120000-{end}",
                "started_at": f"2026-01-{day}T12:00:00.000Z",
                "ended_at": f"2026-01-{day}T12:00:02.500Z",
                **changes,
            },
        )
        store.write(record)
        store.path(record.id).mkdir(parents=True, exist_ok=True)
        store.log(record.id, "stdout").write_bytes(out)
        store.log(record.id, "stderr").write_bytes(err)
        return record

    return put


def damage(store: RunStore, run_id: str) -> None:
    store.journal.append([{"id": run_id, "status": "sleeping"}])


RUNNING: dict[str, Any] = {"status": "running", "exit_status": None, "ended_at": None, "duration": None}
ELSEWHERE = Supervisor(host="elsewhere", pid=1, started_ticks=1)


class TestRuns:
    def test_one_line_for_each_the_newest_last(self, mlbox: Call, put: Put) -> None:
        put("aaaaaaaa")
        put("bbbbbbbb", run="alice/hello", status="failed", exit_status=3, duration=90)
        put("cccccccc", status="lost", exit_status=None, duration=None, platform="docker")
        result = mlbox("runs")
        assert result.status == 0
        heading = re.split(r" {2,}", result.out.splitlines()[0].strip())
        assert heading == ["id", "run", "platform", "status", "exit", "started (UTC)", "duration"]
        assert result.cells == [
            ["aaaaaaaa", "copy", "local", "succeeded", "0", "2026-01-01 12:00:00", "2.5 s"],
            ["bbbbbbbb", "alice/hello", "local", "failed", "3", "2026-01-02 12:00:00", "1m 30s"],
            ["cccccccc", "copy", "docker", "lost", "2026-01-03 12:00:00"],
        ]
        assert max(map(len, result.out.splitlines())) <= 80
        assert result.err == ""

    def test_piped_it_is_neither_cut_nor_coloured(self, mlbox: Call, put: Put) -> None:
        put("aaaaaaaa", run="long/" * 60)
        result = mlbox("runs")
        assert "long/" * 60 in result.out
        assert "\x1b" not in result.out

    def test_ids_are_whole_where_their_ends_are_the_same(self, mlbox: Call, put: Put) -> None:
        ids = [put("aaaaaaaa").id, put("aaaaaaaa").id]
        assert [cells[0] for cells in mlbox("runs").cells] == ids

    @pytest.mark.parametrize(
        ("words", "ends"),
        [
            (["--last=1"], "d"),
            (["--last=99"], "abcd"),
            (["--status=failed"], "bd"),
            (["--status=failed", "--last=1"], "d"),
            (["--run=copy"], "ab"),
            (["--run=alice/hello"], "c"),
            (["--run=hello"], "cd"),
            (["--run=hello", "--status=failed"], "d"),
        ],
        ids=str,
    )
    def test_a_choice(self, mlbox: Call, put: Put, words: list[str], ends: str) -> None:
        put("aaaaaaaa")
        put("bbbbbbbb", status="failed")
        put("cccccccc", run="alice/hello")
        put("dddddddd", run="bob/hello", status="failed")
        assert [cells[0][0] for cells in mlbox("runs", *words).cells] == list(ends)
        listed = json.loads(mlbox("runs", *words, "--json").out)
        assert [record["id"][-1] for record in listed] == list(ends)

    def test_none_yet(self, mlbox: Call, root: Path) -> None:
        result = mlbox("runs")
        assert (result.status, result.out) == (0, "")
        assert result.err == "note: there are no runs yet; 'mlbox run' makes one\n"
        assert mlbox("runs", "--json").out == "[]\n"
        assert not (root / "workspace/.mlbox").exists()

    def test_none_of_those_that_are_meant(self, mlbox: Call, put: Put) -> None:
        put("aaaaaaaa")
        result = mlbox("runs", "--run=other")
        assert (result.status, result.out) == (0, "")
        assert "'mlbox runs' without options" in result.err

    @pytest.mark.parametrize("words", [["--last=0"], ["--last=-1"], ["--last=x"], ["--status=great"]], ids=str)
    def test_mistakes(self, mlbox: Call, root: Path, words: list[str]) -> None:
        result = mlbox("runs", *words)
        assert result.status == EX_USAGE
        assert words[0].partition("=")[0] in result.err

    @pytest.mark.parametrize("words", [[], ["--json"]], ids=str)
    def test_a_damaged_record_hides_no_other(
        self, mlbox: Call, put: Put, store: RunStore, words: list[str]
    ) -> None:
        put("aaaaaaaa")
        damage(store, "20260101T130000-99999999")
        damage(store, "20260101T140000-99999999")
        put("bbbbbbbb")
        result = mlbox("runs", *words)
        assert result.status == EX_CONFIGURATION
        assert "aaaaaaaa" in result.out
        assert "bbbbbbbb" in result.out
        assert result.err.count("error: the record ") == 2
        assert "the record of the run '20260101T130000-99999999' in " in result.err
        assert "'mlbox rm 20260101T130000-99999999' removes it" in result.err

    def test_json_has_the_whole_record_and_the_way_to_its_files(
        self, mlbox: Call, put: Put, store: RunStore
    ) -> None:
        record = put("aaaaaaaa")
        (data,) = json.loads(mlbox("runs", "--json").out)
        written = json.loads(json.dumps(as_data(record)))
        assert {key: data[key] for key in written} == written
        assert data["directory"] == str(store.path(record.id))
        assert data["logs"]["stderr"] == str(store.path(record.id) / "stderr.log")

    def test_json_says_lost_and_not_running(self, mlbox: Call, put: Put) -> None:
        put("aaaaaaaa", **RUNNING, supervisor=Supervisor(host=os.uname().nodename, pid=1, started_ticks=1))
        (data,) = json.loads(mlbox("runs", "--json").out)
        assert (data["status"], data["reason"]) == ("lost", "mlbox ended before the run did")

    def test_the_box_need_not_be_valid(self, mlbox: Call, put: Put, root: Path) -> None:
        put("aaaaaaaa")
        (root / "mlbox.yaml").write_text("no: box")
        (root / "run/copy.yaml").unlink()
        for command in ("runs", "show", "logs"):
            assert mlbox(command).status == 0

    def test_the_workspace_can_be_named_in_every_way(
        self, mlbox: Call, put: Put, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put("aaaaaaaa")
        monkeypatch.chdir(tmp_path)
        moved = (root / "workspace").rename(tmp_path / "moved")
        for words in (["--workspace", moved], ["--workspace=moved"], ["--workspace=moved", f"--mlbox={root}"]):
            assert len(mlbox("runs", *words).cells) == 1
            for command in ("show", "logs"):
                assert mlbox(command, "aaaaaaaa", *words).status == 0
        assert mlbox("runs", root).out == ""
        for words in ([], ["--workspace=gone"], ["--workspace=moved", "--mlbox=gone"], ["gone"]):
            assert mlbox("runs", *words).status == EX_USAGE


class TestShow:
    def test_everything_is_there(self, mlbox: Call, put: Put, store: RunStore) -> None:
        record = put(
            "aaaaaaaa",
            status="failed",
            exit_status=3,
            reason="it fell",
            native_id="4711",
            inputs={"source": {"kind": "file", "digest": "0123456789abcdef" * 4}},
            unproved="'x' was changed while the run read it",
        )
        result = mlbox("show")
        assert (result.status, result.err) == (0, "")
        lines = [line.rstrip() for line in result.out.splitlines()]
        supervisor = record.supervisor
        workspace = store.directory.parent.parent
        assert lines == [
            "run          copy",
            f"id           {record.id}",
            "status       failed, exit status 3",
            "reason       it fell",
            "box          echo 0.1.0",
            "task         copy",
            "platform     local",
            "started      2026-01-01 12:00:00 UTC",
            "ended        2026-01-01 12:00:02 UTC",
            "duration     2.5 s",
            "engine's id  4711",
            "not proved   'x' was changed while the run read it",
            f"started by   mlbox {record.tool_version}, process {supervisor.pid} of {supervisor.host}",
            "",
            "parameters",
            f"  in   source  0123456789ab  {workspace}/in.txt",
            f"  out  target                {workspace}/out/copy.txt",
            f"  out  logs                  {workspace}/logs",
            "",
            "commands",
            "  cp 'a b' c",
            "",
            "logs",
            f"  {store.log(record.id, 'stdout')}",
            f"  {store.log(record.id, 'stderr')}",
        ]

    def test_a_long_script_is_not_shown_whole(self, root: Path, put: Put, mlbox: Call) -> None:
        script = "sbatch <<'END'\n" + "echo\n" * 40 + "END"
        put("aaaaaaaa", commands=("mkdir x", script))
        lines = mlbox("show", "--mlbox", root).out.splitlines()
        start = lines.index("commands")
        assert lines[start + 1 : start + 4] == [
            "  mkdir x",
            "  sbatch <<'END'",
            "  (41 lines more: 'mlbox show --json')",
        ]
        assert json.loads(mlbox("show", "--mlbox", root, "--json").out)["commands"][1] == script

    @pytest.mark.parametrize(
        ("words", "end"),
        [
            ([], "c"),
            (["aaaaaaaa"], "a"),
            (["20260102"], "b"),
            (["copy"], "c"),
            (["alice/hello"], "b"),
            (["hello"], "b"),
        ],
        ids=str,
    )
    def test_which_run(self, mlbox: Call, put: Put, words: list[str], end: str) -> None:
        put("aaaaaaaa")
        put("bbbbbbbb", run="alice/hello")
        put("cccccccc")
        assert json.loads(mlbox("show", *words, "--json").out)["id"][-1] == end

    @pytest.mark.parametrize("command", ["show", "logs"])
    def test_a_run_that_is_not_there(self, mlbox: Call, put: Put, root: Path, command: str) -> None:
        assert "there are no runs yet\n = help: 'mlbox run' makes one" in mlbox(command).err
        put("aaaaaaaa")
        for word in ("x", "..", "../../..", "/etc/passwd", ""):
            result = mlbox(command, word)
            assert result.status == EX_USAGE
            assert f"there is no run {word!r}" in result.err
        assert f"a box is named with --mlbox={root}" in mlbox(command, root).err
        assert mlbox(command, f"--mlbox={root}").status == 0

    def test_a_damaged_record(self, mlbox: Call, store: RunStore) -> None:
        damage(store, "20260101T120000-aaaaaaaa")
        result = mlbox("show")
        assert result.status == EX_CONFIGURATION
        assert "is damaged" in result.err

    def test_a_run_that_another_host_watches(self, mlbox: Call, put: Put) -> None:
        put("aaaaaaaa", **RUNNING, supervisor=Supervisor(host="node7", pid=5, started_ticks=1))
        out = mlbox("show").out
        assert re.search(r"^status +running$", out, re.MULTILINE)
        assert "process 5 of node7\n             only node7 can tell whether it still runs" in out

    def test_logs_that_are_gone(self, mlbox: Call, put: Put, store: RunStore) -> None:
        record = put("aaaaaaaa")
        store.log(record.id, "stderr").unlink()
        assert "stderr.log  (not there)" in mlbox("show").out

    def test_nothing_in_a_record_steers_the_terminal(self, mlbox: Call, put: Put) -> None:
        evil = "\x1b]0;mine\x07\r\n\udcff"
        parameter = {"name": evil, "direction": evil, "path": evil}
        for changes in ({"run": evil, "platform": evil}, {"reason": evil, "box": evil, "native_id": evil}):
            record = put("bbbbbbbb", **changes, plan={"parameters": [parameter]}, commands=(evil,))
            put("cccccccc", **{**changes, **RUNNING, "supervisor": ELSEWHERE})
            for words in (["show"], ["runs"], ["status"], ["status", record.id], ["gc", "--keep=0", "--dry-run"]):
                result = mlbox(*words)
                assert result.status == 0
                assert not re.search(r"[\x00-\x09\x0b-\x1f]", result.out)

    def test_colour_is_for_terminals(self, put: Put, store: RunStore) -> None:
        record = put("aaaaaaaa", status="failed", exit_status=3)
        assert "\x1b[31;1mfailed\x1b[0m, exit status 3\n" in record_text(record, store, colour=True)


def test_no_name_in_a_valid_box_steers_the_terminal(
    make_box: MakeBox, monkeypatch: pytest.MonkeyPatch, mlbox: Call
) -> None:
    name = "\x1b]0;mine\x07[red]copy"
    template = make_box(name="template")
    root = make_box(
        {
            f"run/{name}.yaml": (template / "run/copy.yaml").read_text(),
            f"platforms/{name}.yaml": "schema_version: 1.0.0\nschema_type: mlbox_docker\nimage: a/b\n"
            "docker_runtime: docker\n",
            f"sweeps/{name}.yaml": "schema_version: 1.1.0\nschema_type: mlbox_sweep\nrun: copy\n"
            "method: grid\nparameters_file: source\nparameters: {rate: [1]}\n",
        }
    )
    monkeypatch.chdir(root)
    box = load_box(root)
    plan = plan_run(box, load_run_configuration(root / f"run/{name}.yaml", box), LOCAL)
    store = RunStore(root / "workspace")
    record = new_record(plan, [])
    store.write(replace(record, supervisor=ELSEWHERE))
    over = ended(record, "failed", exit_status=1, reason=None, duration=2.5)
    store.write(*(replace(over, id=f"20260101T120000-0000000{number}") for number in range(2)))
    for words in (["describe"], ["status"], ["gc", "--keep=1", "--dry-run"], ["runs"]):
        result = mlbox(*words)
        assert result.status == 0, result.err
        assert "\\x1b]0;mine\\x07[red]copy" in result.out, words
        assert not re.search(r"[\x00-\x09\x0b-\x1f]", result.out), words


class TestStatusAndWait:
    def test_a_damaged_record_hides_no_other(self, mlbox: Call, put: Put, store: RunStore) -> None:
        damage(store, put("aaaaaaaa").id)
        for words in (["status"], ["wait"]):
            result = mlbox(*words)
            assert (result.status, result.out) == (EX_CONFIGURATION, "")
            assert "is damaged" in result.err
            assert "no run is going on" not in result.err
        put("bbbbbbbb", **RUNNING, supervisor=ELSEWHERE)
        result = mlbox("status")
        assert result.status == EX_CONFIGURATION
        assert "with the command that started it" in result.out
        result = mlbox("status", "--json")
        assert [each["run"] for each in json.loads(result.out)] == ["copy"]
        assert "is damaged" in result.err
        assert mlbox("status", "bbbbbbbb").status == 0

    def test_none(self, mlbox: Call, put: Put) -> None:
        put("aaaaaaaa")
        for command in ("status", "wait"):
            result = mlbox(command)
            assert (result.status, result.out) == (0, "")
            assert "no run is going on" in result.err


def test_completion_offers_what_ran(put: Put, root: Path, tmp_path: Path) -> None:
    ids = [put("aaaaaaaa").id, put("bbbbbbbb", run="alice/hello").id]
    arguments = argparse.Namespace(box=None, mlbox=str(root), workspace=None)
    assert complete_recorded_runs(arguments) == ["alice/hello", "copy", *reversed(ids)]
    assert complete_recorded_runs(argparse.Namespace(box=None, mlbox=None, workspace=tmp_path / "gone")) == []


class TestTimes:
    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (None, ""),
            (0, "0.0 s"),
            (59.94, "59.9 s"),
            (59.96, "1m 00s"),
            (200.4, "3m 20s"),
            (3599.6, "1h 00m"),
            (93_900, "26h 05m"),
        ],
    )
    def test_durations(self, seconds: float | None, text: str) -> None:
        assert duration_text(seconds) == text

    def test_a_run_that_goes_on_has_taken_until_now(self, put: Put) -> None:
        record = put("aaaaaaaa", **RUNNING)
        assert duration_of(record, moment(record.started_at) + timedelta(seconds=7)) == 7
        assert duration_of(replace(record, status="lost")) is None


class TestLogs:
    def test_each_stream_goes_where_the_task_wrote_it_unchanged(self, mlbox: Call, put: Put) -> None:
        out, err = bytes(range(256)) * 1000, b"\xff no newline"
        put("aaaaaaaa", out, err, status="failed", exit_status=9)
        result = mlbox_bytes(mlbox)
        assert result == (0, out, err)
        assert mlbox_bytes(mlbox, "--stdout") == (0, out, b"")
        assert mlbox_bytes(mlbox, "--stderr") == (0, b"", err)
        assert mlbox_bytes(mlbox, "--follow") == (0, out, err)

    def test_a_big_log_is_not_read_as_a_whole(self, mlbox: Call, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
        sizes = []

        class Log(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                sizes.append(size)
                return super().read(size)

        put("aaaaaaaa")
        monkeypatch.setattr(RunStore, "open_log", lambda *_: Log(b"x" * 1_000_000))
        assert mlbox_bytes(mlbox, "--stdout") == (0, b"x" * 1_000_000, b"")
        assert all(size and 0 < size <= 1 << 20 for size in sizes)
        assert len(sizes) > 10

    def test_both_streams_exclude_each_other(self, mlbox: Call, put: Put) -> None:
        put("aaaaaaaa")
        assert mlbox("logs", "--stdout", "--stderr").status == EX_USAGE

    def test_a_log_that_cannot_be_read_is_an_error_and_the_other_one_is_shown(
        self, mlbox: Call, put: Put, store: RunStore
    ) -> None:
        record = put("aaaaaaaa", b"out")
        store.log(record.id, "stderr").unlink()
        store.log(record.id, "stderr").symlink_to("stdout.log")
        result = mlbox("logs")
        assert (result.status, result.out) == (EX_CONFIGURATION, "out")
        assert "cannot read the log" in result.err

    @pytest.mark.parametrize("words", [[], ["--follow"], ["--stdout"], ["--stderr"]], ids=str)
    def test_a_run_that_has_written_nothing(self, mlbox: Call, put: Put, store: RunStore, words: list[str]) -> None:
        record = put("aaaaaaaa")
        shutil.rmtree(store.path(record.id))
        assert mlbox_bytes(mlbox, *words) == (0, b"", b"")

    def test_a_run_that_has_no_logs_yet(self, mlbox: Call, put: Put, store: RunStore) -> None:
        record = put("aaaaaaaa", **RUNNING)
        for stream in ("stdout", "stderr"):
            store.log(record.id, stream).unlink()
        assert mlbox_bytes(mlbox) == (0, b"", b"")


class TestFollow:
    """``--follow`` shows what comes, and ends with the run; time passes only where a test says what happens."""

    @pytest.fixture
    def meanwhile(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
        """What happens between two looks at the logs, in turn."""

        def meanwhile(*events: Callable[[], object]) -> list[float]:
            remaining = list(events)
            pauses: list[float] = []

            def sleep(seconds: float) -> None:
                pauses.append(seconds)
                remaining.pop(0)()

            monkeypatch.setattr(time, "sleep", sleep)
            return pauses

        return meanwhile

    def test_until_the_run_has_ended(
        self, mlbox: Call, put: Put, store: RunStore, meanwhile: Callable[..., list[float]]
    ) -> None:
        record = put("aaaaaaaa", b"one\n", **RUNNING)
        store.log(record.id, "stderr").unlink()

        def write(stream: Stream, text: bytes) -> None:
            with store.log(record.id, stream).open("ab") as file:
                file.write(text)

        def end() -> None:
            write("stdout", b"last")
            store.write(ended(record, "failed", exit_status=1, reason=None, duration=1))

        pauses = meanwhile(lambda: write("stdout", b"two\n"), lambda: write("stderr", b"oh\n"), end)
        assert mlbox_bytes(mlbox, "--follow") == (0, b"one\ntwo\nlast", b"oh\n")
        assert pauses == [0.2] * 3

    def test_until_it_is_lost(
        self, mlbox: Call, put: Put, store: RunStore, meanwhile: Callable[..., list[float]]
    ) -> None:
        record = put("aaaaaaaa", b"one\n", **RUNNING)
        dead = replace(record, supervisor=replace(record.supervisor, started_ticks=1))
        meanwhile(lambda: None, lambda: store.write(dead))
        assert mlbox_bytes(mlbox, "-f", "copy") == (0, b"one\n", b"")

    def test_until_ctrl_c(self, mlbox: Call, put: Put, meanwhile: Callable[..., list[float]]) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        put("aaaaaaaa", b"one\n", **RUNNING)
        meanwhile(interrupt)
        assert mlbox_bytes(mlbox, "-f") == (EX_INTERRUPTED, b"one\n", b"error: interrupted\n")


def mlbox_bytes(mlbox: Call, *words: str) -> tuple[int, bytes, bytes]:
    """What 'mlbox logs' writes, byte for byte."""
    result = mlbox("logs", *words)
    return result.status, result.raw_out, result.raw_err
