"""Many runs: what starts when, what does not, and that all come to an end, whatever happens."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable

import pytest

from mlcommons_box.command import Command
from mlcommons_box.crew import Ended, Event
from mlcommons_box.errors import BoxError, CannotCreateError, PreparationError, ProblemsError
from mlcommons_box.interruption import signals_noted
from mlcommons_box.planning import RunPlan, SetupPlan
from mlcommons_box.runners.interface import NotPrepared, Observer, Outcome, Runner, StillRunning, Unheard
from mlcommons_box.scheduling import exit_status, run_all
from mlcommons_box.value import replace
from tests.unit.test_pipeline import plan

PATIENCE = 20.0
GOOD = Outcome(status="succeeded", exit_status=0)
BAD = Outcome(status="failed", exit_status=3)


class FakeRunner:
    """Does for each run what a test says, and remembers which it did."""

    def __init__(self, does: dict[str, Callable[[], Outcome]] | None = None) -> None:
        self.does = does or {}
        self.calls: list[str] = []

    def is_available(self, plan: SetupPlan) -> bool:
        return True

    def check(self, plan: SetupPlan) -> list[object]:
        return []

    def notes(self, plan: SetupPlan) -> list[str]:
        return []

    def commands(self, plan: SetupPlan) -> list[Command]:
        return []

    def prepare(self, plan: SetupPlan, observer: Observer) -> None:
        raise AssertionError("nothing is to be prepared")

    def built(self, plan: SetupPlan) -> list[object]:
        return []

    def run(self, plan: RunPlan, observer: Observer) -> Outcome:
        self.calls.append(plan.run)
        return self.does.get(plan.run, lambda: GOOD)()


def execute(plan: RunPlan, runner: Runner, observer: Observer) -> Outcome:
    """What :func:`mlcommons_box.execution.execute` does, without records and files."""
    try:
        return runner.run(plan, observer)
    except NotPrepared:
        runner.prepare(plan, observer)
        return runner.run(plan, observer)


def run(plans: list[RunPlan], runner: FakeRunner, **settings: object) -> list[Ended]:
    arguments: dict[str, object] = {"observer_for": lambda plan: Unheard(), "execute": execute, **settings}
    return run_all(plans, runner, **arguments)  # type: ignore[arg-type]


def states(ends: list[Ended]) -> dict[str, str]:
    return {each.plan.run: each.state for each in ends}


def fail() -> Outcome:
    return BAD


def raising(error: BaseException) -> Callable[[], Outcome]:
    def do() -> Outcome:
        raise error

    return do


DIAMOND = [plan("top", "", "/t"), plan("left", "/t", "/l"), plan("right", "/t", "/r"), plan("bottom", "/l /r")]


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_every_run_comes_after_what_it_needs(jobs: int) -> None:
    runner = FakeRunner()
    ends = run(DIAMOND[::-1], runner, jobs=jobs)
    assert (runner.calls[0], runner.calls[-1], len(runner.calls)) == ("top", "bottom", 4)
    assert {each.state for each in ends} == {"succeeded"}
    assert exit_status(ends) == 0


def test_one_job_stays_in_this_thread_and_in_the_given_order() -> None:
    threads: set[int] = set()

    def note() -> Outcome:
        threads.add(threading.get_ident())
        return GOOD

    runner = FakeRunner(dict.fromkeys("cab", note))
    run([plan("c"), plan("a"), plan("b")], runner)
    assert runner.calls == ["c", "a", "b"]
    assert threads == {threading.get_ident()}


def test_independent_runs_are_there_at_the_same_time_and_never_too_many() -> None:
    together = threading.Barrier(2)
    now: list[int] = []
    most: list[int] = []

    def meet() -> Outcome:
        now.append(1)
        most.append(len(now))
        together.wait(PATIENCE)
        now.pop()
        return GOOD

    runner = FakeRunner({str(each): meet for each in range(4)})
    ends = run([plan(str(each)) for each in range(4)], runner, jobs=2)
    assert max(most) == 2
    assert exit_status(ends) == 0


@pytest.mark.parametrize("jobs", [1, 2])
def test_after_a_failure_nothing_new_is_started(jobs: int) -> None:
    plans = [plan("bad", "", "/x"), plan("needs-it", "/x"), *(plan(f"other-{each}") for each in range(5))]
    runner = FakeRunner({"bad": fail, "other-0": lambda: time.sleep(0.2) or GOOD})  # type: ignore[func-returns-value]
    ends = run(plans, runner, jobs=jobs)
    found = states(ends)
    assert (found["bad"], found["needs-it"], found["other-4"]) == ("failed", "not started", "not started")
    if jobs == 2:  # what ran already was left in peace
        assert found["other-0"] == "succeeded"
    assert exit_status(ends) == 3
    reasons = {each.plan.run: each.reason for each in ends}
    assert reasons["needs-it"] == "it reads what 'bad' should have written"
    assert reasons["other-4"] == "'bad' failed before it could start"


@pytest.mark.parametrize("jobs", [1, 3])
def test_keep_going_leaves_out_only_what_needs_the_failure(jobs: int) -> None:
    plans = [plan("bad", "", "/x"), plan("a", "/x", "/y"), plan("b", "/y"), plan("c"), plan("d")]
    ends = run(plans, FakeRunner({"bad": fail}), jobs=jobs, keep_going=True)
    assert states(ends) == {
        "bad": "failed",
        "a": "not started",
        "b": "not started",
        "c": "succeeded",
        "d": "succeeded",
    }
    assert exit_status(ends) == 3


def test_the_first_failure_decides_on_the_exit_status() -> None:
    other = Outcome(status="failed", exit_status=9)
    ends = run([plan("a"), plan("b")], FakeRunner({"a": fail, "b": lambda: other}), keep_going=True)
    assert exit_status(ends) == 3


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    ("error", "state", "status"),
    [
        (CannotCreateError("no space left"), "failed", 73),
        (PreparationError("cannot build"), "failed", 69),
        (StillRunning("id", "far"), "lost", 75),
        (BrokenPipeError(), "cancelled", 141),
        (KeyboardInterrupt(), "cancelled", 130),
        (ZeroDivisionError("a defect"), "failed", 70),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_an_error_is_the_end_of_one_run_and_hangs_nothing(
    jobs: int, error: BaseException, state: str, status: int
) -> None:
    runner = FakeRunner({"a": raising(error)})
    ends = run([plan("a"), *(plan(f"b{each}") for each in range(20))], runner, jobs=jobs)
    found = states(ends)
    assert (found["a"], len(found)) == (state, 21)
    assert found["b19"] == "not started"
    assert exit_status(ends) == status
    assert next(each.error for each in ends if each.plan.run == "a") is error


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_reader_who_left_and_an_interrupt_end_all_even_with_keep_going(jobs: int) -> None:
    for error in (BrokenPipeError(), KeyboardInterrupt()):
        ends = run(
            [plan("a"), *(plan(f"b{each}") for each in range(20))],
            FakeRunner({"a": raising(error)}),
            jobs=jobs,
            keep_going=True,
        )
        assert states(ends)["b19"] == "not started"


def until_told() -> Outcome:
    """A task that ends when it is asked to."""
    with signals_noted() as signals:
        deadline = time.monotonic() + PATIENCE
        while not signals and time.monotonic() < deadline:
            time.sleep(0.005)
    return Outcome(status="cancelled", exit_status=128 + signals[0], reason="interrupted")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_all_that_runs_and_starts_nothing(number: int, status: int) -> None:
    both = threading.Barrier(2, action=lambda: signal.pthread_kill(threading.main_thread().ident or 0, number))

    def wait() -> Outcome:
        both.wait(PATIENCE)
        return until_told()

    plans = [plan("bad"), plan("a"), plan("b"), plan("c")]
    ends = run(plans, FakeRunner({"bad": fail, "a": wait, "b": wait}), jobs=2, keep_going=True)
    assert states(ends) == {"bad": "failed", "a": "cancelled", "b": "cancelled", "c": "not started"}
    assert exit_status(ends) == status
    assert ends[-1].reason == "interrupted"


def test_a_reader_who_left_ends_what_runs_beside() -> None:
    both = threading.Barrier(2)

    def leave() -> Outcome:
        both.wait(PATIENCE)
        raise BrokenPipeError

    def stay() -> Outcome:
        both.wait(PATIENCE)
        return until_told()

    ends = run([plan("a"), plan("b")], FakeRunner({"a": leave, "b": stay}), jobs=2)
    assert states(ends) == {"a": "cancelled", "b": "cancelled"}
    assert exit_status(ends) == 141


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_is_unchanged_is_left_out_once_all_that_it_needs_is_there(jobs: int) -> None:
    runner = FakeRunner()
    asked: list[tuple[str, list[str]]] = []

    def is_unchanged(plan: RunPlan) -> str | None:
        asked.append((plan.run, list(runner.calls)))
        return "as in an earlier run" if plan.run == "b" else None

    ends = run(
        [plan("a", "", "/x"), plan("b", "/x", "/y"), plan("c", "/y")], runner, is_unchanged=is_unchanged, jobs=jobs
    )
    assert asked == [("a", []), ("b", ["a"]), ("c", ["a"])]
    assert states(ends) == {"a": "succeeded", "b": "unchanged", "c": "succeeded"}
    assert exit_status(ends) == 0
    assert ends[1].reason == "as in an earlier run"


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_signal_that_somebody_passed_over_before_the_start_starts_nothing(jobs: int) -> None:
    def pass_over(plan: RunPlan) -> None:
        with signals_noted() as signals:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            deadline = time.monotonic() + PATIENCE
            while not signals and time.monotonic() < deadline:
                time.sleep(0.005)

    runner = FakeRunner()
    ends = run([plan("a"), plan("b", "", "/x"), plan("c", "/x")], runner, is_unchanged=pass_over, jobs=jobs)
    assert runner.calls == []
    assert exit_status(ends) == 130


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_plan_is_adapted_right_before_its_start_and_given_back_whatever_happens(jobs: int) -> None:
    free = [0, 1]
    seen: list[tuple[str, str, str]] = []

    def adapt(plan: RunPlan) -> RunPlan:
        return replace(plan, network=("none", "default")[free.pop()])

    def after(ended: Ended) -> None:
        free.append(("none", "default").index(ended.plan.network))
        seen.append((ended.plan.run, ended.plan.network, ended.state))

    plans = [plan(str(each)) for each in range(6)]
    does = {"0": raising(BoxError("x")), "1": fail}
    ends = run(plans, FakeRunner(does), adapt=adapt, after=after, jobs=jobs, keep_going=True)
    assert sorted(free) == [0, 1]
    assert len(seen) == len(ends) == 6
    assert {each.plan.network for each in ends} <= {"none", "default"}


def test_what_is_raised_before_and_after_a_run_is_its_failure() -> None:
    def refuse(plan: RunPlan) -> RunPlan:
        raise BoxError("there is no device")

    def lose(ended: Ended) -> None:
        raise CannotCreateError("cannot write")

    assert run([plan("a")], FakeRunner(), adapt=refuse)[0].reason == "there is no device"
    assert run([plan("a")], FakeRunner(), after=lose)[0].state == "failed"


@pytest.mark.parametrize("jobs", [1, 2])
def test_events_come_in_this_thread_in_the_order_in_which_things_happen(jobs: int) -> None:
    events: list[Event] = []
    threads: set[int] = set()

    def note(event: Event) -> None:
        events.append(event)
        threads.add(threading.get_ident())

    run(
        [plan("a", "", "/x"), plan("b", "/x", "/y"), plan("c", "/y")],
        FakeRunner({"b": fail}),
        on_event=note,
        jobs=jobs,
    )
    assert [(each.kind, each.plan.run) for each in events] == [
        *(("planned", name) for name in "abc"),
        ("started", "a"),
        ("ended", "a"),
        ("started", "b"),
        ("ended", "b"),
        ("not started", "c"),
    ]
    assert threads == {threading.get_ident()}
    assert [each.at for each in events] == sorted(each.at for each in events)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("kind", ["planned", "started", "ended"])
def test_who_is_told_may_fail_and_nothing_goes_on(jobs: int, kind: str) -> None:
    def refuse(event: Event) -> None:
        if event.kind == kind:
            raise BrokenPipeError

    before = threading.active_count()
    runner = FakeRunner()
    plans = [plan(str(each)) for each in range(20)]
    if jobs == 1 and kind == "started":
        assert exit_status(run(plans, runner, on_event=refuse)) == 141
    else:
        with pytest.raises(BrokenPipeError):
            run(plans, runner, on_event=refuse, jobs=jobs)
    assert len(runner.calls) <= 2
    assert threading.active_count() == before


def test_plans_that_have_no_order_are_refused_before_anything_starts() -> None:
    runner = FakeRunner()
    for plans in ([plan("a", "/x", "/y"), plan("b", "/y", "/x")], [plan("a", "", "/x"), plan("b", "", "/x")]):
        with pytest.raises(ProblemsError):
            run(plans, runner)
    assert runner.calls == []


def test_nothing_to_run_is_no_failure() -> None:
    assert run([], FakeRunner(), jobs=4) == []


class Preparing(FakeRunner):
    """A runner whose preparation is due, and takes a while."""

    def __init__(self, error: BoxError | None = None) -> None:
        super().__init__()
        self.ready: list[bool] = []
        self.preparations: list[str] = []
        self.together = threading.Barrier(3)
        self.error = error

    def run(self, plan: RunPlan, observer: Observer) -> Outcome:
        if not self.ready:
            self.together.wait(PATIENCE)
            raise NotPrepared
        return super().run(plan, observer)

    def prepare(self, plan: SetupPlan, observer: Observer) -> None:
        self.preparations.append("x")
        time.sleep(0.05)
        if self.error:
            raise self.error
        self.ready.append(True)


def test_three_that_start_at_once_prepare_once() -> None:
    runner = Preparing()
    ends = run([plan(name) for name in "abc"], runner, jobs=3)
    assert (runner.preparations, sorted(runner.calls)) == (["x"], ["a", "b", "c"])
    assert exit_status(ends) == 0


def test_a_preparation_that_fails_is_not_tried_again_by_those_who_waited_for_it() -> None:
    error = PreparationError("there is no network")
    runner = Preparing(error)
    ends = run([plan(name) for name in "abc"], runner, jobs=3)
    assert runner.preparations == ["x"]
    assert [each.error for each in ends] == [error] * 3
