"""Times commands side by side: each round runs every one of them, so that a busy machine slows all alike."""

from __future__ import annotations

import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launcher.py")
FEWEST = 3
"""Rounds that even a slow command gets: with fewer, a median means nothing."""


@dataclass(frozen=True)
class Figure:
    """Seconds: median, fastest and slowest; and MiB: the most that the largest of its processes held."""

    median: float
    low: float
    high: float
    rounds: int
    peak: float | None = None


@dataclass(frozen=True)
class Row:
    """What one tool was measured at, beside its yardstick; or why it was not."""

    group: str
    tool: str
    what: str
    figure: Figure | None = None
    against: str = ""
    bare: Figure | None = None
    count: int = 1
    """How many equal things the command did: tasks, boxes."""
    absent: str = ""


class CommandFailed(Exception):
    """What a command said last."""


@dataclass(eq=False)
class Case:
    """A command, or a function of ours, that is timed."""

    tool: str
    what: str
    command: Sequence[str] = ()
    directory: Path | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], object] | None = None
    """What has to be done before each round, and is not timed."""
    call: Callable[[], object] | None = None
    """Timed in place of the command, which then only tells the memory."""
    bare: Case | None = None
    count: int = 1

    def once(self, limit: float) -> tuple[float, float | None]:
        """Seconds, and MiB; raises CommandFailed."""
        if self.prepare is not None:
            self.prepare()
        if self.call is None:
            return run(self.command, limit, self.directory, self.environ)
        began = time.perf_counter()
        self.call()
        return time.perf_counter() - began, None

    def memory(self, limit: float) -> float | None:
        """The memory of the command that does what the function does."""
        return run(self.command, limit, self.directory, self.environ)[1] if self.call and self.command else None


def run(
    command: Sequence[str], limit: float, directory: Path | None = None, environ: Mapping[str, str] | None = None
) -> tuple[float, float]:
    """Seconds and MiB of a command; raises CommandFailed when it fails, or is not done within ``limit`` seconds."""
    reading, writing = os.pipe()
    launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(writing), *command]
    with os.fdopen(reading) as answer, tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                launcher,
                cwd=directory,
                env=environ or plain_environ(),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                pass_fds=[writing],
                start_new_session=True,
            )
        finally:
            os.close(writing)
        try:
            process.wait(limit)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise CommandFailed(f"not done after {limit:.0f} s") from None
            raise
        words = answer.read().split()
        if len(words) != 3 or words[2] != "0":
            said.seek(0)
            raise CommandFailed(last_words(said.read().decode(errors="replace")))
    return float(words[0]), int(words[1]) / 1024


def last_words(text: str) -> str:
    """The line that tells why: the first one that speaks of an error, else the last one; without places."""
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line).strip() for line in text.splitlines()]
    lines = [line for line in lines if line]
    error = re.compile(r"(?:\w+: |[\w.]*)(?:error|fatal|exception)\b.*\w", re.IGNORECASE)
    line = next(filter(error.match, lines), (lines or ["it fails and says nothing"])[-1])
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "certificate verify failed: this network has certificates of its own"
    line = re.sub(r"\w+://[^\s'\"]+", "URL", line)
    return re.sub(r"(?:/[\w.+@-]+){2,}/([\w.+-]+)", r".../\1", line)[:300]


def plain_environ() -> dict[str, str]:
    """This environment without what a development machine sets and an installed program does not have.

    Without its compiled modules, a program in Python takes several times as long to start.
    """
    unwanted = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONPATH", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if name not in unwanted}


def interleaved(
    group: str,
    cases: Iterable[Case],
    *,
    rounds: int,
    seconds: float,
    limit: float,
    fewest: int = FEWEST,
    warm: bool = True,
) -> list[Row]:
    """Run every case and every yardstick ``rounds`` times; one that is slow, as often as ``seconds`` allow.

    The first time fills the caches of the system and is not counted, unless ``warm`` is false.
    """
    cases = list(cases)
    everything = [*dict.fromkeys(case.bare for case in cases if case.bare is not None), *cases]
    took: dict[Case, list[float]] = {case: [] for case in everything}
    peaks: dict[Case, list[float]] = {case: [] for case in everything}
    failed: dict[Case, str] = {}

    def once(case: Case, *, counts: bool = True) -> float:
        try:
            elapsed, peak = case.once(limit)
        except CommandFailed as error:
            failed[case] = str(error)
            return limit
        if counts:
            took[case].append(elapsed)
        if peak is not None:
            peaks[case].append(peak)
        return elapsed

    wanted = {}
    for case in everything:
        affordable = int(seconds / max(once(case, counts=not warm), 1e-6))
        wanted[case] = max(min(rounds, affordable), fewest) - (not warm)
    most = max(wanted.values(), default=0)
    for number in range(most):
        for case, times in wanted.items():
            # The rounds of a slow one are spread over those of the others.
            if number * times // most != (number - 1) * times // most and case not in failed:
                once(case)
    for case in everything:
        if case not in failed and (peak := case.memory(limit)) is not None:
            peaks[case].append(peak)

    def figure(case: Case | None) -> Figure | None:
        return None if case is None or case in failed else figure_of(took[case], peaks[case])

    return [
        Row(
            group=group,
            tool=case.tool,
            what=case.what,
            figure=figure(case),
            against=case.bare.what if case.bare else "",
            bare=figure(case.bare),
            count=case.count,
            absent=failed.get(case, ""),
        )
        for case in cases
    ]


def figure_of(times: Sequence[float], peaks: Sequence[float] = ()) -> Figure:
    """The figure of some rounds."""
    return Figure(
        median=round(statistics.median(times), 6),
        low=round(min(times), 6),
        high=round(max(times), 6),
        rounds=len(times),
        peak=round(max(peaks), 1) if peaks else None,
    )
