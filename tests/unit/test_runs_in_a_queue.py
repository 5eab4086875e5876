"""What a queue knows of a run is believed where it knows better, and never taken for a success."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence

import pytest

from mlcommons_box import reattaching
from mlcommons_box.contract import Recorder
from mlcommons_box.definition.loader import load_box, load_run_configuration
from mlcommons_box.errors import EX_UNAVAILABLE, BoxError, ConfigurationError, Interrupted, UnavailableError
from mlcommons_box.host import ConnectionLost
from mlcommons_box.model import LocalOptions, Platform
from mlcommons_box.planning import plan_run
from mlcommons_box.process import Answer, Completed
from mlcommons_box.reattaching import attach, cancel, wait_for_all
from mlcommons_box.record import RunRecord, new_record
from mlcommons_box.run_store import RunStore
from mlcommons_box.runners import batch, follower
from mlcommons_box.runners.batch import JobState, Submitted, survey
from mlcommons_box.runners.follower import Follower
from mlcommons_box.runners.interface import Outcome
from mlcommons_box.runners.slurm_queue import SlurmBackend, job_state
from mlcommons_box.runners.submitted_run import SubmittedRun, write
from mlcommons_box.value import replace
from tests.conftest import MakeBox

MEMORY = job_state("OUT_OF_MEMORY", "OutOfMemory")
CANCELLED = job_state("CANCELLED", "None")
FAILED = job_state("FAILED", "NonZeroExitCode")
BUSY = JobState(phase="running")
WAITS = JobState(phase="waiting", reason="BeginTime")
SILENT = ConnectionLost("Slurm does not say how the jobs are: Slurm's controller does not answer")


class Clock:
    """The time, which passes in sleep alone."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.01)


class Cluster(SlurmBackend):
    """A host with a queue and one run: each look finds one status, each question one state; the last ones stay."""

    name = "this machine"

    def __init__(self, statuses: Sequence[str], states: Sequence[JobState | BoxError]) -> None:
        super().__init__()
        self.statuses = list(statuses)
        self.known = list(states)
        self.asked = 0
        self.cancelled: list[str] = []

    def shell(self, script: str, *, timeout: float | None = None) -> Answer:
        said = b""
        if script.startswith("scancel"):
            self.cancelled.append(script)
        elif "new=$((out" in script:
            status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
            said = f"{status}\nunknown running 0 0\n".encode()
        elif "else echo gone; fi" in script:
            said = f"unknown {self.statuses[0]}\n".encode() * script.count("else echo gone; fi")
        return Answer(completed=Completed(exit_status=0), stdout=said, stderr=b"")

    def close(self) -> None:
        """Nothing to close."""

    def states(self, ids: Sequence[str], answer: Answer) -> Mapping[str, JobState]:
        self.asked += 1
        state = self.known.pop(0) if len(self.known) > 1 else self.known[0]
        if isinstance(state, BoxError):
            raise state
        return dict.fromkeys(ids, state)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    time = Clock()
    for module in (follower, batch):
        monkeypatch.setattr(module, "time", time)
    return time


def follow(cluster: Cluster, *, stays: bool = True, ends: bool = False) -> Outcome | None:
    run = Submitted(id="7", directory="/runs/x")
    return Follower(cluster, cluster, run, Recorder()).follow(stays=stays, ends=ends)  # type: ignore[arg-type]


# ---- One run -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "code"), [("task 137", 137), ("task 1", 1)])
def test_memory_is_the_reason_and_the_task_s_status_its_own(status: str, code: int) -> None:
    outcome = follow(Cluster([status], [BUSY, BUSY, MEMORY]))
    assert outcome
    assert (outcome.status, outcome.exit_status) == ("failed", code)
    assert outcome.reason == "it used more memory than its job may; Slurm says OUT_OF_MEMORY, OutOfMemory"


def test_a_task_that_fails_fails_with_its_own_words() -> None:
    assert follow(Cluster(["task 3"], [BUSY, FAILED])) == Outcome(status="failed", exit_status=3)
    killed = Outcome(status="failed", exit_status=137, reason="signal 9 ended it")
    assert follow(Cluster(["task 137"], [FAILED])) == killed


