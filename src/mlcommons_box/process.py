"""The one place that starts processes: argument lists, live output, time limits, signals.

No shell is ever involved.  A command runs in a session of its own, so that it can be ended as a whole: its
process group, its descendants, and whatever left both but still carries the run's mark in its environment.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Literal

from mlcommons_box.command import Command
from mlcommons_box.errors import Interrupted, UnavailableError
from mlcommons_box.interruption import signals_noted
from mlcommons_box.process_tree import RUN_MARK, Client, Tree
from mlcommons_box.value import Value, aside

GRACE = 10.0
"""Seconds between asking a process tree to end and killing it, as ``docker stop`` has it."""

_CHUNK = 1 << 16
_POLL = 0.05
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in a unit of ``ru_maxrss``."""

Stream = Literal["stdout", "stderr"]
OnOutput = Callable[[Stream, bytes], None]


class Usage(Value):
    """What a process used, with all that it started and waited for: memory in bytes, time of processors in seconds.

    ``peak_memory`` is that of the largest of these processes, as getrusage(2) has it.
    """

    peak_memory: int
    cpu_time: float


class Completed(Value):
    """How a process ended.  ``exit_status`` is its own, or 128 plus the number of the signal that ended it."""

    exit_status: int
    timed_out: bool = False
    interrupted_by: int | None = None
    left_behind: int = 0
    """How many processes it had left running, which were ended."""
    usage: Usage | None = aside(default=None)
    ended_by: int | None = aside(default=None)
    """The signal that ended the process itself, whoever sent it."""


def stream(
    command: Command,
    *,
    on_output: OnOutput,
    on_start: Callable[[int], None] = lambda pid: None,
    timeout: float | None = None,
    grace: float | None = None,
    mark: str | None = None,
    client: bool = False,
    contained: bool = False,
    on_wait: Callable[[], None] = lambda: None,
) -> Completed:
    """Run a command and hand over its output as it comes, until it and all that it started have ended.

    ``on_wait`` is called again and again, some 20 times a second, whether there is output or not.
    ``client`` says that the command speaks for something that runs elsewhere: it alone gets the signals, which
    it passes on, and what an engine keeps running beside it is not ours to end.
    ``contained`` says that the task runs in a process namespace of its own, and that only what is in there is asked
    to end: what the engine runs outside serves it, such as the file system of the image.
    ``timeout`` is in seconds, and so is ``grace``, which is :data:`GRACE` unless given.  SIGINT, SIGTERM and
    SIGHUP end the whole tree (a second one without grace) and are reported in the result, also in a thread that
    hears an :class:`~mlcommons_box.interruption.Relay`.
    Raises :class:`UnavailableError` when the program cannot be started.
    """
    grace = GRACE if grace is None else grace
    environment = command.variables()
    if mark is not None:
        environment[RUN_MARK] = mark
    with signals_noted() as signals:
        if signals:  # they came before there was anything to end
            return Completed(exit_status=128 + signals[0], interrupted_by=signals[0])
        child = _start(command, environment)
        tree = Client(child.pid) if client else Tree(child.pid, mark, contained=contained)
        deadline = None if timeout is None else time.monotonic() + timeout
        kill_at: float | None = None
        timed_out = False
        asked = 0
        left: int | None = None
        outputs: _Outputs | None = None
        try:
            outputs = _Outputs(child, on_output)
            on_start(child.pid)
            while outputs.wait() is None:
                on_wait()
                now = time.monotonic()
                timed_out = timed_out or (deadline is not None and now >= deadline)
                if kill_at is None and (timed_out or signals):
                    tree.ask_to_end()
                    kill_at = now + grace
                    asked = len(signals)
                elif kill_at is not None and (now >= kill_at or len(signals) > asked):
                    tree.signal(signal.SIGKILL)
            if timed_out or signals:
                time.sleep(_POLL)  # a process that was just being started shows no mark for a moment
            left = tree.end(0.0 if timed_out or signals else grace)
            outputs.drain()
        finally:
            if child.poll() is None:
                tree.signal(signal.SIGKILL)
                child.wait()
            if left is None:
                tree.end(0.0)
            if outputs is not None:
                outputs.close()
    status = child.returncode
    return Completed(
        exit_status=status if status >= 0 else 128 - status,
        timed_out=timed_out and not signals,
        interrupted_by=signals[0] if signals else None,
        left_behind=left,
        usage=outputs.usage,
        ended_by=-status if status < 0 else None,
    )


