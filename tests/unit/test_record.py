"""A record is right from before the start of a run to its end, and what lies in a workspace leads nobody astray."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mlcommons_box import execution
from mlcommons_box.command import Command
from mlcommons_box.definition.loader import load_box, load_run_configuration
from mlcommons_box.errors import (
    CannotCreateError,
    ConfigurationError,
    Interrupted,
    PreparationError,
    UnavailableError,
    UsageError,
)
from mlcommons_box.model import DockerOptions, EnvironmentVariable, LocalOptions, Platform
from mlcommons_box.planning import RunPlan, plan_run
from mlcommons_box.process import Stream
from mlcommons_box.record import SCHEMA_VERSION, RunRecord, Supervisor, ended, new_record, plan_data
from mlcommons_box.run_store import RunStore
from mlcommons_box.runners.interface import NotPrepared, Observer, Outcome, Unheard
from mlcommons_box.value import as_data, replace
from tests.conftest import MakeBox

LOCAL = Platform(name="local", runner="local", options=LocalOptions())
SECRET = "geheim"
MAPPINGS = ("group", "code", "image", "inputs", "outputs", "hyperparameters", "engine", "machine", "metrics")
ODD: tuple[Any, ...] = (None, [], "text")


@pytest.fixture
def plan(make_box: MakeBox) -> RunPlan:
    box = load_box(make_box())
    return plan_run(box, load_run_configuration(box.root / "run/copy.yaml", box), LOCAL)


@pytest.fixture
def store(plan: RunPlan) -> RunStore:
    return RunStore(plan.workspace)


@pytest.fixture
def record(plan: RunPlan) -> RunRecord:
    return new_record(plan, [Command(argv=("cp", "a b", "c"))])


Put = Callable[..., RunRecord]


@pytest.fixture
def put(store: RunStore, record: RunRecord) -> Put:
    """Puts the record of a run that has ended into the store."""

    def put(run_id: str, **changes: Any) -> RunRecord:
        made = replace(record, id=run_id, **{"status": "succeeded", "exit_status": 0, **changes})
        store.write(made)
        return made

    return put


def content_of(store: RunStore, record: RunRecord) -> dict[str, Any]:
    """What the lines of a record say together."""
    content: dict[str, Any] = {}
    for line in store.journal.content().splitlines():
        entry = json.loads(line)
        if entry["id"] == record.id:
            content |= entry
    return content


def put_content(store: RunStore, run_id: str, content: Mapping[str, Any]) -> None:
    """Make a stranger's line the only one of a run; the id at its beginning is the one by which it is found."""
    store.journal.keep(lambda line: not line.startswith(f'{{"id": "{run_id}"'.encode()))
    put_text(store, f'{{"id": "{run_id}", {json.dumps({"later": 1, **content})[1:]}')


def put_text(store: RunStore, text: str | bytes) -> None:
    """Add a line, whatever it is."""
    store.journal.file.parent.mkdir(parents=True, exist_ok=True)
    with store.journal.file.open("ab") as file:
        file.write((text if isinstance(text, bytes) else text.encode()) + b"\n")


def damage(store: RunStore, run_id: str) -> None:
    """Put a record into the store that cannot be read."""
    put_content(store, run_id, {"status": "sleeping"})


