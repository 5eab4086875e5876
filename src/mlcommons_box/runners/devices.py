"""Which GPUs a task is given where no engine divides them, and who has which while several tasks run.

A GPU is leased by a lock on a file in the user's cache.  So two commands of one user on one machine share none, and
the system gives back what a process had that is gone.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mlcommons_box.cache import CACHE_VARIABLE, file_name_of
from mlcommons_box.errors import CannotCreateError, Interrupted
from mlcommons_box.interruption import signals_noted

VARIABLE = "CUDA_VISIBLE_DEVICES"
_POLL = 0.1
_DEVICES = Path("/dev")


def first_devices(count: int, environ: Mapping[str, str]) -> str:
    """The first GPUs of those that the caller may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    visible = environ.get(VARIABLE)
    devices = visible.split(",") if visible is not None else [str(number) for number in range(count)]
    return ",".join(devices[:count])


def devices_here(environ: Mapping[str, str], directory: Path = _DEVICES) -> tuple[str, ...]:
    """The GPUs that the caller may use: those of ``CUDA_VISIBLE_DEVICES``, else all that this machine has."""
    visible = environ.get(VARIABLE)
    if visible is None:
        try:
            numbers = (re.fullmatch(r"nvidia(\d+)", name) for name in os.listdir(directory))
        except OSError:
            return ()
        return tuple(str(number) for number in range(sum(number is not None for number in numbers)))
    names: list[str] = []
    for name in visible.split(","):
        if not re.fullmatch(r"[A-Za-z0-9][\w/.-]*", name.strip()):  # such as -1: nothing counts from there on
            break
        names.append(name.strip())
    return tuple(dict.fromkeys(name for name in names if name != "NoDevFiles"))


class Lease:
    """GPUs that nobody else has until they are given back."""

    def __init__(self, devices: Sequence[str], descriptors: Sequence[int]) -> None:
        self.devices = tuple(devices)
        self._descriptors = descriptors

    def give_back(self) -> None:
        """Let others have them."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = ()


class DevicePool:
    """Leases the GPUs of this machine.  ``cache`` is the user's, which several machines may share."""

    def __init__(self, devices: Sequence[str], cache: Path, host: str | None = None) -> None:
        self.devices = tuple(devices)
        self._directory = cache / "locks"
        self._host = host or os.uname().nodename
        self._turn = threading.Lock()

    def lease(self, count: int, waiting: Callable[[], None]) -> Lease:
        """That many GPUs, all at once; ``waiting`` is called when they have to be waited for.

        Raises :class:`CannotCreateError` when there can be no lock files, and :class:`Interrupted`.
        """
        if count > len(self.devices):
            raise ValueError(f"there are no {count} devices")
        told = False
        with signals_noted() as signals:
            while not signals:
                lease = self._try(count)
                if lease is not None:
                    return lease
                if not told:
                    told = True
                    waiting()
                time.sleep(_POLL)
        raise Interrupted(signals[0])

    def _try(self, count: int) -> Lease | None:
        """All or nothing: whoever waits for a second GPU while it holds a first one keeps others from theirs."""
        found: dict[str, int] = {}
        try:
            with self._turn:
                for device in self.devices:
                    descriptor = self._lock(device) if len(found) < count else None
                    if descriptor is not None:
                        found[device] = descriptor
        finally:
            lease = Lease(tuple(found), tuple(found.values()))
            if len(found) < count:
                lease.give_back()
        return lease if len(found) == count else None

    def _lock(self, device: str) -> int | None:
        path = self._directory / f"gpu-{file_name_of(self._host, device)}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CannotCreateError(
                f"cannot create the lock {str(path)!r}: {error.strerror}",
                hint=f"free some space, or set {CACHE_VARIABLE} to a directory that you can write to",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor
