"""A record is right from before the start of a run to its end, and what lies in a workspace leads nobody astray."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mlcommons_box import execution
from mlcommons_box.definition.loader import load_box, load_run_configuration
from mlcommons_box.errors import (
    CannotCreateError,
    ConfigurationError,
    Interrupted,
    UnavailableError,
    UsageError,
)
from mlcommons_box.model import DockerOptions, EnvironmentVariable, LocalOptions, Platform
from mlcommons_box.planning import RunPlan, plan_run
from mlcommons_box.process import Command, Stream
from mlcommons_box.record import SCHEMA_VERSION, RunRecord, Supervisor, ended, new_record, plan_data
from mlcommons_box.run_store import RECORD_FILE, RunStore
from mlcommons_box.runners.interface import Observer, Outcome
from mlcommons_box.value import replace
from tests.conftest import MakeBox

LOCAL = Platform(name="local", runner="local", options=LocalOptions())
SECRET = "geheim"


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
    content = json.loads(store.path(record.id, RECORD_FILE).read_text())
    assert isinstance(content, dict)
    return content


def put_text(store: RunStore, run_id: str, text: str | bytes) -> None:
    path = store.path(run_id, RECORD_FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


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

    def test_the_file_is_replaced_in_one_step(
        self, store: RunStore, record: RunRecord, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.write(record)
        before = store.path(record.id, RECORD_FILE).read_bytes()
        seen = []
        replace_file = Path.replace

        def look_first(self: Path, target: Path) -> Path:
            seen.append(target.read_bytes() == before and json.loads(self.read_text())["status"] == "failed")
            return replace_file(self, target)

        monkeypatch.setattr(Path, "replace", look_first)
        store.write(ended(record, "failed", exit_status=1, reason=None, duration=1))
        assert seen == [True]
        assert [path.name for path in store.path(record.id).iterdir()] == [RECORD_FILE]

    def test_a_full_disk_leaves_the_former_state_and_nothing_else(
        self, store: RunStore, record: RunRecord, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.write(record)

        def half(self: Path, text: str, encoding: str) -> int:
            self.write_bytes(text[:100].encode(encoding))
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_text", half)
        with pytest.raises(CannotCreateError, match="No space left") as caught:
            store.write(ended(record, "failed", exit_status=1, reason=None, duration=1))
        assert "--workspace" in (caught.value.hint or "")
        assert store.read(record.id) == record
        assert [path.name for path in store.path(record.id).iterdir()] == [RECORD_FILE]

    def test_a_path_that_is_no_text_survives(self, store: RunStore, record: RunRecord) -> None:
        path = os.fsdecode(b"/data/\xff\xe4")
        strange = replace(record, plan={**record.plan, "box": path}, commands=(path,))
        store.write(strange)
        assert store.read(record.id) == strange
        store.path(record.id, RECORD_FILE).read_text("ascii")

    def test_two_runs_at_once_do_not_meet(self, plan: RunPlan, store: RunStore) -> None:
        others = [plan_run(plan.box, load_run_configuration(plan.box.root / "run/copy.yaml", plan.box), LOCAL)]
        records = [new_record(each, []) for each in (plan, *others)]
        for each in records:
            store.write(each)
        assert set(store.ids()) == {each.id for each in records}


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

    def run(self, plan: RunPlan, observer: Observer) -> Outcome:
        self.seen.append(self.store.read(plan.id))
        observer.started("native")
        self.seen.append(self.store.read(plan.id))
        observer.output("stdout", b"\xff\x00")
        observer.output("stderr", b"oh")
        if isinstance(self.ending, BaseException):
            raise self.ending
        return self.ending


class Nobody:
    """An observer who is told nothing."""

    def preparing(self, what: str) -> None: ...
    def preparation_output(self, chunk: bytes) -> None: ...
    def prepared(self) -> None: ...
    def started(self, native_id: str) -> None: ...
    def output(self, stream: Stream, chunk: bytes) -> None: ...


class TestExecution:
    """The record is there before the run, and says how it ended, however that was."""

    def test_it_runs_before_the_start_and_has_succeeded_at_the_end(self, plan: RunPlan, store: RunStore) -> None:
        runner = FakeRunner(store, Outcome(status="succeeded", exit_status=0))
        execution.execute(plan, runner, Nobody())  # type: ignore[arg-type]
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
                execution.execute(plan, runner, Nobody())  # type: ignore[arg-type]
        else:
            execution.execute(plan, runner, Nobody())  # type: ignore[arg-type]
        record = store.read(plan.id)
        assert (record.status, record.exit_status) == (status, exit_status)
        assert isinstance(ending, Outcome) or record.reason

    def test_a_log_that_cannot_be_written_ends_the_run_before_its_start(
        self, plan: RunPlan, store: RunStore
    ) -> None:
        store.log(plan.id, "stderr").mkdir(parents=True)
        runner = FakeRunner(store, Outcome(status="succeeded", exit_status=0))
        with pytest.raises(CannotCreateError, match=r"stderr\.log"):
            execution.execute(plan, runner, Nobody())  # type: ignore[arg-type]
        assert not runner.seen
        record = store.read(plan.id)
        assert (record.status, record.exit_status) == ("failed", 73)
        assert "stderr.log" in (record.reason or "")


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
        put_text(store, record.id, json.dumps({**content, "mood": ["good"]}))
        assert store.read(record.id) == record

    def test_keys_that_an_earlier_version_did_not_have(self, store: RunStore, record: RunRecord) -> None:
        store.write(record)
        put_text(store, record.id, json.dumps(without(content_of(store, record), "native_id")))
        assert store.read(record.id) == record

    def test_a_record_of_a_newer_schema_is_refused_with_the_version(
        self, store: RunStore, record: RunRecord
    ) -> None:
        newer = {"schema_version": SCHEMA_VERSION + 1, "tool_version": "9.1", "id": ["all", "new"]}
        put_text(store, record.id, json.dumps(newer))
        with pytest.raises(ConfigurationError, match=r"newer version, 9\.1") as caught:
            store.read(record.id)
        assert "install" in (caught.value.hint or "")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "Expecting value"),
            ("{", "Expecting property name"),
            (b"\xff\xfe\x00", "can't decode"),
            ("[]", "not an object"),
            ("null", "not an object"),
            ('"text"', "not an object"),
            ("{}", "no 'schema_version'"),
            ("[" * 100_000, "recursion"),
            ('{"duration": NaN}', "NaN is no JSON"),
        ],
    )
    def test_what_is_no_record(self, store: RunStore, record: RunRecord, text: str | bytes, message: str) -> None:
        put_text(store, record.id, text)
        with pytest.raises(ConfigurationError, match=message) as caught:
            store.read(record.id)
        assert str(store.path(record.id, RECORD_FILE)) in caught.value.message

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"status": "sleeping"}, "'sleeping'"),
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
        put_text(store, record.id, json.dumps({**content_of(store, record), **change}))
        with pytest.raises(ConfigurationError, match=message):
            store.read(record.id)

    @pytest.mark.parametrize("key", ["id", "status", "supervisor", "started_at", "tool_version"])
    def test_a_record_without_something(self, store: RunStore, record: RunRecord, key: str) -> None:
        store.write(record)
        put_text(store, record.id, json.dumps(without(content_of(store, record), key)))
        with pytest.raises(ConfigurationError, match=f"it has no '{key}'"):
            store.read(record.id)

    def test_a_record_that_is_no_file(self, store: RunStore, record: RunRecord, tmp_path: Path) -> None:
        store.write(record)
        path = store.path(record.id, RECORD_FILE)
        path.rename(tmp_path / "elsewhere.json")
        path.symlink_to(tmp_path / "elsewhere.json")
        with pytest.raises(ConfigurationError, match="cannot read"):
            store.read(record.id)
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(ConfigurationError, match="it is not a file"):
            store.read(record.id)

    def test_a_log_that_is_no_file(self, store: RunStore, record: RunRecord) -> None:
        store.write(record)
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
        (store.directory / "empty").mkdir()
        (store.directory / "file").write_text("x")
        (store.directory / "link").symlink_to(store.path(kept.id))
        assert store.ids() == [kept.id]

    def test_one_damaged_record_does_not_hide_the_others(self, store: RunStore, put: Put) -> None:
        kept = [put(f"20260101T00000{number}-aaaaaaa{number}") for number in (1, 3)]
        put_text(store, "20260101T000002-aaaaaaa2", "{")
        records, unreadable = store.read_all()
        assert [record.id for record in records] == [record.id for record in kept]
        assert list(unreadable) == ["20260101T000002-aaaaaaa2"]

    def test_the_directory_is_something_else(self, store: RunStore) -> None:
        store.directory.parent.mkdir()
        store.directory.write_text("x")
        with pytest.raises(ConfigurationError, match="Not a directory"):
            store.ids()


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
        put_text(store, "20260101T000000-99999999", "{")
        assert store.find(None).run == "ann/bye"
        assert store.find("train").id[-1] == "b"
        put_text(store, "20270101T000000-99999999", "{")
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
    path = store.path(record.id, RECORD_FILE)
    content = json.loads(path.read_text())
    del content["detached"]
    path.write_text(json.dumps(content))
    assert store.read(record.id) == record
    assert store.read(record.id).detached is False


@pytest.mark.parametrize("value", ["yes", 1, None, []])
def test_a_record_that_says_it_in_another_way_is_damaged(store: RunStore, record: RunRecord, value: object) -> None:
    store.write(record)
    path = store.path(record.id, RECORD_FILE)
    path.write_text(json.dumps({**json.loads(path.read_text()), "detached": value}))
    with pytest.raises(ConfigurationError, match="'detached' cannot be"):
        store.read(record.id)
