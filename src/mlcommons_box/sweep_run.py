"""One run of a sweep, for whoever looks on: which trials are due, which go on, and what came out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Literal

from mlcommons_box import execution
from mlcommons_box.cache import cache_directory
from mlcommons_box.errors import (
    EX_INTERRUPTED,
    EX_TEMPORARY,
    BoxError,
    ConfigurationError,
    MissingInputError,
    UsageError,
)
from mlcommons_box.machine import processors
from mlcommons_box.onlooker import Onlooker, TrialWatcher
from mlcommons_box.presence import missing_inputs
from mlcommons_box.reattaching import wait_for_all
from mlcommons_box.record import RunRecord
from mlcommons_box.report.sweeps import TrialResult, result_of
from mlcommons_box.run_store import RunStore
from mlcommons_box.runners.devices import DevicePool, devices_here
from mlcommons_box.runners.interface import Detachable, Runner
from mlcommons_box.scheduling import exit_status
from mlcommons_box.suggestions import did_you_mean, nearest
from mlcommons_box.sweep import value_sets
from mlcommons_box.sweeping import (
    Finished,
    Leases,
    Silent,
    alone,
    devices_per_trial,
    goes_to_a_queue,
    numbers_of,
    past_trials,
    run_here,
    start_all,
)
from mlcommons_box.trials import Trial, TrialPlanner, numbered

if TYPE_CHECKING:
    from mlcommons_box.searching import Search


class SweepRun:
    """One run of one sweep; ``jobs`` trials at a time, ``auto`` for as many as there are GPUs, or else processors.

    ``again`` runs trials too that have succeeded before.  With ``share_gpus`` several trials may use one GPU.
    Raises :class:`ConfigurationError` when there are too few GPUs.
    """

    def __init__(
        self,
        planner: TrialPlanner,
        runner: Runner,
        onlooker: Onlooker,
        *,
        jobs: int | Literal["auto"] | None = None,
        again: bool = False,
        share_gpus: bool = False,
    ) -> None:
        self.planner = planner
        self.sweep = planner.sweep
        self.runner = runner
        self.onlooker = onlooker
        self.again = again
        self.store = RunStore(planner.template.workspace)
        self.is_queue = goes_to_a_queue(planner.platform, runner, planner.template)
        self.pool = DevicePool(devices_here(os.environ), cache_directory(os.environ))
        available = 0 if share_gpus else len(self.pool.devices)
        self.jobs = self._jobs(jobs, available)
        self.devices = 0 if share_gpus else devices_per_trial(planner.platform, available, self.jobs)
        if self.is_queue and jobs is not None and self.sweep.method != "search":
            onlooker.note("the queue decides how many trials run at a time, and not --jobs")
        self.statuses: list[int] = []

    def _jobs(self, given: int | Literal["auto"] | None, available: int) -> int:
        if given != "auto":
            return given or 1
        gpus = self.planner.platform.resources.gpus
        each = devices_per_trial(self.planner.platform, available, available if gpus is None else 1)
        return max(1, available // each) if available and each else processors()

    def planned(self) -> list[Trial]:
        """The trials of a grid, a list or random draws, whether they have been run or not."""
        known = numbers_of(past_trials(self.store, self.sweep.name))
        sets = value_sets(self.sweep, self.planner.space)
        return [self.planner.trial(number, values) for number, values in numbered(sets, known)]

    def results(self) -> list[TrialResult]:
        """What has come out of the trials of this sweep."""
        past = past_trials(self.store, self.sweep.name)
        if self.sweep.method == "search":
            return [result_of(number, each.values, each) for number, each in past.items()]
        return [result_of(each.number, each.values, past.get(each.number)) for each in self.planned()]

    def run(self) -> int:
        """Run what is due, and return the exit status."""
        self._check()
        with alone(self.store, self.sweep.name):
            going_on = self._going_on()
            if going_on and not self._wait_for_those_that_went_on(going_on):
                return EX_INTERRUPTED
            if self.sweep.method == "search":
                self._search()
            else:
                self._run(self._due([each for each in self.planned() if each.number not in going_on]))
        return next((status for status in self.statuses if status), 0)

    def detach(self) -> list[str]:
        """Start all that is due, and leave it; the ids of the runs."""
        if self.sweep.method == "search":
            raise UsageError("a search needs the result of one trial for the next", hint="leave out --detach")
        if not isinstance(self.runner, Detachable):
            raise UsageError(
                f"a trial with the {self.planner.platform.runner} runner ends with the command that started it",
                hint="leave out --detach, or use a platform of SSH or Slurm",
            )
        with alone(self.store, self.sweep.name):
            going_on = self._going_on()
            due = self._due([each for each in self.planned() if each.number not in going_on])
            if due:
                start_all(due, self.runner, self.onlooker.observer())
        return [each.plan.id for each in due]

    def _check(self) -> None:
        """Raise when something is missing that every trial needs: better now than for each of them."""
        execution.check_platform(self.planner.template, self.runner)
        varied = set() if self.planner.file else {name for name, _ in self.planner.space}
        missing = missing_inputs(tuple(each for each in self.planner.template.inputs if each.name not in varied))
        if missing:
            raise MissingInputError(missing)

    # ---- What is due -----------------------------------------------------------------------------

    def _going_on(self) -> dict[int, RunRecord]:
        """The trials that go on without the command that started them."""
        running = {
            number: each.record
            for number, each in past_trials(self.store, self.sweep.name).items()
            if each.record.status == "running"
        }
        for number, record in running.items():
            if not record.detached:
                where = f"process {record.supervisor.pid} of {record.supervisor.host}"
                raise UsageError(f"trial {number} is being run by {where}", hint="wait for it, or end it")
        return running

    def _wait_for_those_that_went_on(self, records: Mapping[int, RunRecord]) -> bool:
        self.onlooker.step(f"waiting for {_trials(len(records))} that went on without us")
        return self._wait([record.id for record in records.values()])

    def _due(self, trials: Sequence[Trial]) -> list[Trial]:
        """Those that have to run, with what keeps earlier runs from counting."""
        past = past_trials(self.store, self.sweep.name)
        if self.again:
            return list(trials)
        finished = Finished()
        due, reasons = [], Counter[str]()
        for trial in trials:
            reason = finished.obstacle(past[trial.number], trial) if trial.number in past else None
            if trial.number not in past or reason is not None:
                due.append(trial)
            if reason is not None and past[trial.number].record.status == "succeeded":
                reasons[reason] += 1
        done = len(trials) - len(due)
        if done:
            self.onlooker.success(f"{done} of {len(trials)} trials have succeeded before; --again runs them again")
        for reason, count in reasons.items():
            runs = "runs" if count == 1 else "run"
            self.onlooker.note(f"{_trials(count)} that had succeeded {runs} again: {reason}")
        return due

    # ---- Running ---------------------------------------------------------------------------------

    def _run(self, trials: Sequence[Trial], watcher: TrialWatcher | None = None) -> bool:
        """Run trials; False when an interrupt ended it."""
        if not trials:
            return True
        if self.is_queue:
            runner = self.planner.platform.runner
            self.onlooker.step(f"{self.sweep.name}: {_trials(len(trials))} with the {runner} runner")
            start_all(trials, self.runner, Silent(self.onlooker.observer()))
            return self._wait([trial.plan.id for trial in trials])
        if watcher is None:
            with self.onlooker.watching(len(trials), self.jobs) as watcher:
                return self._run_here(trials, watcher)
        return self._run_here(trials, watcher)

    def _run_here(self, trials: Sequence[Trial], watcher: TrialWatcher) -> bool:
        watcher.add({trial.plan.id: trial.number for trial in trials})
        ends = run_here(
            trials,
            self.runner,
            jobs=min(self.jobs, len(trials)),
            leases=Leases(self.pool, self.devices, partial(watcher.waits, devices=self.devices)),
            observer_for=watcher.observer_for,
            on_event=watcher.on_event,
        )
        for each in ends:
            if each.error is not None and not isinstance(each.error, BoxError):
                raise each.error
        if len(ends) == 1 and isinstance(ends[0].error, BoxError) and not ends[0].interrupted:
            self.onlooker.failure(ends[0].error)
        self.statuses.append(exit_status(ends))
        return not any(each.interrupted for each in ends)

    def _wait(self, run_ids: Sequence[str]) -> bool:
        """Wait for trials that go on without us."""

        def ended(record: RunRecord) -> None:
            self.onlooker.ended(record.group.get("trial"), record)
            self.statuses.append(EX_TEMPORARY if record.exit_status is None else record.exit_status)

        wanted = set(run_ids)
        records = [record for record in self.store.read_all()[0] if record.id in wanted]
        if wait_for_all(self.store, records, Silent(self.onlooker.observer()), ended):
            return True
        self.onlooker.note(
            f"the trials go on without us: 'mlbox sweep {self.sweep.name}' waits for them, "
            "and 'mlbox cancel' ends one"
        )
        self.statuses.insert(0, EX_INTERRUPTED)
        return False

    # ---- Searching -------------------------------------------------------------------------------

    def _search(self) -> None:
        """Propose, run and learn, until there are as many trials as the file says."""
        from mlcommons_box.searching import Search

        sweep = self.sweep
        search = Search(self.planner.space, sweep.direction or "minimize", sweep.seed or 0)
        past = {} if self.again else past_trials(self.store, sweep.name)
        finished = Finished()
        known = 0
        for number, each in past.items():
            values = search.fitted(each.values)
            if values is None or finished.obstacle(each, self.planner.trial(number, values)) is not None:
                continue
            search.tell(values, self._metric(number, each.record))
            known += 1
        if known:
            self.onlooker.success(f"{known} of {sweep.trials} trials have succeeded before; --again forgets them")
        due = max(0, (sweep.trials or 1) - known)
        with ExitStack() as stack:
            watcher = None
            if due and not self.is_queue:
                watcher = stack.enter_context(self.onlooker.watching(due, self.jobs))
            self._go_on_searching(search, max(past, default=0), due, watcher)

    def _go_on_searching(self, search: Search, number: int, due: int, watcher: TrialWatcher | None) -> None:
        while due > 0:
            proposed = search.ask(min(self.jobs, due))
            if not proposed:
                self.onlooker.note("all values of the space have been tried")
                return
            trials = [self.planner.trial(number + each, values) for each, values in enumerate(proposed, 1)]
            number, due = number + len(trials), due - len(trials)
            if not self._run(trials, watcher):
                return
            past = past_trials(self.store, self.sweep.name)
            for trial in trials:
                search.tell(trial.values, self._metric(trial.number, past[trial.number].record))

    def _metric(self, number: int, record: RunRecord) -> float | None:
        """What a search goes by.  Raises :class:`ConfigurationError` when a trial that succeeded has none."""
        if record.status != "succeeded":
            return None
        name = self.sweep.metric or ""
        value = record.metrics.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
        known = ", ".join(record.metrics) or "none (a task writes them to metrics.json in an output directory)"
        raise ConfigurationError(
            f"trial {number} has no metric {name!r}; its metrics: {known}",
            hint=did_you_mean(nearest(name, list(record.metrics))) or "mend 'metric' in the sweep file",
        )


def _trials(count: int) -> str:
    return "a trial" if count == 1 else f"{count} trials"