class TestWriting:
    def test_what_is_read_is_what_was_written(self, store: RunStore, record: RunRecord) -> None:
        store.write(record)
        assert store.read(record.id) == record
        end = ended(record, "failed", exit_status=3, reason="why", duration=1.23456)
        store.write(end)
        assert store.read(record.id) == end
        assert (end.status, end.exit_status, end.reason, end.duration) == ("failed", 3, "why", 1.235)
        assert end.ended_at is not None
        assert end.ended_at >= end.started_at

    def test_a_run_has_a_line_before_it_starts_and_one_for_each_change(
        self, store: RunStore, record: RunRecord
    ) -> None:
        store.begin(record)
        started = replace(record, native_id="17")
        store.write(started)
        store.write(ended(started, "failed", exit_status=1, reason=None, duration=1))
        first, second, third = map(json.loads, store.journal.content().splitlines())
        assert {each["id"] for each in (first, second, third)} == {record.id}
        assert first["status"] == "running"
        assert "native_id" not in first
        assert second == {"id": record.id, "native_id": "17"}
        assert set(third) == {"id", "status", "exit_status", "ended_at", "duration"}

    def test_another_process_can_write_what_has_changed(self, store: RunStore, record: RunRecord) -> None:
        store.begin(record)
        end = ended(record, "failed", exit_status=1, reason="why", duration=1)
        RunStore(store.workspace).write(end)
        assert store.read(record.id) == end

    def test_many_records_are_written_at_once_or_not_at_all(
        self, store: RunStore, record: RunRecord, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        records = [replace(record, id=f"20260101T000000-{number:08}") for number in range(3)]
        fill_the_disk(monkeypatch, room=1000)
        with pytest.raises(CannotCreateError):
            store.write(*records)
        assert store.ids() == []
        monkeypatch.undo()
        store.write(*records)
        assert store.ids() == [each.id for each in records]

    def test_a_full_disk_leaves_the_former_state_and_nothing_else(
        self, store: RunStore, record: RunRecord, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.begin(record)
        before = store.journal.file.read_bytes()
        end = ended(record, "failed", exit_status=1, reason=None, duration=1)
        fill_the_disk(monkeypatch, room=20)
        with pytest.raises(CannotCreateError, match="No space left") as caught:
            store.write(end)
        assert "--workspace" in (caught.value.hint or "")
        assert store.journal.file.read_bytes() == before
        assert store.read(record.id) == record
        monkeypatch.undo()
        store.write(end)
        assert store.read(record.id) == end

    def test_there_are_no_files_but_the_one_of_all_records(self, store: RunStore, record: RunRecord) -> None:
        store.write(record)
        assert [path.name for path in (store.workspace / ".mlbox").iterdir()] == ["runs.jsonl"]

    def test_a_path_that_is_no_text_survives(self, store: RunStore, record: RunRecord) -> None:
        path = os.fsdecode(b"/data/\xff\xe4")
        strange = replace(record, plan={**record.plan, "box": path}, commands=(path,))
        store.write(strange)
        assert store.read(record.id) == strange
        store.journal.file.read_text("ascii")

    def test_two_runs_at_once_do_not_meet(self, plan: RunPlan, store: RunStore) -> None:
        others = [plan_run(plan.box, load_run_configuration(plan.box.root / "run/copy.yaml", plan.box), LOCAL)]
        records = [new_record(each, []) for each in (plan, *others)]
        for each in records:
            store.write(each)
        assert set(store.ids()) == {each.id for each in records}


def fill_the_disk(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """From now on only some bytes can be written."""
    write, left = os.write, [room]

    def until_it_is_full(descriptor: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(descriptor, data[: left[0]])
        left[0] -= written
        return written

    monkeypatch.setattr(os, "write", until_it_is_full)


class FakeRunner:
    """Looks at the record at the moment when the task would start, and then does as it was told."""

    def __init__(self, store: RunStore, ending: Outcome | BaseException) -> None:
        self.store = store
        self.ending = ending
        self.seen: list[RunRecord] = []

    def check(self, plan: RunPlan) -> list[Any]:
        return []

    def commands(self, plan: RunPlan) -> list[Command]:
        return [Command(argv=("task",))]

    def prepare(self, plan: RunPlan, observer: Observer) -> None:
        raise AssertionError("nothing is to be prepared")

    def run(self, plan: RunPlan, observer: Observer) -> Outcome:
        self.seen.append(self.store.read(plan.id))
        observer.started("native")
        self.seen.append(self.store.read(plan.id))
        observer.output("stdout", b"\xff\x00")
        observer.output("stderr", b"oh")
        if isinstance(self.ending, BaseException):
            raise self.ending
        return self.ending


class TestExecution:
    """The record is there before the run, and says how it ended, however that was."""

    def test_it_runs_before_the_start_and_has_succeeded_at_the_end(self, plan: RunPlan, store: RunStore) -> None:
        runner = FakeRunner(store, Outcome(status="succeeded", exit_status=0))
        execution.execute(plan, runner, Unheard())  # type: ignore[arg-type]
        before, during = runner.seen
        assert (before.status, before.native_id, before.ended_at) == ("running", None, None)
        assert (during.status, during.native_id) == ("running", "native")
        record = store.read(plan.id)
        assert (record.status, record.exit_status, record.native_id) == ("succeeded", 0, "native")
        assert record.duration is not None
        with store.open_log(plan.id, "stdout") as out, store.open_log(plan.id, "stderr") as err:
            assert (out.read(), err.read()) == (b"\xff\x00", b"oh")

    @pytest.mark.parametrize(
        ("ending", "status", "exit_status"),
        [
            (Outcome(status="failed", exit_status=3), "failed", 3),
            (Outcome(status="lost", exit_status=75), "lost", 75),
            (KeyboardInterrupt(), "cancelled", 130),
            (Interrupted(15), "cancelled", 143),
            (BrokenPipeError(), "cancelled", 141),
            (UnavailableError("gone"), "failed", 69),
            (ZeroDivisionError(), "failed", 70),
        ],
        ids=["failed", "lost", "interrupted", "terminated", "closed output", "unavailable", "defect"],
    )
    def test_no_end_is_left_out(
        self, plan: RunPlan, store: RunStore, ending: Outcome | BaseException, status: str, exit_status: int
    ) -> None:
        runner = FakeRunner(store, ending)
        if isinstance(ending, BaseException):
            with pytest.raises(type(ending)):
                execution.execute(plan, runner, Unheard())  # type: ignore[arg-type]
        else:
            execution.execute(plan, runner, Unheard())  # type: ignore[arg-type]
        record = store.read(plan.id)
        assert (record.status, record.exit_status) == (status, exit_status)
        assert isinstance(ending, Outcome) or record.reason

    def test_what_is_prepared_and_yet_not_there_is_no_defect_of_ours(self, plan: RunPlan, store: RunStore) -> None:
        runner = FakeRunner(store, NotPrepared())
        prepared: list[RunPlan] = []
        runner.prepare = lambda plan, observer: prepared.append(plan)  # type: ignore[method-assign]
        with pytest.raises(PreparationError, match="was prepared, and yet is not there"):
            execution.execute(plan, runner, Unheard())  # type: ignore[arg-type]
        assert len(prepared) == 1
        assert store.read(plan.id).status == "failed"

    @pytest.mark.parametrize("kind", ["directory", "link", "pipe"])
    def test_a_log_that_cannot_be_created_ends_the_run_at_the_first_output(
        self, plan: RunPlan, store: RunStore, tmp_path: Path, kind: str
    ) -> None:
        log = store.log(plan.id, "stderr")
        log.parent.mkdir(parents=True)
        if kind == "directory":
            log.mkdir()
        elif kind == "link":
            log.symlink_to(tmp_path / "precious")
        else:
            os.mkfifo(log)
        runner = FakeRunner(store, Outcome(status="succeeded", exit_status=0))
        with pytest.raises(CannotCreateError, match=r"stderr\.log"):
            execution.execute(plan, runner, Unheard())  # type: ignore[arg-type]
        assert len(runner.seen) == 2
        record = store.read(plan.id)
        assert (record.status, record.exit_status) == ("failed", 73)
        assert "stderr.log" in (record.reason or "")
        assert not (tmp_path / "precious").exists()

    def test_a_run_that_writes_nothing_has_no_files(self, plan: RunPlan, store: RunStore) -> None:
        class Silent(FakeRunner):
            def run(self, plan: RunPlan, observer: Observer) -> Outcome:
                observer.started("native")
                return Outcome(status="succeeded", exit_status=0)

        execution.execute(plan, Silent(store, KeyboardInterrupt()), Unheard())  # type: ignore[arg-type]
        assert store.read(plan.id).status == "succeeded"
        assert not store.directory.exists()


class TestSecrets:
    def test_no_secret_is_in_a_record(self, plan: RunPlan) -> None:
        options = DockerOptions(image=f"https://me:{SECRET}@registry/image", executable="docker")
        platform = replace(plan.platform, options=options, arguments=(f"--api-token={SECRET}", "--rm"))
        environment = (
            EnvironmentVariable(name="API_TOKEN", value=SECRET),
            EnvironmentVariable(name="PROXY", value=f"http://me:{SECRET}@proxy:80"),
            EnvironmentVariable(name="OTHER_TOKEN", value=None),
            EnvironmentVariable(name="PLAIN", value="seen"),
        )
        plan = replace(plan, platform=platform, environment=environment)
        command = Command(
            argv=("run", f"--password={SECRET}", f"ftp://me:{SECRET}@host/x"),
            environment=tuple((each.name, each.value) for each in environment),
        )
        record = new_record(plan, [command])
        reason = f"no answer from http://me:{SECRET}@proxy:80 with MY_TOKEN={SECRET}"
        failed = ended(record, "failed", exit_status=69, reason=reason, duration=0)
        assert failed.reason == "no answer from http://***@proxy:80 with MY_TOKEN=***"
        assert SECRET not in repr(failed)
        data = plan_data(plan)
        assert data["environment"] == {
            "API_TOKEN": "***",
            "PROXY": "http://***@proxy:80",
            "OTHER_TOKEN": None,
            "PLAIN": "seen",
        }
        assert data["arguments"] == ["--api-token=***", "--rm"]
        assert data["options"]["image"] == "https://***@registry/image"

    def test_options_of_another_s_runner_may_hold_anything(self, plan: RunPlan, store: RunStore) -> None:
        options = DockerOptions(image=Path("/image"), executable=("a", {"b": [1, None, True]}))  # type: ignore[arg-type]
        record = new_record(replace(plan, platform=replace(plan.platform, options=options)), [])
        store.write(record)
        read = store.read(record.id).plan["options"]
        assert read == {"image": "/image", "executable": ["a", {"b": [1, None, True]}], "engine_version": None}


class TestLost:
    """A run that nobody watches any more is lost, and never said to run."""

    def test_a_running_record_whose_supervisor_died(self, store: RunStore, record: RunRecord) -> None:
        assert record.supervisor.is_alive() is True
        dead = replace(record.supervisor, started_ticks=record.supervisor.started_ticks + 1)  # its id is used again
        store.write(replace(record, supervisor=dead))
        read = store.read(record.id)
        assert (read.status, read.reason) == ("lost", "mlbox ended before the run did")
        assert (read.ended_at, read.duration, read.exit_status) == (None, None, None)
        assert content_of(store, record)["status"] == "running"

    def test_only_the_same_host_can_tell(self, store: RunStore, record: RunRecord) -> None:
        elsewhere = Supervisor(host="elsewhere", pid=1, started_ticks=1)
        assert elsewhere.is_alive() is None
        store.write(replace(record, supervisor=elsewhere))
        assert store.read(record.id).status == "running"

    def test_what_has_ended_stays_as_it_ended(self, store: RunStore, record: RunRecord) -> None:
        dead = replace(record.supervisor, started_ticks=record.supervisor.started_ticks + 1)
        store.write(ended(replace(record, supervisor=dead), "succeeded", exit_status=0, reason=None, duration=1))
        assert store.read(record.id).status == "succeeded"

    def test_a_run_that_ends_between_two_looks_is_not_lost(
        self, store: RunStore, record: RunRecord, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.write(record)

        def end_now(self: Supervisor) -> bool:
            store.write(ended(record, "succeeded", exit_status=0, reason=None, duration=1))
            return False

        monkeypatch.setattr(Supervisor, "is_alive", end_now)
        assert store.read(record.id).status == "succeeded"


def without(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name != key}


class TestReading:
    def test_keys_that_a_later_version_added_are_left_out(self, store: RunStore, record: RunRecord) -> None:
        store.write(record)
        content = content_of(store, record)
        content["supervisor"]["colour"] = "red"
        put_content(store, record.id, {**content, "mood": ["good"]})
        assert store.read(record.id) == record

    def test_keys_that_an_earlier_version_did_not_have(self, store: RunStore, record: RunRecord) -> None:
        store.write(record)
        put_content(store, record.id, without(content_of(store, record), "native_id"))
        assert store.read(record.id) == record

    def test_a_record_of_a_newer_schema_is_refused_with_the_version(
        self, store: RunStore, record: RunRecord
    ) -> None:
        newer = {"schema_version": SCHEMA_VERSION + 1, "tool_version": "9.1", "id": ["all", "new"]}
        put_content(store, record.id, newer)
        with pytest.raises(ConfigurationError, match=r"newer version, 9\.1") as caught:
            store.read(record.id)
        assert "install" in (caught.value.hint or "")

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            b"\xff\xfe\x00",
            "[]",
            "null",
            '"text"',
            "{}",
            '{"id": 5}',
            '{"id": ""}',
            '{"id": "b", "status": "succeeded"',
            '{"id": "b", "duration": NaN}',
            '{"id": "b", "plan": ' + "[" * 100_000,
            '{"id": "\\u0062", "status": "succeeded"}',
        ],
        ids=lambda text: str(text)[:40],
    )
    def test_what_is_no_whole_line_is_the_mark_of_a_crash_and_passed_over(
        self, store: RunStore, record: RunRecord, text: str | bytes
    ) -> None:
        store.write(record)
        put_text(store, text)
        end = ended(record, "failed", exit_status=1, reason=None, duration=1)
        store.write(end)
        assert store.read_all() == ([end], {})
        assert store.ids() == [record.id]
        with pytest.raises(UsageError, match="there is no run 'b'"):
            store.read("b")

    def test_a_record_cut_off_at_any_byte_is_what_it_was_before_the_line(
        self, store: RunStore, record: RunRecord
    ) -> None:
        store.begin(record)
        first = len(store.journal.content())
        end = ended(record, "succeeded", exit_status=0, reason=None, duration=1)
        store.write(end)
        whole = store.journal.content()
        other = replace(end, id="20990101T000000-99999999")
        for cut in range(len(whole) + 1):
            store.journal.file.write_bytes(whole[:cut])
            expected = [] if cut < first else [record] if cut < len(whole) else [end]
            assert store.read_all() == (expected, {}), cut
            RunStore(store.workspace).write(other)
            # All bytes of a line but the end of it: once somebody has begun a new one, it is whole.
            expected = [] if cut < first - 1 else [record] if cut < len(whole) - 1 else [end]
            assert store.read_all() == ([*expected, other], {}), cut

    def test_a_damaged_record_is_told_with_what_removes_it(self, store: RunStore) -> None:
        put_content(store, "20260101T000000-aaaaaaaa", {})
        with pytest.raises(ConfigurationError, match="no 'schema_version'") as caught:
            store.read("20260101T000000-aaaaaaaa")
        assert str(store.journal.file) in caught.value.message
        assert caught.value.hint == "'mlbox rm 20260101T000000-aaaaaaaa' removes it"

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"status": "sleeping"}, "'sleeping'"),
            ({"metrics": json.loads('{"a":' * 200 + "1" + "}" * 200)}, "nested"),
            ({"unproved": True}, "'unproved' cannot be true"),
            *(({name: value}, f"'{name}' cannot be") for name in MAPPINGS for value in ODD),
            ({"status": None}, "'status' cannot be null"),
            ({"id": "../../../etc"}, "the record of the run '../../../etc'"),
            ({"id": 5}, "'id' cannot be 5"),
            ({"supervisor": None}, "'supervisor' cannot be null"),
            ({"supervisor": {"host": "a", "pid": "1", "started_ticks": 1}}, "'pid' cannot be"),
            ({"supervisor": {"host": "a", "pid": 1}}, "no 'started_ticks'"),
            ({"exit_status": True}, "'exit_status' cannot be true"),
            ({"duration": "long"}, "'duration' cannot be"),
            ({"started_at": "yesterday"}, "no time in UTC"),
            ({"started_at": "yesterdayZ"}, "Invalid isoformat"),
            ({"ended_at": "2026-01-01T00:00:00+02:00"}, "no time in UTC"),
            ({"commands": [1]}, "commands"),
            ({"plan": []}, "'plan' cannot be"),
            ({"plan": {"parameters": {}}}, "parameters"),
            ({"plan": {"parameters": [{"name": "a", "direction": "input", "path": 1}]}}, "parameters"),
        ],
        ids=str,
    )
    def test_a_record_with_something_wrong_in_it(
        self, store: RunStore, record: RunRecord, change: dict[str, Any], message: str
    ) -> None:
        store.write(record)
        put_content(store, record.id, {**content_of(store, record), **change})
        with pytest.raises(ConfigurationError, match=message):
            store.read(record.id)

    def test_a_number_beyond_all_floats(self, store: RunStore, record: RunRecord) -> None:
        text = json.dumps({"id": record.id, **as_data(record), "duration": 0})
        put_text(store, text.replace('"duration": 0', '"duration": 1e999'))
        with pytest.raises(ConfigurationError, match="'duration' cannot be"):
            store.read(record.id)

    @pytest.mark.parametrize("key", ["status", "supervisor", "started_at", "tool_version"])
    def test_a_record_without_something(self, store: RunStore, record: RunRecord, key: str) -> None:
        store.write(record)
        put_content(store, record.id, without(content_of(store, record), key))
        with pytest.raises(ConfigurationError, match=f"it has no '{key}'"):
            store.read(record.id)

    @pytest.mark.parametrize("kind", ["link", "pipe", "directory", "parent"])
    def test_records_that_are_no_file(self, store: RunStore, record: RunRecord, tmp_path: Path, kind: str) -> None:
        store.write(record)
        file = store.journal.file
        file.rename(tmp_path / "elsewhere.jsonl")
        if kind == "link":
            file.symlink_to(tmp_path / "elsewhere.jsonl")
        elif kind == "pipe":
            os.mkfifo(file)
        elif kind == "directory":
            file.mkdir()
        else:
            file.parent.rmdir()
            file.parent.write_text("a file")
        with pytest.raises(ConfigurationError, match="cannot read the records"):
            store.read_all()
        with pytest.raises(CannotCreateError, match="cannot write the record"):
            store.write(record)

    def test_a_log_that_is_no_file(self, store: RunStore, record: RunRecord) -> None:
        store.path(record.id).mkdir(parents=True)
        store.log(record.id, "stdout").symlink_to("/etc/hostname")
        os.mkfifo(store.log(record.id, "stderr"))
        streams: tuple[Stream, ...] = ("stdout", "stderr")
        for stream in streams:
            with pytest.raises(OSError):  # noqa: PT011
                store.open_log(record.id, stream)


