"""The signals that ask us to stop, and who hears them: what runs now, in whichever thread it does.

Python hands signals to the main thread alone.  Where runs are followed in other threads, a :class:`Relay` hands
them on, so that each of these threads hears what the main thread would hear in its place.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from mlcommons_box.errors import Interrupted

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that ask us to stop."""

_thread = threading.local()
_heard: list[int] = []


class _Ear:
    """What one thread hears: the innermost that listens there, or else whoever listens next."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.listening: list[list[int]] = []
        self.missed = list(relay.told)

    def hear(self, number: int) -> None:
        (self.listening[-1] if self.listening else self.missed).append(number)


class Relay:
    """Hands signals on to threads."""

    def __init__(self) -> None:
        self.told: list[int] = []
        # A handler of signals may interrupt the very thread that holds the lock.
        self.lock = threading.RLock()
        self._ears: list[_Ear] = []

    def tell(self, number: int) -> None:
        """Tell all threads that hear this relay, as a signal of that number would."""
        with self.lock:
            self.told.append(number)
            for ear in self._ears:
                ear.hear(number)

    @contextmanager
    def heard(self) -> Iterator[None]:
        """In a thread: what listens to signals within the context hears what is told."""
        with self.lock:
            ear = _Ear(self)
            self._ears.append(ear)
        _thread.ear = ear
        try:
            yield
        finally:
            _thread.ear = None
            with self.lock:
                self._ears.remove(ear)

    @contextmanager
    def in_place_of_us(self) -> Iterator[None]:
        """Hand on the signals that ask us to stop, in place of being stopped by them; main thread only."""
        with _handled(self.tell):
            yield


@contextmanager
def signals_noted() -> Iterator[list[int]]:
    """Note the signals that ask us to stop, in place of being stopped by them.

    Within another such context only the inner one notes them.  In a thread other than the main one, they are those
    that a relay tells, beginning with what came when nobody listened there; without a relay there are none.
    """
    noted: list[int] = []
    ear: _Ear | None = getattr(_thread, "ear", None)
    if ear is None:
        with _handled(noted.append):
            yield noted
        return
    with ear.relay.lock:
        noted += ear.missed
        ear.missed.clear()
        ear.listening.append(noted)
    try:
        yield noted
    finally:
        with ear.relay.lock:
            ear.listening.pop()


def signals_until_now() -> int:
    """How many signals handlers of ours have noted: whether there was one is a comparison with before."""
    return len(_heard)


def raise_when_told(since: int) -> None:
    """Raise :class:`Interrupted` where a relay has told this thread to stop, whoever has listened to it.

    For what is about to begin.  The main thread is interrupted by Python itself, unless something listened: that
    is known by ``since``, what :func:`signals_until_now` was before.
    """
    ear: _Ear | None = getattr(_thread, "ear", None)
    if ear is not None and ear.relay.told:
        raise Interrupted(ear.relay.told[0])
    if len(_heard) > since:
        raise Interrupted(_heard[since])


@contextmanager
def _handled(note: Callable[[int], None]) -> Iterator[None]:
    """Call a function for every signal that asks us to stop; nothing happens outside of the main thread."""
    previous: dict[int, Callable[[int, FrameType | None], object] | int | signal.Handlers | None] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        _heard.append(number)
        note(number)

    try:
        for number in STOPPING:
            if signal.getsignal(number) != signal.SIG_IGN:
                previous[number] = signal.signal(number, handle)
    except ValueError:  # not in the main thread: the caller's program handles signals
        pass
    try:
        yield
    finally:
        for restored, handler in previous.items():
            signal.signal(restored, handler)