def test_a_task_that_succeeds_needs_no_queue() -> None:
    cluster = Cluster(["task 0"], [SILENT])
    assert follow(cluster) == Outcome(status="succeeded", exit_status=0)
    assert cluster.asked == 0


def test_a_task_that_fails_need_not_wait_for_the_controller() -> None:
    assert follow(Cluster(["task 3"], [SILENT])) == Outcome(status="failed", exit_status=3)


def test_a_queue_that_cleans_up_for_long_is_not_waited_for(clock: Clock) -> None:
    assert follow(Cluster(["task 3"], [BUSY])) == Outcome(status="failed", exit_status=3)
    assert clock.now < 1010
    assert follow(Cluster(["cancelled 143"], [BUSY])) == Outcome(
        status="cancelled", exit_status=143, reason="cancelled"
    )
    assert clock.now < 1050


def test_who_was_cancelled_by_somebody_else_learns_it_when_the_controller_is_back() -> None:
    outcome = follow(Cluster(["cancelled 143"], [SILENT, SILENT, CANCELLED]))
    assert outcome == CANCELLED.outcome


def test_a_run_that_is_put_into_the_queue_again_goes_on(clock: Clock) -> None:
    """While it waits the queue is asked now and then, though its first attempt has said how it ended."""
    cluster = Cluster(["cancelled 143"] * 600 + [""] * 5 + ["task 0"], [BUSY, WAITS])
    assert follow(cluster) == Outcome(status="succeeded", exit_status=0)
    assert clock.now > 1500
    assert cluster.asked < 60


def test_what_came_to_its_own_end_is_given_time_to_be_seen(clock: Clock) -> None:
    """A file system may show what a node has written a minute later."""
    assert follow(Cluster([""] * 45 + ["task 3"], [FAILED])) == Outcome(status="failed", exit_status=3)
    outcome = follow(Cluster([""], [FAILED]))
    assert outcome == FAILED.outcome
    assert clock.now > 1090


def test_what_was_ended_by_the_queue_is_not(clock: Clock) -> None:
    assert follow(Cluster([""], [MEMORY])) == MEMORY.outcome
    assert clock.now < 1010


def test_a_run_that_was_taken_out_of_the_queue_is_cancelled() -> None:
    cluster = Cluster([""], [CANCELLED])
    outcome = follow(cluster, stays=False, ends=True)
    assert outcome == Outcome(status="cancelled", exit_status=143, reason="cancelled")
    assert cluster.cancelled == []  # that was done before


def test_a_run_that_was_asked_to_end_and_does_not_is_killed() -> None:
    cluster = Cluster([""] * 60 + ["cancelled 143"], [BUSY])
    assert follow(cluster, stays=False, ends=True) == Outcome(
        status="cancelled", exit_status=143, reason="cancelled"
    )
    assert cluster.cancelled
    assert cluster.cancelled[0].startswith("scancel 7\n")


# ---- Many runs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "state", "phase"),
    [
        ("", BUSY, "running"),
        ("", WAITS, "waiting"),
        ("task 0", SILENT, "ended"),
        ("task 3", SILENT, "ended"),
        ("cancelled 143", WAITS, "waiting"),
        ("cancelled 143", BUSY, "ended"),
        ("task 137", CANCELLED, "ended"),
    ],
)
def test_what_has_said_its_end_is_over_unless_it_waits_again(
    status: str, state: JobState | BoxError, phase: str
) -> None:
    cluster = Cluster([status], [state])
    runs = [Submitted(id="7", directory="/a"), Submitted(id="8", directory="/b")]
    found = survey(cluster, cluster, runs)  # type: ignore[arg-type]
    assert {each.phase for each in found} == {phase}
    assert cluster.asked <= 1


@pytest.fixture
def store(make_box: MakeBox) -> RunStore:
    return RunStore(make_box() / "workspace")


Submit = Callable[..., RunRecord]


