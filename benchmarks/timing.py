"""Times a command of ours next to its yardstick."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Medians in milliseconds, and the slowest and fastest of each."""

    what: str
    yardstick: str
    ours_ms: float
    ours_spread_ms: tuple[float, float]
    yardstick_ms: float
    yardstick_spread_ms: tuple[float, float]

    @property
    def added_ms(self) -> float:
        """What we cost on top."""
        return self.ours_ms - self.yardstick_ms

    @property
    def ratio(self) -> float:
        """How many times the yardstick."""
        return self.ours_ms / self.yardstick_ms


def measure(
    what: str, ours: Sequence[str], yardstick: tuple[str, Sequence[str]], rounds: int, environ: Mapping[str, str]
) -> Measurement:
    """Time two commands, one after the other, again and again."""
    name, bare = yardstick

    def run(command: Sequence[str]) -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ)

    return measure_calls(what, lambda: run(ours), (name, lambda: run(bare)), rounds)


def measure_calls(
    what: str, ours: Callable[[], object], yardstick: tuple[str, Callable[[], object]], rounds: int
) -> Measurement:
    """The same for two functions."""
    name, bare = yardstick
    times: dict[str, list[float]] = {"ours": [], "bare": []}
    for number in range(rounds + 2):
        for key, call in (("ours", ours), ("bare", bare)):
            began = time.perf_counter()
            call()
            if number >= 2:  # the first rounds fill the caches of the system
                times[key].append((time.perf_counter() - began) * 1000)
    mine, theirs = times["ours"], times["bare"]
    return Measurement(
        what=what,
        yardstick=name,
        ours_ms=statistics.median(mine),
        ours_spread_ms=(min(mine), max(mine)),
        yardstick_ms=statistics.median(theirs),
        yardstick_spread_ms=(min(theirs), max(theirs)),
    )
