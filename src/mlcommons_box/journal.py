"""A file that is only ever added to, one JSON object a line, by many processes at once and over NFS as well.

A line is added in one write to the end, under a lock of the file (flock, which NFS hands to its server; on a file
system that has no locks at all, the system's own O_APPEND has to do).  A reader takes no lock: what does not end in
a newline yet is not there yet.  A line that a crash has cut off is no JSON any more and is passed over; the next
writer begins a new one.  When the disk is full, the file is cut back to what it was.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

LARGEST = 1 << 30
"""Bytes; half a million runs need less, and what has more would not fit into a memory several times."""
_WITHOUT_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


class Journal:
    """The lines of one file; it need not be there yet."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def append(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Add a line for each entry, all of them or none.  Raises :class:`OSError`."""
        data = b"".join(json.dumps(entry).encode("ascii") + b"\n" for entry in entries)
        with self._locked() as descriptor:
            end = os.fstat(descriptor).st_size
            if end and os.pread(descriptor, 1, end - 1) != b"\n":  # a crash has cut the last line off
                data = b"\n" + data
            try:
                _write_all(descriptor, data)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(descriptor, end)
                raise

    def content(self) -> bytes:
        """All whole lines; empty when there is no file.  Raises :class:`OSError`."""
        try:
            with os.fdopen(open_regular(self.file, os.O_RDONLY), "rb") as file:
                if os.fstat(file.fileno()).st_size > LARGEST:
                    raise OSError(errno.EFBIG, f"it is larger than {LARGEST >> 30} GiB", str(self.file))
                content = file.read()
        except FileNotFoundError:
            return b""
        return content[: content.rfind(b"\n") + 1]

    def keep(self, is_kept: Callable[[bytes], bool]) -> None:
        """Leave out the lines that are not to be kept, in one step.  Raises :class:`OSError`."""
        if not self.file.exists():
            return
        with self._locked() as descriptor:
            kept = [line + b"\n" for line in self.content().split(b"\n")[:-1] if is_kept(line)]
            partial = self.file.with_name(f".{self.file.name}.{os.getpid()}")
            partial.unlink(missing_ok=True)  # of a process of the same number that was killed meanwhile
            try:
                with partial.open("xb") as file:
                    os.fchmod(file.fileno(), stat.S_IMODE(os.fstat(descriptor).st_mode))
                    file.write(b"".join(kept))
                    file.flush()
                    os.fsync(file.fileno())
                partial.replace(self.file)
            except BaseException:
                with suppress(OSError):
                    partial.unlink()
                raise

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The file, open for writing, while nobody else writes to it."""
        while True:
            try:
                descriptor = open_regular(self.file, os.O_RDWR | os.O_APPEND | os.O_CREAT)
            except FileNotFoundError:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                continue
            try:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                except OSError as error:
                    if error.errno not in _WITHOUT_LOCKS:
                        raise
                if self._is_still(descriptor):  # and was not replaced while we waited
                    yield descriptor
                    return
            finally:
                os.close(descriptor)

    def _is_still(self, descriptor: int) -> bool:
        try:
            there = os.stat(self.file)
        except FileNotFoundError:
            return False
        ours = os.fstat(descriptor)
        return (there.st_ino, there.st_dev) == (ours.st_ino, ours.st_dev)


def open_regular(path: Path, flags: int) -> int:
    """A descriptor of a file; a link, which may lead anywhere, or a pipe, which may never end, is none.

    Raises :class:`OSError`.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a file", str(path))
    return descriptor


def entry_of(line: bytes) -> dict[str, Any] | None:
    """What a line says; None for one that is no whole JSON object."""
    try:
        entry = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _refuse_constant(name: str) -> NoReturn:
    """JSON has no NaN and no Infinity, whatever Python thinks."""
    raise ValueError(f"{name} is no JSON")


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