class TestListing:
    def test_nothing_there(self, store: RunStore) -> None:
        assert store.ids() == []
        assert store.read_all() == ([], {})

    def test_in_the_order_of_their_start_and_not_of_their_names(self, store: RunStore, put: Put) -> None:
        put("20260101T000000-aaaaaaaa", started_at="2026-01-01T00:00:02.000Z")
        put("20260101T000000-bbbbbbbb", started_at="2026-01-01T00:00:00.500Z")
        records, unreadable = store.read_all()
        assert [record.id[-1] for record in records] == ["b", "a"]
        assert not unreadable
        assert store.find(None).id.endswith("a")

    def test_strays_are_no_runs(self, store: RunStore, put: Put, tmp_path: Path) -> None:
        kept = put("20260101T000000-aaaaaaaa")
        (store.directory / "empty").mkdir(parents=True)
        (store.directory / "file").write_text("x")
        (store.directory / "link").symlink_to("empty")
        assert store.ids() == [kept.id]

    def test_one_damaged_record_does_not_hide_the_others(self, store: RunStore, put: Put) -> None:
        kept = [put(f"20260101T00000{number}-aaaaaaa{number}") for number in (1, 3)]
        damage(store, "20260101T000002-aaaaaaa2")
        records, unreadable = store.read_all()
        assert [record.id for record in records] == [record.id for record in kept]
        assert list(unreadable) == ["20260101T000002-aaaaaaa2"]


