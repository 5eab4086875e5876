"""The processes that one command has started, wherever they went: to look for, to ask, to end."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

RUN_MARK = "MLCOMMONS_BOX_RUN"
"""Environment variable that marks every process of one run."""
_POLL = 0.05
_HANGS = 10.0
"""Seconds after which a process that was killed is not waited for any more."""
_BRIEF = 2.0
"""Seconds in which a system does not give out all its process numbers."""


class Client:
    """One process; the engine that it speaks to has processes of its own."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def signal(self, number: int) -> None:
        """Send it a signal."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def ask_to_end(self) -> None:
        """Ask it to end."""
        self.signal(signal.SIGTERM)

    def end(self, grace: float) -> int:
        """Nothing of it is left."""
        return 0


class Tree:
    """Every process that a command started: its group, its descendants, and all that carry its mark."""

    def __init__(self, leader: int, mark: str | None, *, contained: bool = False) -> None:
        self.contained = contained
        self.leader = leader
        self.mark = None if mark is None else f"{RUN_MARK}={mark}".encode()
        own = _process(leader)
        self.born = own.born if own else 0
        self.began = time.monotonic()

    def _candidates(self) -> list[int]:
        """The processes that may be of the tree, by their numbers: these grow, until they begin anew."""
        brief = time.monotonic() - self.began < _BRIEF
        numbers = _process_numbers()
        last = _last_process()
        return (
            [each for each in numbers if self.leader <= each <= last] if brief and last >= self.leader else numbers
        )

    def members(self) -> set[int]:
        """The process ids that are alive; empty where the system has no ``/proc``."""
        processes = {found.pid: found for found in _processes(self._candidates()) if found.born >= self.born}
        found = {pid for pid, process in processes.items() if process.group == self.leader}
        if self.mark:
            found |= {pid for pid in processes if _carries(pid, self.mark)}
        children: dict[int, list[int]] = {}
        for pid, process in processes.items():
            children.setdefault(process.parent, []).append(pid)
        waiting = [self.leader, *found]
        while waiting:
            for pid in children.get(waiting.pop(), ()):
                if pid not in found:
                    found.add(pid)
                    waiting.append(pid)
        return found - {os.getpid()}

    def signal(self, number: int) -> None:
        """Send a signal to all of them."""
        members = self.members()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.leader, number)
        for pid in members - {self.leader}:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def ask_to_end(self) -> None:
        """Ask the task to end: all of the tree, or what of it is in a process namespace of its own.

        The first process of such a namespace is the engine's and ends all others with itself, unless it is alone.
        """
        depths = {pid: _namespaced(pid) for pid in self.members()} if self.contained else {}
        here = len(_namespaced(os.getpid()))
        contained = [pid for pid, numbers in depths.items() if len(numbers) > here]
        tasks = [pid for pid in contained if depths[pid][-1] != 1] or contained
        if not tasks:
            self.signal(signal.SIGTERM)
        for pid in tasks:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGTERM)

    def end(self, grace: float) -> int:
        """End those that outlived the leader; returns how many there were.

        What hangs in the system itself, as on a network's file system that is gone, cannot be killed and is left.
        """
        members = self.members() - {self.leader}
        if not members:
            return 0
        self.signal(signal.SIGTERM)
        kill_at = time.monotonic() + min(grace, 2.0)
        while self.members() - {self.leader} and time.monotonic() < kill_at + _HANGS:
            if time.monotonic() >= kill_at:
                self.signal(signal.SIGKILL)
            time.sleep(_POLL)
        return len(members)


def kill_started_with(program: str, argument: str) -> None:
    """Kill the processes of a program that were started with an argument, and all that they started."""
    for pid in _process_numbers():
        words = _read(f"/proc/{pid}/cmdline").split(b"\0")
        if os.path.basename(words[0]) == program.encode() and argument.encode() in words:
            Tree(pid, None).signal(signal.SIGKILL)


class _Process(NamedTuple):
    """A line of ``/proc/PID/stat`` (proc(5)); ``born`` is in clock ticks since the system's start."""

    pid: int
    parent: int
    group: int
    born: int


def _process(pid: int) -> _Process | None:
    """A process that is alive; None for one that has ended."""
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    if not fields or fields[0] in (b"Z", b"X"):
        return None
    return _Process(pid, int(fields[1]), int(fields[2]), int(fields[19]))


def start_ticks(pid: int) -> int:
    """When a process began, in clock ticks since the system's start; 0 where that cannot be learned."""
    found = _process(pid)
    return found.born if found else 0


def is_running(pid: int, started_ticks: int) -> bool:
    """Whether the process of that id is alive and is the one that began then: ids are used again."""
    if not sys.platform.startswith("linux"):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True
    found = _process(pid)
    return found is not None and found.born == started_ticks


def _process_numbers() -> list[int]:
    """The numbers of all processes; none where the system has no ``/proc``."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()] if sys.platform.startswith("linux") else []


def _processes(numbers: Iterable[int]) -> Iterator[_Process]:
    """Those processes of this user (of everyone, for root) that are alive."""
    user = os.getuid()
    for number in numbers:
        try:
            if user and os.stat(f"/proc/{number}").st_uid != user:
                continue
        except OSError:
            continue
        found = _process(number)
        if found:
            yield found


def _last_process() -> int:
    """The number that the system gave last (proc(5), loadavg); 0 where it does not say."""
    words = _read("/proc/loadavg").split()
    return int(words[-1]) if words else 0


def _carries(pid: int, mark: bytes) -> bool:
    return mark in _read(f"/proc/{pid}/environ").split(b"\0")


def _namespaced(pid: int) -> list[int]:
    """The numbers of a process in our process namespace and in those within it (proc(5), NSpid)."""
    line = next((line for line in _read(f"/proc/{pid}/status").split(b"\n") if line.startswith(b"NSpid:")), b"")
    return [int(word) for word in line.split()[1:]]


def _read(path: str) -> bytes:
    """A file of the system about a process; empty when that has ended.  Many are read after every run."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    content = b""
    try:
        while chunk := os.read(descriptor, 1 << 16):
            content += chunk
    except OSError:
        return b""
    finally:
        os.close(descriptor)
    return content
