"""Hashes files: at once where they are small, in several threads where they are many or large."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlcommons_box.errors import CannotReadError
from mlcommons_box.file_state import Entry, State, state_of

FEW = 64
"""So many small files are hashed sooner by one thread, and anew, than handed to several or looked up."""
SMALL = 1 << 20
"""Bytes; what is smaller in all is hashed in less than a millisecond."""
_BUFFER = 1 << 20


def _quick_sha256() -> Callable[..., Any]:
    """The interpreter's own SHA-256, which is there at once; OpenSSL's, twice as fast, takes 4 ms to load."""
    for name in ("_sha2", "_sha256"):  # from Python 3.12 on, and before
        with suppress(ImportError, AttributeError):
            found: Callable[..., Any] = __import__(name).sha256
            return found
    from hashlib import sha256

    return sha256


sha256 = _quick_sha256()


def is_small(entries: Sequence[Entry]) -> bool:
    """Whether to hash all of it takes no time that anybody would notice."""
    return len(entries) <= FEW and sum(each[2][2] for each in entries if each[1] != "directory") <= SMALL


def hash_all(root: Path, entries: Sequence[Entry]) -> list[tuple[bytes, State]]:
    """Every digest, and the state in which it was found."""
    paths = [os.path.join(root, name) if name else os.path.realpath(root) for name, _, _ in entries]
    if len(entries) <= 1 or is_small(entries):
        return [_hash(path, sha256 if is_small(entries) else _fast_sha256()) for path in paths]
    fast = _fast_sha256()
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None) as pool:
        return list(pool.map(lambda path: _hash(path, fast), paths, chunksize=max(1, min(64, len(paths) // 16))))


def _fast_sha256() -> Callable[..., Any]:
    from hashlib import sha256

    return sha256


def _hash(path: str, sha256: Callable[..., Any]) -> tuple[bytes, State]:
    """The digest of a file or link, and the state in which it was all the while."""
    for _ in range(3):
        if os.path.islink(path):
            before = state_of(os.lstat(path))
            digest = sha256(os.fsencode(os.readlink(path)))
            after = state_of(os.lstat(path))
        else:
            digest = sha256()
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # a hundred thousand times
                before = state_of(os.fstat(file.fileno()))
                buffer = memoryview(bytearray(min(_BUFFER, before[2] + 1)))
                while count := file.readinto(buffer):
                    digest.update(buffer[:count])
            after = state_of(os.stat(path))
        if before == after:
            return digest.digest(), after
    raise unreadable(Path(path), "it goes on changing while it is read")


def unreadable(path: Path, reason: str) -> CannotReadError:
    """The error for a path that cannot be hashed."""
    return CannotReadError(f"cannot read {str(path)!r}: {reason}")