class TestFinding:
    @pytest.fixture(autouse=True)
    def _some_runs(self, put: Put) -> None:
        put("20260101T000000-aaaaaaaa", run="train", started_at="2026-01-01T00:00:00.000Z")
        put("20260102T000000-bbbbbbbb", run="train", started_at="2026-01-02T00:00:00.000Z")
        put("20260203T000000-cccccccc", run="alice/hello", started_at="2026-02-03T00:00:00.000Z")
        put("20260204T000000-dddddddd", run="bob/hello", started_at="2026-02-04T00:00:00.000Z")
        put("20260205T000000-eeeeeeee", run="ann/bye", started_at="2026-02-05T00:00:00.000Z")

    @pytest.mark.parametrize(
        ("text", "end"),
        [
            (None, "e"),
            ("20260101T000000-aaaaaaaa", "a"),
            ("20260101", "a"),
            ("bbbbbbbb", "b"),
            ("train", "b"),
            ("alice/hello", "c"),
            ("bye", "e"),
        ],
    )
    def test_what_a_text_means(self, store: RunStore, text: str | None, end: str) -> None:
        assert store.find(text).id[-1] == end

    @pytest.mark.parametrize(
        ("text", "message", "hint"),
        [
            ("202601", "several runs begin with '202601': 20260101T", "write more of it"),
            ("hello", "several run configurations are called 'hello': alice/hello, bob/hello", "choose one"),
            ("tarin", "there is no run 'tarin'", "did you mean 'train'?"),
            ("x", "there is no run 'x'", "'mlbox runs' lists them"),
            ("", "there is no run ''", "'mlbox runs' lists them"),
            ("..", "there is no run '..'", None),
            ("/", "there is no run '/'", None),
            ("../runs/20260101T000000-aaaaaaaa", "there is no run", None),
        ],
    )
    def test_what_means_none_or_several(self, store: RunStore, text: str, message: str, hint: str | None) -> None:
        with pytest.raises(UsageError) as caught:
            store.find(text)
        assert message in caught.value.message
        assert hint is None or caught.value.hint == hint

    @pytest.mark.parametrize("run_id", ["", ".", "..", "../..", "/etc", "a/../../b", "a\0b"])
    def test_no_id_leads_out_of_the_directory(self, store: RunStore, record: RunRecord, run_id: str) -> None:
        for use in (store.read, store.path, lambda name: store.write(replace(record, id=name))):
            with pytest.raises(UsageError):
                use(run_id)

    def test_an_id_wins_over_ids_that_begin_with_it_and_a_name_over_several_ids(
        self, store: RunStore, put: Put
    ) -> None:
        put("20260101")
        assert store.find("20260101").id == "20260101"
        put("20260301T000000-ffffffff", run="2026")
        assert store.find("2026").run == "2026"

    def test_many_are_not_all_named(self, store: RunStore, put: Put) -> None:
        for number in range(9):
            put(f"2025010{number}T000000-0000000{number}")
        with pytest.raises(UsageError, match="20250104T000000-00000004 and 4 more"):
            store.find("2025")

    def test_the_latest_is_not_passed_over_when_it_is_damaged(self, store: RunStore, put: Put) -> None:
        damage(store, "20260101T000000-99999999")
        assert store.find(None).run == "ann/bye"
        assert store.find("train").id[-1] == "b"
        damage(store, "20270101T000000-99999999")
        with pytest.raises(ConfigurationError, match="20270101T000000-99999999"):
            store.find(None)
        assert store.find("ann/bye").run == "ann/bye"


