"""A signal reaches whatever runs now, in whichever thread it does, and only once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mlcommons_box.command import Command
from mlcommons_box.errors import Interrupted
from mlcommons_box.interruption import Relay, raise_when_told, signals_noted, signals_until_now
from mlcommons_box.process import stream
from mlcommons_box.runners.once import once

PATIENCE = 20.0


def in_thread(work: Callable[[], None]) -> None:
    """Do something in a thread of its own; what it raises is raised here."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    if failures:
        raise failures[0]


def test_the_innermost_that_listens_in_a_thread_is_told() -> None:
    relay = Relay()

    def work() -> None:
        with relay.heard(), signals_noted() as outer:
            with signals_noted() as inner:
                relay.tell(2)
            relay.tell(15)
            assert (inner, outer) == ([2], [15])

    in_thread(work)
    assert relay.told == [2, 15]


def test_what_came_when_nobody_listened_is_told_to_the_next() -> None:
    relay = Relay()

    def work() -> None:
        with relay.heard():
            raise_when_told(signals_until_now())
            relay.tell(2)
            with pytest.raises(Interrupted):
                raise_when_told(signals_until_now())
            with signals_noted() as first:
                pass
            with signals_noted() as second:
                pass
            assert (first, second) == ([2], [])

    in_thread(work)


def test_a_thread_that_begins_late_hears_what_was_told_before() -> None:
    relay = Relay()
    relay.tell(1)

    def work() -> None:
        with relay.heard(), signals_noted() as noted:
            assert noted == [1]

    in_thread(work)


def test_threads_without_a_relay_hear_nothing() -> None:
    relay = Relay()

    def work() -> None:
        with signals_noted() as noted:
            relay.tell(2)
            assert noted == []
        raise_when_told(signals_until_now())

    in_thread(work)


def test_real_signals_are_handed_on_and_handlers_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    count = signals_until_now()
    relay = Relay()
    with relay.in_place_of_us():
        signal.raise_signal(signal.SIGTERM)
    with signals_noted() as noted:
        signal.raise_signal(signal.SIGINT)
    assert (relay.told, noted) == ([signal.SIGTERM], [signal.SIGINT])
    assert signals_until_now() == count + 2
    assert signal.getsignal(signal.SIGTERM) == before


def test_no_process_is_started_for_who_was_told_before() -> None:
    relay = Relay()
    relay.tell(signal.SIGTERM)

    def work() -> None:
        with relay.heard():
            completed = stream(Command(argv=("true",)), on_output=lambda stream, chunk: None)
            assert (completed.exit_status, completed.interrupted_by) == (128 + 15, 15)

    in_thread(work)


def test_who_waits_for_a_lock_can_be_interrupted(tmp_path: Path) -> None:
    relay = Relay()

    def work() -> None:
        with (
            relay.heard(),
            pytest.raises(Interrupted) as caught,
            once(tmp_path / "lock", lambda: relay.tell(signal.SIGINT)),
        ):
            pass
        assert caught.value.exit_status == 130

    with once(tmp_path / "lock", lambda: None):
        in_thread(work)
