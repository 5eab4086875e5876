"""What a person sees of many runs: when each ends, what their tasks write, and how it all came out."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import IO, Protocol

from mlcommons_box.cli.observer import TerminalObserver, show_outcome
from mlcommons_box.cli.progress_lines import Lines
from mlcommons_box.cli.progress_screen import Screen
from mlcommons_box.cli.terminal import Terminal, uses_colour
from mlcommons_box.crew import Ended, EndState, Event
from mlcommons_box.errors import BoxError, Interrupted
from mlcommons_box.planning import RunPlan
from mlcommons_box.process import Stream
from mlcommons_box.report.problems import one_line
from mlcommons_box.report.records import duration_text
from mlcommons_box.runners.interface import Observer, Runner

_LISTED = 8
"""Names, and running tasks, that are shown of many."""
_WIDEST = 24
"""Columns in which the names of runs are kept below each other."""
_COLOURS = (36, 33, 32, 35, 34, 31)
_STATES: tuple[EndState, ...] = ("succeeded", "unchanged", "failed", "cancelled", "lost", "not started")


class Progress(Protocol):
    """Who is told how many runs go on, from before the first of them until after the last."""

    def __enter__(self) -> Progress:
        """The first is about to start."""

    def __exit__(self, *_: object) -> None:
        """None runs any more."""

    def on_event(self, event: Event) -> None:
        """Something happened to one of them."""

    def observer_for(self, plan: RunPlan) -> Observer:
        """Who is told what happens within one of them."""

    def finish(self, ends: Sequence[Ended]) -> None:
        """All have come to an end."""


def counts(ends: Sequence[Ended]) -> dict[EndState, int]:
    """How many runs ended in each way, those ways left out in which none did."""
    found = {state: sum(each.state == state for each in ends) for state in _STATES}
    return {state: count for state, count in found.items() if count}


def summary(ends: Sequence[Ended]) -> str:
    """``3 succeeded, 1 failed, 2 not started``."""
    return ", ".join(f"{count} {state}" for state, count in counts(ends).items())


class OneByOne:
    """Runs that come one after the other: what their tasks write comes through as it is."""

    def __init__(self, terminal: Terminal, runner: Runner, total: int) -> None:
        self.terminal = terminal
        self.runner = runner
        self.total = total
        self.done = 0
        self.began = time.monotonic()
        self._told: set[int] = set()

    def __enter__(self) -> OneByOne:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to do."""

    def observer_for(self, plan: RunPlan) -> Observer:
        return TerminalObserver(self.terminal)

    def on_event(self, event: Event) -> None:
        if event.kind == "started":
            self._started(event.plan)
        elif event.ended is not None and event.kind != "not started":
            self.done += 1
            self._ended(event.ended, f" ({self.done}/{self.total})" if self.total > 1 else "")

    def _started(self, plan: RunPlan) -> None:
        self.terminal.step(f"{plan.run}: running with {runner_text(plan)}")
        for note in self.runner.notes(plan):
            self.terminal.note(note)

    def _ended(self, ended: Ended, count: str) -> None:
        run = ended.plan.run
        if ended.state == "unchanged":
            self.terminal.success(f"{run}: unchanged{f', {ended.reason}' if ended.reason else ''}{count}")
        elif ended.error is None and ended.outcome is not None:
            show_outcome(run, ended.outcome, ended.duration, self.terminal, count)
        elif self.total > 1 and isinstance(ended.error, BoxError) and not isinstance(ended.error, Interrupted):
            if id(ended.error) not in self._told:  # several may have waited for the same
                self._told.add(id(ended.error))
                self.terminal.failure(ended.error)
            self.terminal.error(f"the run {run!r} failed before its task could end{count}")

    def finish(self, ends: Sequence[Ended]) -> None:
        if self.total == 1:
            return
        names = [each.plan.run for each in ends if each.state == "not started"]
        if names:
            more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
            self.terminal.note(f"not started: {', '.join(names[:_LISTED])}{more}")
        self.terminal.step(f"{summary(ends)} in {duration_text(time.monotonic() - self.began)}")