@pytest.fixture
def going_on(make_box: MakeBox, store: RunStore, monkeypatch: pytest.MonkeyPatch) -> Submit:
    """Writes down runs that are in the queue of a cluster, whose mlbox has ended."""
    box = load_box(make_box())
    run = load_run_configuration(box.root / "run/copy.yaml", box)
    platform = Platform(name="p", runner="local", options=LocalOptions())

    def submit(cluster: Cluster) -> RunRecord:
        plan = plan_run(box, run, platform)
        record = new_record(plan, [])
        gone = replace(record.supervisor, started_ticks=1)
        record = replace(record, supervisor=gone, native_id=plan.id, detached=True)
        store.write(record)
        directory = f"{plan.workspace}/.mlbox/runs/{plan.id}/job"
        write(SubmittedRun(queue="slurm", id=plan.id, directory=directory), store.path(record.id))
        clusters[plan.id] = cluster
        return record

    clusters: dict[str, Cluster] = {}
    monkeypatch.setattr(SubmittedRun, "host", lambda run: clusters[run.id])
    monkeypatch.setattr(SubmittedRun, "backend", lambda run: clusters[run.id])
    return submit


def test_a_task_that_never_began_completes_its_record(store: RunStore, going_on: Submit) -> None:
    record = going_on(Cluster(["missing 66"], [BUSY]))
    with pytest.raises(UnavailableError):
        attach(store, record, Recorder())
    record = store.read(record.id)
    assert (record.status, record.exit_status) == ("failed", EX_UNAVAILABLE)
    assert record.reason
    assert record.reason.startswith("what the run needs is not on its node")


def test_one_run_that_never_began_is_no_matter_for_the_others(store: RunStore, going_on: Submit) -> None:
    records = [going_on(Cluster([status], [BUSY])) for status in ("task 0", "missing 66", "task 3")]
    found: list[RunRecord] = []
    monkeypatched = {record.id: JobState(phase="ended") for record in records}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reattaching, "states", lambda store, records: monkeypatched)
        assert wait_for_all(store, records, Recorder(), found.append)
    assert [(each.status, each.exit_status) for each in found] == [
        ("succeeded", 0),
        ("failed", EX_UNAVAILABLE),
        ("failed", 3),
    ]


def test_a_queue_that_does_not_answer_ends_no_run(store: RunStore, going_on: Submit) -> None:
    record = going_on(Cluster([""], [SILENT]))
    found = reattaching.states(store, [record])[record.id]
    assert found == JobState(phase="unreachable", reason=SILENT.message)


def test_all_runs_are_one_question(store: RunStore, going_on: Submit) -> None:
    cluster = Cluster([""], [WAITS])
    records = [going_on(cluster) for _ in range(20)]
    assert set(reattaching.states(store, records).values()) == {WAITS}
    assert cluster.asked == 1


def test_cancelling_asks_first_and_completes_the_record(store: RunStore, going_on: Submit) -> None:
    cluster = Cluster(["", "", "cancelled 143"], [BUSY])
    record = reattaching.cancel(store, going_on(cluster), Recorder())
    assert (record.status, record.exit_status, record.reason) == ("cancelled", 143, "cancelled")
    assert [script.split()[0:2] for script in cluster.cancelled] == [["scancel", "--state=PENDING"]]


def test_a_directory_that_is_none_of_a_job_is_left_alone(store: RunStore, going_on: Submit) -> None:
    """A workspace may come from a stranger, and the directory of a job is removed in the end."""
    record = going_on(Cluster(["task 0"], [BUSY]))
    write(SubmittedRun(queue="slurm", id=record.id, directory="/home/ada"), store.path(record.id))
    for use in (attach, cancel):
        with pytest.raises(ConfigurationError, match="/home/ada"):
            use(store, record, Recorder())


def unexpected(record: RunRecord) -> None:
    pytest.fail(f"{record.id} has ended")


def test_an_interrupt_while_the_queue_is_asked_is_no_answer(store: RunStore, going_on: Submit) -> None:
    record = going_on(Cluster([""], [Interrupted(signal.SIGINT)]))
    with pytest.raises(Interrupted):
        reattaching.states(store, [record])
    assert not wait_for_all(store, [record], Recorder(), unexpected)
    assert store.read(record.id).status == "running"


def test_an_interrupt_while_nothing_happens_ends_the_waiting_at_once(
    store: RunStore, going_on: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = going_on(Cluster([""], [BUSY]))
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("mlcommons_box.reattaching.time.sleep", sleep)
    assert not wait_for_all(store, [record], Recorder(), unexpected)
    assert len(slept) == 2
