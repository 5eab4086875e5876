"""What people and programs see of many runs."""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import Path

import pytest

from mlcommons_box.cli.observer import show_outcome
from mlcommons_box.cli.progress import OneByOne, SideBySide, counts, summary
from mlcommons_box.cli.progress_json import JsonLines
from mlcommons_box.cli.progress_lines import Lines
from mlcommons_box.cli.progress_screen import Screen
from mlcommons_box.cli.terminal import Terminal
from mlcommons_box.crew import Ended, Event
from mlcommons_box.errors import CannotCreateError
from mlcommons_box.runners.interface import Outcome
from mlcommons_box.value import replace
from tests.unit.test_pipeline import plan
from tests.unit.test_scheduling import FakeRunner

GOOD = Outcome(status="succeeded", exit_status=0)
A, B, C = (plan(name) for name in ("a", "long-name", "c"))
ENDS = [
    Ended(plan=A, state="succeeded", outcome=GOOD, duration=1.25),
    Ended(plan=B, state="failed", outcome=Outcome(status="failed", exit_status=3), duration=0.5),
    Ended(plan=C, state="not started", reason="it reads what 'long-name' should have written"),
]


@pytest.mark.parametrize(
    ("chunks", "lines", "rest"),
    [
        ([b"one\ntw", b"o\n"], [b"one", b"two"], []),
        ([b"no end"], [], [b"no end"]),
        ([b"\n\n"], [b"", b""], []),
        ([b"dos\r\nline\r\n"], [b"dos", b"line"], []),
        ([b" 10%\r 20%", b"\r 30%\n"], [b" 30%"], []),
        ([b" 10%\r", b" 20%\r"], [], [b" 20%"]),
        ([b"\xff\xfe\n"], [b"\xff\xfe"], []),
        ([], [], []),
    ],
)
def test_chunks_become_whole_lines(chunks: list[bytes], lines: list[bytes], rest: list[bytes]) -> None:
    cut = Lines()
    assert [line for chunk in chunks for line in cut.feed(chunk)] == lines
    assert cut.end() == rest
    assert cut.end() == []


def test_a_progress_bar_and_a_line_without_end_take_no_memory() -> None:
    cut = Lines()
    for each in range(10_000):
        assert cut.feed(b"step %d\r" % each) == []
    assert cut.end() == [b"step 9999"]
    assert sum(map(len, cut.feed(b"x" * 200_000))) + len(cut.end()[0]) == 200_000


def test_the_summary_counts_what_there_was() -> None:
    assert summary(ENDS) == "1 succeeded, 1 failed, 1 not started"
    assert counts([]) == {}


def ended(end: Ended) -> Event:
    kind = "not started" if end.state == "not started" else "unchanged" if end.state == "unchanged" else "ended"
    return Event(kind=kind, plan=end.plan, at=0.0, ended=end)  # type: ignore[arg-type]


def test_one_by_one_says_how_each_ended_and_how_many_have(capsys: pytest.CaptureFixture[str]) -> None:
    progress = OneByOne(Terminal(), FakeRunner(), 3)  # type: ignore[arg-type]
    progress.on_event(Event(kind="started", plan=A, at=0.0))
    for each in ENDS:
        progress.on_event(ended(each))
    progress.finish(ENDS)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.sub(r"in \d+\.\d s$", "in T", captured.err.rstrip()).splitlines() == [
        "==> a: running with the local runner",
        "==> a: succeeded in 1.2 s (1/3)",
        "error: the run 'long-name' failed after 0.5 s with exit status 3 (2/3)",
        "note: not started: c",
        "==> 1 succeeded, 1 failed, 1 not started in T",
    ]


def test_a_long_run_is_told_as_tables_tell_it(capsys: pytest.CaptureFixture[str]) -> None:
    show_outcome("a", Outcome(status="succeeded", exit_status=0), 7200.0, Terminal())
    assert capsys.readouterr().err == "==> a: succeeded in 2h 00m\n"


def test_an_error_that_several_runs_share_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    error = CannotCreateError("no space left", hint="free some")
    failed = Outcome(status="failed", exit_status=73)
    progress = OneByOne(Terminal(), FakeRunner(), 2)  # type: ignore[arg-type]
    for each in (A, B):
        progress.on_event(ended(Ended(plan=each, state="failed", outcome=failed, error=error)))
    err = capsys.readouterr().err
    assert err.count("no space left") == 1
    assert "the run 'long-name' failed before its task could end (2/2)" in err


