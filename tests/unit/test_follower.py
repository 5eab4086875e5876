"""Runs that go on without us are followed to their end, whatever happens to the connection."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from mlcommons_box.command import Command
from mlcommons_box.contract import Recorder
from mlcommons_box.errors import (
    EX_TEMPORARY,
    BoxError,
    CannotCreateError,
    Interrupted,
    PreparationError,
    UnavailableError,
)
from mlcommons_box.host import ConnectionLost
from mlcommons_box.process import Answer, Completed, OnOutput
from mlcommons_box.runners import batch, follower, submitted_run
from mlcommons_box.runners.batch import JobState, Submitted, submit, survey
from mlcommons_box.runners.follower import Follower
from mlcommons_box.runners.interface import Outcome
from mlcommons_box.runners.process_queue import ProcessBackend
from mlcommons_box.runners.submitted_run import SubmittedRun, begin
from mlcommons_box.runners.transfer import Output

LOST = ConnectionLost("the connection was lost to the host 'lab'\n  why")


def answer(stdout: bytes = b"", status: int = 0, stderr: bytes = b"") -> Answer:
    return Answer(completed=Completed(exit_status=status), stdout=stdout, stderr=stderr)


class FakeHost:
    """A host with one run; ``events`` happen one at each question, before it is answered."""

    name = "lab"

    def __init__(self) -> None:
        self.stdout = b""
        self.stderr = b""
        self.status = ""
        self.alive = "yes"
        self.preparation = b""
        self.events: list[Callable[[], None] | BoxError] = []
        self.asked: list[str] = []
        self.cancelled = 0
        self.is_gone = False
        self.copied: list[str] = []
        self.copies: list[BoxError] = []

    def shell_command(self, script: str) -> Command:
        return Command(argv=("sh",), input=script.encode())

    def shell(self, script: str, *, timeout: float | None = None) -> Answer:
        self.asked.append(script)
        if self.events:
            event = self.events.pop(0)
            if isinstance(event, BoxError):
                raise event
            event()
        if "kill -s TERM" in script:
            self.cancelled += 1
            return answer()
        if "preparation.log" in script:
            return answer(self.preparation)
        if self.is_gone:
            return answer(status=73)
        return answer(self._look(script)) if "new=$((out" in script else answer()

    def _look(self, script: str) -> bytes:
        known = [int(number) for number in re.findall(r"new=\$\(\((?:out|err) - (\d+)\)\)", script)]
        logs = [self.stdout, self.stderr]
        head = f"{self.status}\n{self.alive} running {len(self.stdout)} {len(self.stderr)}\n".encode()
        return head + b"".join(log[seen : seen + (1 << 22)] for log, seen in zip(logs, known, strict=True))

    def put(self, sources: Sequence[str], target: str, *options: str, on_output: OnOutput) -> None:
        raise AssertionError

    def get(self, source: str, target: Path, *options: str, on_output: OnOutput) -> None:
        if self.copies:
            raise self.copies.pop(0)
        self.copied.append(source)

    def close(self) -> None:
        """Nothing to close."""

    def writes(self, stdout: bytes = b"", status: str = "", stderr: bytes = b"") -> Callable[[], None]:
        def write() -> None:
            self.stdout += stdout
            self.stderr += stderr
            self.status = status

        return write


class Queue(ProcessBackend):
    """A queue that knows something."""

    name = "queue"

    def __init__(self, *known: JobState | BoxError) -> None:
        self.known = list(known)

    def question(self, ids: Sequence[str]) -> str:
        return "ask the queue"

    def states(self, ids: Sequence[str], answer: Answer) -> Mapping[str, JobState]:
        state = self.known.pop(0) if len(self.known) > 1 else self.known[0]
        if isinstance(state, BoxError):
            raise state
        return dict.fromkeys(ids, state)


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]

    def sleep(seconds: float) -> None:
        clock[0] += max(seconds, 0.01)

    for module in (follower, batch, submitted_run):
        monkeypatch.setattr(module.time, "sleep", sleep)
        monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])


def follow(
    host: FakeHost,
    recorder: Recorder,
    backend: ProcessBackend | None = None,
    explain: Callable[[int, str], str | None] = lambda status, said: None,
    timeout: float | None = None,
    stays: bool = True,
) -> Outcome | None:
    run = Submitted(id="7", directory="/runs/it's")
    return Follower(host, backend or ProcessBackend(), run, recorder, explain, timeout).follow(stays=stays)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("task 0", Outcome(status="succeeded", exit_status=0)),
        ("task 3", Outcome(status="failed", exit_status=3)),
        ("task 137", Outcome(status="failed", exit_status=137, reason="signal 9 ended it")),
        ("task 255", Outcome(status="failed", exit_status=255)),
        ("time 124", Outcome(status="failed", exit_status=124, reason="it ran longer than 90 s")),
        ("cancelled 143", Outcome(status="cancelled", exit_status=143, reason="cancelled")),
    ],
)
def test_what_a_status_file_says(host: FakeHost, recorder: Recorder, status: str, outcome: Outcome) -> None:
    host.status = status
    assert follow(host, recorder, timeout=90) == outcome


@pytest.mark.parametrize(
    "status", ["task", "task x", "succeeded 0", "task 0 0", "task -1", "0", "\x00\x00", "taskk 0"]
)
def test_a_damaged_status_file_is_never_success(host: FakeHost, recorder: Recorder, status: str) -> None:
    host.status = status
    outcome = follow(host, recorder)
    assert outcome is not None
    assert (outcome.status, outcome.exit_status) == ("lost", EX_TEMPORARY)
    assert "damaged" in str(outcome.reason)


def test_a_process_that_is_gone_without_a_word_is_lost(host: FakeHost, recorder: Recorder) -> None:
    host.alive = "no"
    outcome = follow(host, recorder)
    assert outcome is not None
    assert (outcome.status, outcome.exit_status) == ("lost", EX_TEMPORARY)


def test_a_status_that_comes_a_moment_after_its_process_has_gone_counts(host: FakeHost, recorder: Recorder) -> None:
    host.alive = "no"
    host.events = [host.writes(), host.writes(), host.writes(b"late", "task 0")]
    outcome = follow(host, recorder)
    assert outcome is not None
    assert outcome.status == "succeeded"
    assert recorder.text("stdout") == b"late"


def test_a_directory_that_was_removed_is_a_lost_run(host: FakeHost, recorder: Recorder) -> None:
    host.is_gone = True
    outcome = follow(host, recorder)
    assert outcome is not None
    assert outcome.status == "lost"
    assert outcome.reason == "the run's directory \"/runs/it's\" is gone from lab"


def test_output_is_neither_lost_nor_repeated_when_the_connection_is(host: FakeHost, recorder: Recorder) -> None:
    host.events = [
        host.writes(b"one\n"), LOST, host.writes(b"two\n", stderr=b"e1"), LOST, LOST, LOST,
        host.writes(b"\xff\x00three", stderr=b"e2"), host.writes(b"", "task 0"),
    ]  # fmt: skip
    outcome = follow(host, recorder)
    assert outcome == Outcome(status="succeeded", exit_status=0)
    assert recorder.text("stdout") == b"one\ntwo\n\xff\x00three"
    assert recorder.text("stderr") == b"e1e2"
    assert any("we try again" in step for step in recorder.steps)


def test_much_output_comes_in_pieces_and_whole(host: FakeHost, recorder: Recorder) -> None:
    host.stdout, host.stderr, host.status = os.urandom(1 << 20) * 9, b"e" * (5 << 20), "task 0"
    assert follow(host, recorder) == Outcome(status="succeeded", exit_status=0)
    assert recorder.text("stdout") == host.stdout
    assert recorder.text("stderr") == host.stderr


def test_an_interrupt_ends_the_run(host: FakeHost, recorder: Recorder) -> None:
    host.events = [host.writes(b"a"), Interrupted(signal.SIGINT), host.writes(), host.writes(b"b", "cancelled 143")]
    assert follow(host, recorder) == Outcome(status="cancelled", exit_status=130, reason="interrupted")
    assert recorder.text("stdout") == b"ab"
    assert host.cancelled == 1


def test_an_interrupt_may_end_only_the_following(host: FakeHost, recorder: Recorder) -> None:
    host.events = [Interrupted(signal.SIGINT)]
    assert follow(host, recorder, stays=False) is None
    assert host.cancelled == 0


def test_a_run_that_does_not_end_when_asked_is_asked_again(host: FakeHost, recorder: Recorder) -> None:
    host.events = [Interrupted(signal.SIGTERM), *[host.writes()] * 40]

    def ends() -> None:
        host.status = "cancelled 143"

    host.events.append(ends)
    assert follow(host, recorder) == Outcome(status="cancelled", exit_status=143, reason="interrupted")
    assert host.cancelled >= 2


def test_the_second_interrupt_leaves_a_run_that_cannot_be_reached(host: FakeHost, recorder: Recorder) -> None:
    host.events = [Interrupted(signal.SIGINT), LOST, LOST, Interrupted(signal.SIGINT), LOST]
    assert follow(host, recorder) is None
    assert host.events == []


def test_a_run_that_was_cancelled_while_out_of_reach_is_cancelled_later(host: FakeHost, recorder: Recorder) -> None:
    host.events = [Interrupted(signal.SIGINT), LOST, LOST, host.writes(), host.writes(status="cancelled 143")]
    assert follow(host, recorder) == Outcome(status="cancelled", exit_status=130, reason="interrupted")


def test_an_engine_s_words_explain_a_failure(host: FakeHost, recorder: Recorder) -> None:
    host.stderr, host.status = b"no such image", "task 125"
    said: list[tuple[int, str]] = []

    def explain(status: int, words: str) -> str:
        said.append((status, words))
        return "there is no image"

    outcome = follow(host, recorder, explain=explain)
    assert outcome == Outcome(status="failed", exit_status=125, reason="there is no image")
    assert said == [(125, "no such image")]


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        ("missing 69", UnavailableError, "what the run needs is not on lab"),
        ("missing 66", UnavailableError, "what the run needs is not on lab"),
        ("preparation 1", PreparationError, "the preparation failed on lab"),
        ("outputs 73", CannotCreateError, "cannot create directories on lab"),
        ("before 73", CannotCreateError, "cannot create directories on lab"),
    ],
)
def test_what_never_started_is_an_error_with_the_reason(
    host: FakeHost, recorder: Recorder, status: str, kind: type[BoxError], words: str
) -> None:
    host.status, host.preparation = status, b"there is none of the programs: docker\n"
    with pytest.raises(kind, match=words) as caught:
        follow(host, recorder)
    assert "there is none of the programs: docker" in caught.value.message


# ---- Queues --------------------------------------------------------------------------------------


def test_a_queue_that_knows_the_end_is_believed_where_nothing_is_written(
    host: FakeHost, recorder: Recorder
) -> None:
    host.alive = "unknown"
    killed = Outcome(status="failed", exit_status=137, reason="the node has failed")
    assert follow(host, recorder, Queue(JobState(phase="ended", outcome=killed))) == killed


def test_a_queue_that_says_success_is_not_believed_alone(host: FakeHost, recorder: Recorder) -> None:
    host.alive = "unknown"
    fine = Outcome(status="succeeded", exit_status=0)
    outcome = follow(host, recorder, Queue(JobState(phase="ended", outcome=fine)))
    assert outcome is not None
    assert outcome.status == "lost"


def test_a_run_that_nobody_knows_any_more_is_lost(host: FakeHost, recorder: Recorder) -> None:
    host.alive = "unknown"
    outcome = follow(host, recorder, Queue(JobState(phase="unknown")))
    assert outcome is not None
    assert outcome.status == "lost"


def test_a_waiting_run_says_what_it_waits_for(host: FakeHost, recorder: Recorder) -> None:
    host.alive = "unknown"
    waiting = JobState(phase="waiting", reason="Priority")
    host.events = [*[host.writes()] * 20, host.writes(status="task 0")]
    assert follow(host, recorder, Queue(waiting)) is not None
    assert "waiting in the queue (Priority)" in recorder.steps


# ---- Several runs at once ------------------------------------------------------------------------


TWO = [Submitted(id="1", directory="/a"), Submitted(id="2", directory="/b")]


class Surveyed(FakeHost):
    """Answers a survey with some lines."""

    def __init__(self, said: bytes, status: int = 0) -> None:
        super().__init__()
        self.said = answer(said, status, b"sh: no\n")

    def shell(self, script: str, *, timeout: float | None = None) -> Answer:
        self.asked.append(script)
        return self.said


def test_the_states_of_all_runs_are_one_question() -> None:
    host = Surveyed(b"yes \nyes task 0\nno \ngone\nunknown task 3\n")
    # Numbers of processes are used again, as after a boot.
    runs = [Submitted(id="7", directory=f"/runs/{number}") for number in range(5)]
    phases = [state.phase for state in survey(host, ProcessBackend(), runs)]
    assert phases == ["running", "ended", "ended", "ended", "ended"]
    assert len(host.asked) == 1


def test_a_queue_is_asked_only_for_those_that_say_nothing_themselves() -> None:
    host = Surveyed(b"unknown \nunknown task 0\n")
    asked: list[Sequence[str]] = []

    class Asked(Queue):
        def question(self, ids: Sequence[str]) -> str:
            asked.append(ids)
            return "ask"

    waiting = JobState(phase="waiting", reason="Resources")
    assert survey(host, Asked(waiting), TWO) == [waiting, JobState(phase="ended")]
    assert asked == [["1"]]


@pytest.mark.parametrize(("said", "status"), [(b"", 0), (b"yes \n", 0), (b"yes \nyes \n", 1), (b"a\nb\nc\n", 0)])
def test_half_an_answer_is_none(said: bytes, status: int) -> None:
    with pytest.raises(UnavailableError, match="did not say how the runs are"):
        survey(Surveyed(said, status), ProcessBackend(), TWO)


# ---- The start -----------------------------------------------------------------------------------


class Starting(FakeHost):
    """Answers what starts a run."""

    def __init__(self, *answers: Answer | BoxError) -> None:
        super().__init__()
        self.answers = list(answers)

    def shell(self, script: str, *, timeout: float | None = None) -> Answer:
        self.asked.append(script)
        given = self.answers.pop(0)
        if isinstance(given, BoxError):
            raise given
        return given


def start(host: FakeHost) -> Submitted:
    return submit(host, ProcessBackend(), "/runs/a b", "id", "echo script\n")


WRITTEN = b"mlbox-written\n"


def test_a_start_writes_the_script_and_says_the_id() -> None:
    host = Starting(answer(WRITTEN + b"4711\n"))
    assert start(host) == Submitted(id="4711", directory="/runs/a b")
    (asked,) = host.asked
    assert "umask 077" in asked
    assert "cd -- '/runs/a b'" in asked
    assert asked.index("echo script\n") < asked.index("mkdir started")


def test_what_the_shell_there_says_by_itself_is_no_id() -> None:
    assert start(Starting(answer(b"Welcome\n" + WRITTEN + b"4711\n"))).id == "4711"


def test_a_start_that_may_have_happened_is_asked_for_again() -> None:
    """The directory says whether it did: nothing is started twice."""
    host = Starting(LOST, LOST, answer(WRITTEN + b"4711\n"))
    assert start(host).id == "4711"
    assert host.asked[0] == host.asked[1] == host.asked[2]


def test_a_host_that_stays_away_is_given_up() -> None:
    with pytest.raises(ConnectionLost):
        start(Starting(*[LOST] * 100))


def test_an_interrupt_during_the_start_ends_what_may_have_been_started() -> None:
    host = Starting(Interrupted(signal.SIGINT), answer(b"4711\n"), answer())
    with pytest.raises(Interrupted):
        start(host)
    assert "! mkdir started" in host.asked[1]
    assert "cd -- '/runs/a b'" in host.asked[2]
    assert "kill -s TERM" in host.asked[2]


def test_an_interrupt_before_the_start_keeps_it_from_happening() -> None:
    host = Starting(Interrupted(signal.SIGINT), answer())
    with pytest.raises(Interrupted):
        start(host)
    assert len(host.asked) == 2


@pytest.mark.parametrize("said", [b"", b"Welcome\n", b"12 13\n"])
def test_a_start_that_says_no_id_is_an_error(said: bytes) -> None:
    with pytest.raises(UnavailableError, match="did not say what the run is called"):
        start(Starting(answer(WRITTEN + said)))


def test_a_full_disk_there_is_an_error_before_anything_starts() -> None:
    with pytest.raises(CannotCreateError, match="No space left") as caught:
        start(Starting(answer(status=73, stderr=b"cat: write error: No space left on device\n")))
    assert "directory" in str(caught.value.hint)


def test_a_process_that_cannot_be_started_is_an_error() -> None:
    with pytest.raises(UnavailableError, match="cannot be started there"):
        start(Starting(answer(WRITTEN, status=1, stderr=b"sh: cannot fork\n")))


def test_what_was_started_and_cannot_be_written_down_is_ended(tmp_path: Path, recorder: Recorder) -> None:
    """Nobody would ever come back to it."""
    host = Starting(answer())
    (tmp_path / "taken").write_text("")
    with pytest.raises(CannotCreateError):
        begin(submitted(), host, tmp_path / "taken", recorder)
    (asked,) = host.asked
    assert "cd -- /box/job" in asked
    assert "kill -s TERM" in asked


# ---- What it leaves ------------------------------------------------------------------------------


def submitted() -> SubmittedRun:
    from mlcommons_box.host import Login

    output = Output(there="/box/out", here="/nowhere/out", type="directory")
    return SubmittedRun(
        queue="process", id="7", directory="/box/job", login=Login(host="lab"), box="/box", outputs=(output,)
    )


class Leaving(FakeHost):
    """A host whose outputs are all there."""

    def shell(self, script: str, *, timeout: float | None = None) -> Answer:
        if script.startswith("[ -e /box/out ]"):
            self.asked.append(script)
            return answer(b"0\n")
        return super().shell(script, timeout=timeout)


@pytest.fixture
def leaving(tmp_path: Path) -> Leaving:
    return Leaving()


def with_outputs(tmp_path: Path) -> SubmittedRun:
    from mlcommons_box.value import replace

    run = submitted()
    return replace(run, outputs=(replace(run.outputs[0], here=str(tmp_path / "out")),))


@pytest.mark.parametrize("status", ["task 0", "task 1", "time 124"])
def test_outputs_come_back_however_it_ended(
    leaving: Leaving, recorder: Recorder, tmp_path: Path, status: str
) -> None:
    leaving.status = status
    assert submitted_run.follow(with_outputs(tmp_path), leaving, recorder, tmp_path) is not None
    assert leaving.copied == ["/box/out"]
    assert submitted_run.read(tmp_path) is not None
    assert any(script.startswith("rm -rf -- /box/job") for script in leaving.asked)


def test_outputs_come_back_of_a_run_whose_preparation_failed(
    leaving: Leaving, recorder: Recorder, tmp_path: Path
) -> None:
    leaving.status = "preparation 1"
    with pytest.raises(PreparationError):
        submitted_run.follow(with_outputs(tmp_path), leaving, recorder, tmp_path)
    assert leaving.copied == ["/box/out"]


def test_a_connection_that_is_lost_on_the_way_back_loses_nothing(
    leaving: Leaving, recorder: Recorder, tmp_path: Path
) -> None:
    leaving.status = "task 0"
    leaving.copies = [LOST, LOST]
    outcome = submitted_run.follow(with_outputs(tmp_path), leaving, recorder, tmp_path)
    assert outcome == Outcome(status="succeeded", exit_status=0)
    assert leaving.copied == ["/box/out"]


def test_an_interrupt_on_the_way_back_leaves_the_run_to_be_fetched(
    leaving: Leaving, recorder: Recorder, tmp_path: Path
) -> None:
    leaving.status = "task 0"
    leaving.copies = [LOST, Interrupted(signal.SIGINT)]
    assert submitted_run.follow(with_outputs(tmp_path), leaving, recorder, tmp_path) is None
    assert not any(script.startswith("rm -rf") for script in leaving.asked)


def test_what_is_written_down_is_read_again(tmp_path: Path) -> None:
    from mlcommons_box.value import replace

    output = Output(there="/a\nb", here="/c", type="file", inputs=("/c/d",))
    run = replace(submitted(), outputs=(output,), timeout=2.5, outcome=Outcome(status="failed", exit_status=3))
    submitted_run.write(run, tmp_path)
    assert submitted_run.read(tmp_path) == run
    assert submitted_run.read(tmp_path / "no") is None
