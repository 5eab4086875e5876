"""Observers for programs: nothing is shown, and what a task writes goes to a function."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from mlcommons_box.crew import Event
from mlcommons_box.errors import BoxError
from mlcommons_box.planning import RunPlan
from mlcommons_box.process import Stream
from mlcommons_box.record import RunRecord
from mlcommons_box.runners.interface import Observer, Unheard

Output = Callable[[Stream, str], object]
"""Is called with the name of a stream, ``stdout`` or ``stderr``, and with what a task has written to it."""


class QuietObserver(Unheard):
    """Hands what one task writes, as text, to a function, if there is one."""

    def __init__(self, on_output: Output | None = None) -> None:
        self._on_output = on_output
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders: dict[Stream, codecs.IncrementalDecoder] = {
            "stdout": decoder("replace"),
            "stderr": decoder("replace"),
        }

    def output(self, stream: Stream, chunk: bytes) -> None:
        """A character may come in two pieces."""
        text = self._decoders[stream].decode(chunk)
        if text and self._on_output is not None:
            self._on_output(stream, text)


class QuietSweep:
    """Is told what a sweep and its trials do, and says nothing of it: the results do."""

    def step(self, message: str) -> None:
        """Nobody looks on."""

    def success(self, message: str) -> None:
        """Nobody looks on."""

    def note(self, message: str) -> None:
        """Nobody looks on."""

    def failure(self, error: BoxError) -> None:
        """The record of the trial has it."""

    def ended(self, number: object, record: RunRecord) -> None:
        """The record has it."""

    def observer(self) -> Observer:
        """Nobody looks on."""
        return QuietObserver()

    @contextmanager
    def watching(self, total: int, at_once: int) -> Iterator[QuietSweep]:
        """Trials that run here are watched by this one, too."""
        yield self

    def add(self, numbers: Mapping[str, int]) -> None:
        """Nobody looks on."""

    def observer_for(self, plan: RunPlan) -> Observer:
        """What trials write is in their logs."""
        return QuietObserver()

    def on_event(self, event: Event) -> None:
        """Nobody looks on."""

    def waits(self, plan: RunPlan, devices: int) -> None:
        """Nobody looks on."""
