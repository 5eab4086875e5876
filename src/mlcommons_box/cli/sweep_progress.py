"""What a person sees of trials while they run: which, when each ends, and the last words of one that fails."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress

from mlcommons_box.cli.observer import TerminalObserver, show_end
from mlcommons_box.cli.progress import SideBySide
from mlcommons_box.cli.terminal import Terminal
from mlcommons_box.crew import Event
from mlcommons_box.errors import BoxError
from mlcommons_box.planning import RunPlan
from mlcommons_box.record import RunRecord
from mlcommons_box.report.problems import shown
from mlcommons_box.run_store import RunStore
from mlcommons_box.runners.interface import Observer, Runner
from mlcommons_box.sweeping import Silent
from mlcommons_box.value import replace

_LAST_BYTES = 4096
_LAST_LINES = 5


def label(number: object) -> str:
    """What a trial is called."""
    return f"trial {number}"


class TrialProgress:
    """Shows trials as other runs that go on side by side are shown, each by its number."""

    def __init__(
        self, terminal: Terminal, runner: Runner, plans: Sequence[RunPlan], jobs: int, *, shows_output: bool
    ) -> None:
        self.terminal = terminal
        self.shows_output = shows_output
        named = [replace(plan, run=label(len(plans))) for plan in plans]
        self.progress = SideBySide(terminal, runner, named, min(jobs, len(plans)))
        self._labels: dict[str, str] = {}

    def __enter__(self) -> TrialProgress:
        self.progress.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.__exit__()

    def add(self, numbers: Mapping[str, int]) -> None:
        """Show runs, by their ids, under these numbers."""
        self._labels |= {run_id: label(number) for run_id, number in numbers.items()}

    def observer_for(self, plan: RunPlan) -> Observer:
        """Who is told what happens in one trial."""
        observer = self.progress.observer_for(self._named(plan))
        return observer if self.shows_output else Silent(observer)

    def on_event(self, event: Event) -> None:
        """Something happened to one trial."""
        ended = event.ended
        named = ended and replace(ended, plan=self._named(ended.plan))
        self.progress.on_event(replace(event, plan=self._named(event.plan), ended=named))
        if ended is not None and ended.state == "failed" and not self.shows_output:
            with self.progress.screen.above():
                show_last_words(RunStore(ended.plan.workspace), ended.plan.id, self.terminal)

    def waits(self, plan: RunPlan, devices: int) -> None:
        """A trial waits for GPUs."""
        with self.progress.screen.above():
            self.terminal.note(f"{self._name(plan)} waits for {'a GPU' if devices == 1 else f'{devices} GPUs'}")

    def _named(self, plan: RunPlan) -> RunPlan:
        return replace(plan, run=self._name(plan))

    def _name(self, plan: RunPlan) -> str:
        return self._labels.get(plan.id, plan.run)


class SweepOnTerminal:
    """Shows on a terminal what a sweep does."""

    def __init__(self, terminal: Terminal, runner: Runner, template: RunPlan, *, shows_output: bool) -> None:
        self.terminal = terminal
        self.runner = runner
        self.template = template
        self.shows_output = shows_output

    def step(self, message: str) -> None:
        """Something begins."""
        self.terminal.step(message)

    def success(self, message: str) -> None:
        """Something has come to a good end."""
        self.terminal.success(message)

    def note(self, message: str) -> None:
        """Something worth knowing."""
        self.terminal.note(message)

    def failure(self, error: BoxError) -> None:
        """What kept the only trial from being started."""
        self.terminal.failure(error)

    def ended(self, number: object, record: RunRecord) -> None:
        """A trial that went on without us has ended."""
        show_end(replace(record, run=label(number)), self.terminal)
        if record.status == "failed":
            show_last_words(RunStore(self.template.workspace), record.id, self.terminal)

    def observer(self) -> Observer:
        """Who is told how trials are started that go on without us."""
        return TerminalObserver(self.terminal)

    def watching(self, total: int, at_once: int) -> TrialProgress:
        """What shows trials that run here."""
        plans = [self.template] * total
        return TrialProgress(self.terminal, self.runner, plans, at_once, shows_output=self.shows_output)


def show_last_words(store: RunStore, run_id: str, terminal: Terminal) -> None:
    """The end of what a task wrote to its standard error."""
    with suppress(OSError), store.open_log(run_id, "stderr") as log:
        size = log.seek(0, os.SEEK_END)
        log.seek(max(0, size - _LAST_BYTES))
        text = log.read().decode("utf-8", "replace")
        for line in [line for line in text.splitlines() if line.strip()][-_LAST_LINES:]:
            terminal.write(f"  | {shown(line)}")