# ---- Runs that go on without us -------------------------------------------------------------------


def test_a_run_that_goes_on_by_itself_is_not_lost_with_its_supervisor(store: RunStore, record: RunRecord) -> None:
    gone = replace(record.supervisor, started_ticks=1)
    store.write(replace(record, supervisor=gone))
    assert store.read(record.id).status == "lost"
    store.write(replace(record, supervisor=gone, detached=True))
    assert store.read(record.id).status == "running"


def test_a_record_of_before_there_were_such_runs_is_read(store: RunStore, record: RunRecord) -> None:
    store.write(record)
    put_content(store, record.id, without(content_of(store, record), "detached"))
    assert store.read(record.id) == record
    assert store.read(record.id).detached is False


@pytest.mark.parametrize("value", ["yes", 1, None, []])
def test_a_record_that_says_it_in_another_way_is_damaged(store: RunStore, record: RunRecord, value: object) -> None:
    store.write(record)
    put_content(store, record.id, {**content_of(store, record), "detached": value})
    with pytest.raises(ConfigurationError, match="'detached' cannot be"):
        store.read(record.id)


# ---- Removing ------------------------------------------------------------------------------------


def test_what_is_removed_is_gone_with_its_files_and_nothing_else_is(store: RunStore, put: Put) -> None:
    gone, kept = put("20260101T000000-aaaaaaaa"), put("20260102T000000-bbbbbbbb")
    for each in (gone, kept):
        store.path(each.id, "job").mkdir(parents=True)
        store.log(each.id, "stdout").write_text("said")
    store.remove([gone.id])
    assert store.read_all() == ([kept], {})
    assert os.listdir(store.directory) == [kept.id]


