"""A lock between the processes and threads of one machine, so that two who prepare the same do the work once."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mlcommons_box.cache import CACHE_VARIABLE
from mlcommons_box.errors import CannotCreateError, ConfigurationError, Interrupted
from mlcommons_box.interruption import signals_noted

_POLL = 0.02


def check_mountable(directory: Path) -> None:
    """Raise :class:`ConfigurationError` when builders have no way to be told this place of ours."""
    if set(":,") & set(str(directory)):
        raise ConfigurationError(
            f"builders cannot use the cache {str(directory)!r}: there is a colon or a comma in its name",
            hint=f"set {CACHE_VARIABLE} to another directory",
        )


class Once:
    """Holds a lock.  ``done_meanwhile`` says that somebody else finished the same work while we waited."""

    def __init__(self, descriptor: int, before: bytes) -> None:
        self._descriptor = descriptor
        self.done_meanwhile = _stamp(descriptor) != before

    def done(self) -> None:
        """Tell those who wait that the work is done."""
        stamp = os.urandom(8).hex().encode()
        os.pwrite(self._descriptor, stamp, 0)


@contextmanager
def once(lock_file: Path, waiting: Callable[[], None]) -> Iterator[Once]:
    """Hold the lock for as long as the context lasts; ``waiting`` is called when somebody else has it.

    The system releases the lock with the process that holds it.  Raises :class:`CannotCreateError` when there
    can be no lock file, and :class:`Interrupted` when a signal ended the waiting.
    """
    try:
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise CannotCreateError(
            f"cannot create the lock {str(lock_file)!r}: {error.strerror or error}",
            hint=f"free some space, or set {CACHE_VARIABLE} to a directory that you can write to",
        ) from error
    try:
        before = _stamp(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            wait_for_lock(descriptor)
        yield Once(descriptor, before)
    finally:
        os.close(descriptor)


def wait_for_lock(descriptor: int) -> None:
    """Take the lock as soon as it is free; a thread that the system lets wait could not be interrupted.

    Raises :class:`Interrupted`.
    """
    with signals_noted() as signals:
        while not signals:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_POLL)
            else:
                return
    raise Interrupted(signals[0])


def _stamp(descriptor: int) -> bytes:
    return os.pread(descriptor, 64, 0)
