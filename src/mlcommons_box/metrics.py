"""What a task says of its result: ``metrics.json``, an object of numbers, or ``metrics.jsonl``, one a line.

Either lies at the top of an output directory, or is an output file.  Nested objects are flattened, with dots
between the names; what is no finite number, such as one beyond all floats, is left out.  In ``metrics.jsonl``
every line is a step: a training may add one after each epoch, and the last value of a name is the result.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlcommons_box.journal import entry_of, open_regular
from mlcommons_box.planning import BoundParameter

RESULT_FILE = "metrics.json"
STEPS_FILE = "metrics.jsonl"
_LARGEST = 16 << 20
"""Bytes; a larger file is none of ours."""
_MOST_NAMES = 1000
_LONGEST_NAME = 500
"""Characters; what has a longer one is left out, as each of a million names may have a long one before it."""
Number = int | float


def read_metrics(outputs: Sequence[BoundParameter], since: int = 0) -> dict[str, Number]:
    """The last value of every metric in the outputs of a run, by name.

    A file that was not written ``since`` then, in nanoseconds of its file system's clock, is that of another run.
    """
    found: dict[str, Number] = {}
    for step in read_steps(outputs, since):
        found |= step
    for file in _files(outputs, RESULT_FILE):
        with suppress(OSError, ValueError, RecursionError):
            found |= dict(_numbers(json.loads(_content(file, since))))
    return dict(list(found.items())[:_MOST_NAMES])


def read_steps(outputs: Sequence[BoundParameter], since: int = 0) -> list[dict[str, Number]]:
    """The metrics of every step, in the order of the files."""
    steps = []
    for file in _files(outputs, STEPS_FILE):
        with suppress(OSError, RecursionError):
            steps += [dict(_numbers(entry_of(line))) for line in _content(file, since).splitlines()]
    return [step for step in steps if step]


def _files(outputs: Sequence[BoundParameter], name: str) -> Iterator[Path]:
    for output in outputs:
        if output.elsewhere:
            continue
        if output.type == "directory":
            yield output.path / name
        elif output.path.name == name:
            yield output.path


def _content(file: Path, since: int) -> bytes:
    with os.fdopen(open_regular(file, os.O_RDONLY), "rb") as stream:
        state = os.fstat(stream.fileno())
        if state.st_size > _LARGEST:
            raise OSError(f"{file} is too large")
        return stream.read() if state.st_mtime_ns >= since else b""


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, Number]]:
    if isinstance(value, dict):
        for key, each in value.items():
            inner = f"{name}.{key}" if name else str(key)
            if len(inner) <= _LONGEST_NAME:
                yield from _numbers(each, inner)
    elif isinstance(value, int | float) and not isinstance(value, bool) and name and _is_finite(value):
        yield name, value


def _is_finite(value: Number) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False