def test_a_damaged_record_can_be_removed(store: RunStore, put: Put) -> None:
    kept = put("20260101T000000-aaaaaaaa")
    damage(store, "20260102T000000-bbbbbbbb")
    store.remove(["20260102T000000-bbbbbbbb"])
    assert store.read_all() == ([kept], {})


def test_nothing_is_removed_out_of_the_directory_of_the_runs(store: RunStore, put: Put, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    (precious / "docs").mkdir(parents=True)
    link = put("link")
    store.directory.mkdir()
    store.path(link.id).symlink_to(precious)
    store.remove([link.id])
    assert (precious / "docs").exists()
    assert not os.path.lexists(store.path(link.id))
    for run_id in ("", ".", "..", "../..", "a/b"):
        with pytest.raises(UsageError):
            store.remove([run_id])


@pytest.mark.parametrize("name", [".mlbox", ".mlbox/runs"])
def test_nothing_is_removed_through_a_link_of_a_stranger(
    store: RunStore, put: Put, tmp_path: Path, name: str
) -> None:
    """``mlbox gc`` in a stranger's workspace, with a run that is called as a directory of the user is."""
    put("docs")
    at = store.workspace / name
    if at.exists():
        at.rename(tmp_path / "precious")
    (tmp_path / "precious/docs").mkdir(parents=True)
    (tmp_path / "precious/runs/docs").mkdir(parents=True)
    at.symlink_to(tmp_path / "precious")
    with pytest.raises(CannotCreateError, match="through the link"):
        store.remove(["docs"])
    assert (tmp_path / "precious/docs").exists()
    assert (tmp_path / "precious/runs/docs").exists()