def test_what_is_unchanged_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    progress = OneByOne(Terminal(), FakeRunner(), 2)  # type: ignore[arg-type]
    progress.on_event(ended(Ended(plan=A, state="unchanged", reason="as in the run x")))
    assert capsys.readouterr().err == "==> a: unchanged, as in the run x (1/2)\n"


def test_lines_of_runs_side_by_side_begin_with_their_names(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with SideBySide(Terminal(), FakeRunner(), [A, B], 2) as progress:  # type: ignore[arg-type]
        first, second = progress.observer_for(A), progress.observer_for(B)
        first.output("stdout", b"one\ntw")
        second.output("stdout", b"\xffother\n")
        second.output("stderr", b"warning\n")
        first.output("stdout", b"o\nlast")
        progress.on_event(ended(ENDS[0]))
    captured = capfdbinary.readouterr()
    assert captured.out == b"a         | one\nlong-name | \xffother\na         | two\na         | last\n"
    assert b"long-name | warning\n" in captured.err
    assert b"\x1b" not in captured.err


def test_programs_read_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    progress = JsonLines(Terminal(), 3)
    events = [Event(kind="planned", plan=A, at=0.0), Event(kind="started", plan=A, at=1.5), *map(ended, ENDS)]
    for event in events:
        progress.on_event(event)
    progress.finish(ENDS)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["event"] for each in lines] == ["planned", "started", "ended", "ended", "not-started", "summary"]
    assert lines[0] | {"time": ""} == {
        "event": "planned",
        "time": "",
        "run": "a",
        "id": "a",
        "task": "a",
        "platform": "local",
        "runner": "local",
    }
    assert lines[1]["time"] == "1970-01-01T00:00:01.500Z"
    assert Path(lines[1]["logs"]["stderr"]).name == "stderr.log"
    assert (lines[3]["status"], lines[3]["exit_status"], lines[3]["duration"]) == ("failed", 3, 0.5)
    assert (lines[4]["status"], lines[4]["exit_status"]) == ("not-started", None)
    assert lines[5]["counts"] == {"succeeded": 1, "failed": 1, "not-started": 1}
    assert lines[5]["exit_status"] == 3


class FakeTerminal(io.TextIOWrapper):
    """A terminal of 20 columns and 5 lines that remembers what was written."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2


def test_the_bottom_of_a_screen_is_erased_before_anything_is_written_and_drawn_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "get_terminal_size", lambda descriptor: os.terminal_size((20, 5)))
    monkeypatch.setattr("mlcommons_box.cli.progress_screen._PAUSE", 60.0)
    buffer = io.BytesIO()
    stream = FakeTerminal(buffer, "utf-8", write_through=True)
    with Screen(stream, lambda sign: ["a" * 30, "1/2"], is_live=True) as screen:
        screen.write(stream, b"said\n")
        screen.write(stream, b"more\n")
        with screen.above():
            stream.write("message\n")
    bottom = b"a" * 19 + b"\n1/2"
    erase = b"\r\x1b[1A\x1b[J"
    assert buffer.getvalue() == (
        b"said\n" + bottom + erase + b"more\n" + bottom + erase + b"message\n" + bottom + erase
    )


def test_a_screen_that_is_not_live_only_writes() -> None:
    buffer = io.BytesIO()
    stream = FakeTerminal(buffer, "utf-8", write_through=True)
    with Screen(stream, lambda sign: ["never"], is_live=False) as screen:
        screen.write(stream, b"said\n")
    assert buffer.getvalue() == b"said\n"


def test_names_of_strangers_do_not_steer_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    strange = replace(A, run="\x1b[31mred\n")
    with SideBySide(Terminal(), FakeRunner(), [strange, B], 2) as progress:  # type: ignore[arg-type]
        progress.observer_for(strange).output("stdout", b"x\n")
        progress.on_event(Event(kind="started", plan=strange, at=0.0))
        assert all("\x1b" not in line for line in progress._lines("*"))
    captured = capfd.readouterr()
    assert "\x1b" not in captured.out + captured.err
