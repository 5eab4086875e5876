"""Runs many plans: each when what it needs is there, several at a time, and to a known end, whatever happens."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence

from mlcommons_box import execution
from mlcommons_box.crew import Crew, Ended, Event, EventKind, Execute, Work
from mlcommons_box.pipeline import Pipeline
from mlcommons_box.planning import RunPlan
from mlcommons_box.runners.interface import Observer, Outcome, Runner
from mlcommons_box.shared_preparation import sharing
from mlcommons_box.value import replace


def run_all(
    plans: Sequence[RunPlan],
    runner: Runner,
    *,
    jobs: int = 1,
    keep_going: bool = False,
    observer_for: Callable[[RunPlan], Observer],
    on_event: Callable[[Event], None] = lambda event: None,
    is_unchanged: Callable[[RunPlan], str | None] = lambda plan: None,
    adapt: Callable[[RunPlan], RunPlan] = lambda plan: plan,
    after: Callable[[Ended], None] = lambda ended: None,
    execute: Execute = execution.execute,
) -> list[Ended]:
    """Run plans, ``jobs`` of them at a time, and return how each ended, in the order in which they did.

    A run starts when all whose outputs it reads have ended well.  After a failure nothing new is started; with
    ``keep_going`` only what depends on it is not.  What runs already goes on to its end.  A signal that asks us to
    stop, and a reader of our output who has left, end every run in its own way, and nothing is started any more.

    With one job everything happens in this thread.  With more, a run has a thread, in which ``is_unchanged``,
    ``adapt``, ``observer_for``, ``execute`` and ``after`` are called for it, one after the other; ``on_event`` is
    called in this thread.

    - ``is_unchanged`` may say why a run need not happen, once all that it needs is there.
    - ``adapt`` changes a plan right before it is executed, such as by the device that is free for it.
    - ``after`` is called for every run that began or is unchanged, whatever happened, and before anything else
      starts in its place.

    What they raise counts as a failure of the run.  Raises :class:`~mlcommons_box.errors.ProblemsError` before
    anything starts when the plans cannot be put in order, and what ``on_event`` raises once nothing runs any more.
    """
    pipeline = Pipeline(plans)
    alone = jobs <= 1 or len(plans) <= 1
    work = Work(runner if alone else sharing(runner), is_unchanged, adapt, observer_for, execute, after)
    if alone:
        return _Schedule(pipeline, work, None, keep_going=keep_going, on_event=on_event).run()
    crew = Crew(min(jobs, len(plans)), work)
    with crew.relay.in_place_of_us(), crew:
        return _Schedule(pipeline, work, crew, keep_going=keep_going, on_event=on_event).run()


def exit_status(ends: Sequence[Ended]) -> int:
    """The exit status for many runs: that of the first failure; that we were asked to stop outweighs it."""
    statuses = [each.outcome.exit_status for each in ends if each.interrupted and each.outcome]
    statuses += [each.outcome.exit_status for each in ends if each.is_failure and each.outcome]
    return statuses[0] if statuses else 0


class _Schedule:
    """Decides what starts when, and what does not start any more."""

    def __init__(
        self,
        pipeline: Pipeline,
        work: Work,
        crew: Crew | None,
        *,
        keep_going: bool,
        on_event: Callable[[Event], None],
    ) -> None:
        self.pipeline = pipeline
        self.frontier = pipeline.frontier()
        self.work = work
        self.crew = crew
        self.keep_going = keep_going
        self.on_event = on_event
        self.running: set[int] = set()
        self.waiting = dict.fromkeys(pipeline.order)
        self.place = {number: place for place, number in enumerate(pipeline.order)}
        self.ends: list[Ended] = []
        self.left_out: list[Ended] = []
        self.first_failure: Ended | None = None
        self.stopped_by: int | None = None

    def run(self) -> list[Ended]:
        try:
            for number in self.pipeline.order:
                self._tell("planned", self.pipeline.plans[number])
            while self._start_what_can() or self.running:
                if self.crew is not None:
                    self._hear(self.crew)
            self._leave_out_the_rest()
        except BaseException as error:
            self._stop(signal.SIGPIPE if isinstance(error, BrokenPipeError) else signal.SIGTERM)
            self.on_event = lambda event: None
            while self.crew is not None and self.running:
                self._hear(self.crew)
            raise
        return self.ends + self.left_out

    def _tell(self, kind: EventKind, plan: RunPlan, ended: Ended | None = None) -> None:
        self.on_event(Event(kind=kind, plan=plan, at=time.time(), ended=ended))

    def _start_what_can(self) -> bool:
        """Start runs for which there is room; whether any was started."""
        started = False
        while len(self.running) < (self.crew.size if self.crew else 1) and self._goes_on():
            number = self.frontier.take()
            if number is None:
                break
            started = True
            del self.waiting[number]
            self.running.add(number)
            plan = self.pipeline.plans[number]
            if self.crew is not None:
                self.crew.begin(number, plan)
            else:
                self._ended(number, self.work.do(plan, self.on_event))
        return started

    def _goes_on(self) -> bool:
        if self.crew is not None and self.crew.relay.told and self.stopped_by is None:
            self.stopped_by = self.crew.relay.told[0]
        return self.stopped_by is None and (self.keep_going or self.first_failure is None)

    def _hear(self, crew: Crew) -> None:
        """Wait for the next that happens; a signal may come meanwhile, which every run hears itself."""
        news = crew.hear()
        if isinstance(news, Event):
            self.on_event(news)
        else:
            self._ended(*news)

    def _ended(self, number: int, ended: Ended) -> None:
        self.running.discard(number)
        if ended.state == "cancelled" and self.crew is not None and self.crew.relay.told:
            ended = replace(ended, interrupted=True)
        self.ends.append(ended)
        if ended.interrupted and ended.outcome:
            self._stop(ended.outcome.exit_status - 128)
        if ended.state == "unchanged":
            self._tell("unchanged", ended.plan, ended)
        else:
            self._tell("ended", ended.plan, ended)
        if not ended.is_failure:
            self.frontier.ended(number)
            return
        self.first_failure = self.first_failure or ended
        reason = f"it reads what {ended.plan.run!r} should have written"
        for each in sorted(self.frontier.failed(number), key=self.place.__getitem__):
            self._leave_out(each, reason)

    def _stop(self, number: int) -> None:
        """Start nothing any more, and end what runs."""
        if self.stopped_by is None:
            self.stopped_by = number
            if self.crew is not None and not self.crew.relay.told:
                self.crew.relay.tell(number)

    def _leave_out_the_rest(self) -> None:
        reason = "interrupted" if self.stopped_by is not None else None
        if reason is None and self.first_failure is not None:
            reason = f"{self.first_failure.plan.run!r} failed before it could start"
        for number in list(self.waiting):
            self._leave_out(number, reason)

    def _leave_out(self, number: int, reason: str | None) -> None:
        if number not in self.waiting:
            return
        del self.waiting[number]
        plan = self.pipeline.plans[number]
        outcome = None
        if self.stopped_by is not None:
            status = 128 + self.stopped_by
            outcome = Outcome(status="cancelled", exit_status=status, reason="interrupted")
        ended = Ended(plan=plan, state="not started", outcome=outcome, reason=reason, interrupted=bool(outcome))
        self.left_out.append(ended)
        self._tell("not started", plan, ended)