def capture(command: Command, *, timeout: float | None = None) -> tuple[Completed, bytes]:
    """Run a command and return its standard output and standard error as one text.

    Raises :class:`Interrupted` when a signal ended it.
    """
    chunks: list[bytes] = []
    completed = stream(command, on_output=lambda _, chunk: chunks.append(chunk), timeout=timeout)
    if completed.interrupted_by is not None:
        raise Interrupted(completed.interrupted_by)
    return completed, b"".join(chunks)


class Answer(Value):
    """What a process said, and how it ended."""

    completed: Completed
    stdout: bytes
    stderr: bytes

    @property
    def succeeded(self) -> bool:
        """Whether it ended by itself, and with status 0."""
        return self.completed.exit_status == 0 and not self.completed.timed_out


def ask(command: Command, *, timeout: float | None = None, client: bool = False) -> Answer:
    """Run a command that answers a question; ``client`` as for :func:`stream`.

    Raises :class:`Interrupted` when a signal ended it, and :class:`UnavailableError` when it cannot be started.
    """
    said: dict[Stream, list[bytes]] = {"stdout": [], "stderr": []}
    completed = stream(
        command, on_output=lambda name, chunk: said[name].append(chunk), timeout=timeout, client=client
    )
    if completed.interrupted_by is not None:
        raise Interrupted(completed.interrupted_by)
    return Answer(completed=completed, stdout=b"".join(said["stdout"]), stderr=b"".join(said["stderr"]))


@contextmanager
def _standard_input(content: bytes | None) -> Iterator[int | IO[bytes]]:
    """What a process reads: nothing, or a file, which it can read when it likes."""
    if content is None:
        yield subprocess.DEVNULL
        return
    import tempfile

    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        yield file


def _start(command: Command, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    try:
        with _standard_input(command.input) as stdin:
            return subprocess.Popen(
                command.argv,
                cwd=command.directory,
                env=environment,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
    except (OSError, ValueError) as error:
        program = command.argv[0]
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UnavailableError(f"cannot start {program!r}: {reason}") from error


class _Outputs:
    """The two pipes of a process, and the moment when it ends."""

    def __init__(self, child: subprocess.Popen[bytes], on_output: OnOutput) -> None:
        self.child = child
        self.on_output = on_output
        self.selector = selectors.DefaultSelector()
        streams: tuple[tuple[Stream, object], ...] = (("stdout", child.stdout), ("stderr", child.stderr))
        for name, pipe in streams:
            os.set_blocking(pipe.fileno(), False)  # type: ignore[attr-defined]
            self.selector.register(pipe, selectors.EVENT_READ, name)  # type: ignore[arg-type]
        self.ended = self._end_descriptor()
        self.usage: Usage | None = None

    def _end_descriptor(self) -> int | None:
        """A descriptor that becomes readable when the process ends, where the system has such a thing."""
        try:
            descriptor = os.pidfd_open(self.child.pid)
        except (AttributeError, OSError):
            return None
        self.selector.register(descriptor, selectors.EVENT_READ, None)
        return descriptor

    def wait(self) -> int | None:
        """Hand over what there is, wait for a moment at most, and return the exit status once there is one."""
        for key, _ in self.selector.select(_POLL):
            if key.data is not None:
                self.read(key)
        return self._exit_status()

    def _exit_status(self) -> int | None:
        """What ``poll`` returns, with what the process used."""
        child = self.child
        if child.returncode is None:
            try:
                pid, status, used = os.wait4(child.pid, os.WNOHANG)
            except ChildProcessError:
                return child.poll()
            if pid:
                child.returncode = os.waitstatus_to_exitcode(status)
                self.usage = Usage(
                    peak_memory=used.ru_maxrss * _RSS_UNIT, cpu_time=round(used.ru_utime + used.ru_stime, 3)
                )
        return child.returncode

    def read(self, key: selectors.SelectorKey) -> bool:
        """Hand over one chunk; False when there is none now."""
        try:
            chunk = os.read(key.fd, _CHUNK)
        except BlockingIOError:
            return False
        if chunk:
            self.on_output(key.data, chunk)
        else:
            self.selector.unregister(key.fileobj)
        return bool(chunk)

    def drain(self) -> None:
        """Hand over what is left in the pipes; nobody writes to them any more."""
        for key in list(self.selector.get_map().values()):
            if key.data is not None:
                while self.read(key):
                    pass

    def close(self) -> None:
        self.selector.close()
        for pipe in (self.child.stdout, self.child.stderr):
            if pipe:
                pipe.close()
        if self.ended is not None:
            os.close(self.ended)