class SideBySide(OneByOne):
    """Runs that go on at the same time: each line of a task begins with the name of its run."""

    def __init__(self, terminal: Terminal, runner: Runner, plans: Sequence[RunPlan], jobs: int) -> None:
        super().__init__(terminal, runner, len(plans))
        is_live = terminal.verbosity == 0 and terminal.stream.isatty() and os.environ.get("TERM") != "dumb"
        self.screen = Screen(terminal.stream, self._lines, is_live=is_live)
        self.running: dict[str, tuple[str, float]] = {}
        self.failed = 0
        self.observers: dict[str, _Prefixed] = {}
        self.width = min(_WIDEST, max(len(one_line(plan.run)) for plan in plans))
        self.notes: set[str] = set()
        terminal.step(f"running {len(plans)} runs with {runner_text(plans[0])}, {jobs} at a time")

    def __enter__(self) -> SideBySide:
        self.screen.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.screen.__exit__()

    def observer_for(self, plan: RunPlan) -> Observer:
        observer = _Prefixed(self, plan.run, len(self.observers))
        self.observers[plan.id] = observer
        return observer

    def on_event(self, event: Event) -> None:
        if event.kind == "started":
            self.running[event.plan.id] = (event.plan.run, time.monotonic())
        elif event.ended is not None:
            observer = self.observers.pop(event.plan.id, None)
            if observer is not None:
                observer.end()
            self.running.pop(event.plan.id, None)
            self.failed += event.ended.is_failure
        with self.screen.above():
            super().on_event(event)

    def _started(self, plan: RunPlan) -> None:
        for note in self.runner.notes(plan):
            if note not in self.notes:
                self.notes.add(note)
                self.terminal.note(note)

    def _lines(self, sign: str) -> list[str]:
        """What is at the bottom of the terminal."""
        now = time.monotonic()
        running = list(self.running.values())
        lines = [f" {sign} {one_line(name)}  {now - began:.0f} s" for name, began in running[:_LISTED]]
        if len(running) > _LISTED:
            lines.append(f"   and {len(running) - _LISTED} more")
        failed = f", {self.failed} failed" if self.failed else ""
        return [*lines, f" {self.done}/{self.total} ended{failed}, {now - self.began:.0f} s"]


class _Prefixed(TerminalObserver):
    """One of the runs that go on at the same time."""

    def __init__(self, progress: SideBySide, run: str, number: int) -> None:
        super().__init__(progress.terminal)
        self.progress = progress
        self.run = run
        self.name = one_line(run).ljust(progress.width)
        self.colour = _COLOURS[number % len(_COLOURS)]
        self.lines: dict[Stream, Lines] = {"stdout": Lines(), "stderr": Lines()}

    def preparing(self, what: str) -> None:
        self.what, self.began = f"{self.run}: {what}", time.monotonic()
        with self.progress.screen.above():
            self.terminal.step(self.what)

    def preparation_output(self, chunk: bytes) -> None:
        if self.terminal.verbosity > 0:
            self.output("stderr", chunk)

    def prepared(self) -> None:
        with self.progress.screen.above():
            super().prepared()

    def started(self, native_id: str) -> None:
        with self.progress.screen.above():
            self.terminal.detail(f"{self.run}: started: {native_id}")

    def output(self, stream: Stream, chunk: bytes) -> None:
        self._write(stream, self.lines[stream].feed(chunk))

    def end(self) -> None:
        """Nothing more will be written."""
        for stream, lines in self.lines.items():
            self._write(stream, lines.end())

    def _write(self, stream: Stream, lines: Sequence[bytes]) -> None:
        target: IO[str] = sys.stdout if stream == "stdout" else sys.stderr
        name = f"{self.name} | "
        if uses_colour(target):
            name = f"\x1b[{self.colour}m{name}\x1b[0m"
        if lines:
            prefix = name.encode("utf-8", "replace")
            self.progress.screen.write(target, b"".join(prefix + line + b"\n" for line in lines))


def runner_text(plan: RunPlan) -> str:
    """``the local runner (local.yaml)``."""
    file = f" ({plan.platform.file.name})" if plan.platform.file else ""
    return f"the {plan.platform.runner} runner{file}"
