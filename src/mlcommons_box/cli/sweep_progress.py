"""What a person sees of trials while they run: which, when each ends, and the last words of one that fails."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress

from mlcommons_box.cli.progress import SideBySide
from mlcommons_box.cli.terminal import Terminal
from mlcommons_box.planning import RunPlan
from mlcommons_box.report.problems import shown
from mlcommons_box.run_store import RunStore
from mlcommons_box.runners.interface import Observer, Runner
from mlcommons_box.scheduling import Event
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

    def add(self, labels: Mapping[str, str]) -> None:
        """Show runs, by their ids, under these names."""
        self._labels |= labels

    def name(self, plan: RunPlan) -> str:
        """What the trial of a plan is called."""
        return self._labels.get(plan.id, plan.run)

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

    def note(self, message: str) -> None:
        """Something worth knowing."""
        with self.progress.screen.above():
            self.terminal.note(message)

    def _named(self, plan: RunPlan) -> RunPlan:
        return replace(plan, run=self.name(plan))


def show_last_words(store: RunStore, run_id: str, terminal: Terminal) -> None:
    """The end of what a task wrote to its standard error."""
    with suppress(OSError), store.open_log(run_id, "stderr") as log:
        size = log.seek(0, os.SEEK_END)
        log.seek(max(0, size - _LAST_BYTES))
        text = log.read().decode("utf-8", "replace")
        for line in [line for line in text.splitlines() if line.strip()][-_LAST_LINES:]:
            terminal.write(f"  | {shown(line)}")
