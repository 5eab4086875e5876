"""What lies beside a run's record: the steps of its metrics, and the end of what its task wrote.

A workspace may come from a stranger: nothing that is read here is trusted, and nothing large is read whole.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from typing import Any

from mlcommons_box.journal import entry_of, open_regular
from mlcommons_box.metrics import STEPS_FILE, Number
from mlcommons_box.process import Stream
from mlcommons_box.run_store import RunStore
from mlcommons_box.value import Value

_LARGEST = 64 << 20
"""Bytes of a file of steps; what is beyond is left out."""
_MOST_NAMES = 200
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")


class Tail(Value):
    """The end of a log.  ``size`` is that of the whole log in bytes, and ``is_cut`` says that more came before."""

    text: str
    size: int
    is_cut: bool


def steps_of(store: RunStore, run_id: str) -> list[dict[str, Number]]:
    """The metrics of every step of a run, in the order in which the task gave them; empty when there are none."""
    try:
        with os.fdopen(open_regular(store.path(run_id, STEPS_FILE), os.O_RDONLY), "rb") as file:
            content = file.read(_LARGEST)
    except OSError:
        return []
    steps = (dict(numbers_in(entry_of(line))) for line in content.splitlines())
    return [step for step in steps if step]


def numbers_in(value: Any) -> Iterator[tuple[str, Number]]:
    """The names in an object whose values are finite numbers."""
    if isinstance(value, dict):
        for name, each in list(value.items())[:_MOST_NAMES]:
            if is_number(each):
                yield str(name), each


def is_number(value: Any) -> bool:
    """Whether it is a number that every program can read: finite, and no truth value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that is larger than any float
        return False


def tail_of(store: RunStore, run_id: str, stream: Stream, most: int) -> Tail | None:
    """The last ``most`` bytes of a log, from the beginning of a line; None when the task wrote nothing.

    What would steer a terminal is left out, and of a line that was written over (as progress bars are) the last
    state is kept.
    """
    try:
        with store.open_log(run_id, stream) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - most))
            data = file.read(most)
    except OSError:
        return None
    if not data:
        return None
    is_cut = size > len(data)
    if is_cut and b"\n" in data[:-1]:
        data = data[data.index(b"\n") + 1 :]
    text = _ESCAPE.sub("", data.decode("utf-8", "replace")).replace("\r\n", "\n")
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return Tail(text="\n".join(lines), size=size, is_cut=is_cut)
