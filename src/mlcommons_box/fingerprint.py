"""Content hashes of files and trees.

A file's digest is the SHA-256 of its bytes.  A directory's is the SHA-256 of what it holds, a line for each entry
in the order of their names: name, kind and digest (a Merkle tree), so that any difference below shows at the top.
Names and contents count; times, owners and modes do not, because they differ between hosts for the same result.

What was hashed once is not read again while a file's size, times, inode and device are the same.  A file that was
changed a moment before it was hashed could change once more without showing it in its times; it is not remembered.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from mlcommons_box.errors import CannotReadError
from mlcommons_box.value import Value

if TYPE_CHECKING:
    import sqlite3

Kind = Literal["file", "directory", "link", "missing"]
_MEMORY_FILE = "fingerprints.sqlite3"
_FORMAT = 1
"""Part of every key of the memory: raised when it holds something else."""
_YOUNG = 2_000_000_000
"""Nanoseconds; the coarsest clock of a file system that is in use, FAT's, ticks every two seconds."""
_BUFFER = 1 << 20
_FEW = 64
"""So many small files are hashed sooner by one thread than handed to several."""


class Fingerprint(Value):
    """What a path holds.  ``digest`` is in hexadecimal, empty for what is missing; ``size`` is in bytes."""

    kind: Kind
    digest: str = ""
    files: int = 0
    size: int = 0


_State = tuple[int, int, int, int, int]
"""What changes when a file does: times in nanoseconds (of its content, of its inode), size, inode and device."""


class _Entry(NamedTuple):
    """What is below a tree, by its path relative to it; a directory has no state."""

    name: str
    kind: Kind
    state: _State | None


Known = dict[str, tuple[_State, bytes]]
"""Digests by names, each with the state that its file was in."""


class Memory:
    """Digests of earlier, in a database of the user's cache; without a directory, nothing is remembered.

    It may be lost at any time, and may be used by many processes at once.  Where the database cannot be used, files
    are hashed anew.
    """

    def __init__(self, directory: Path | None) -> None:
        self.file = None if directory is None else directory / _MEMORY_FILE

    def recall(self, path: Path) -> Known:
        """What is known of a tree: digests by names relative to it."""
        if self.file is None or not self.file.exists():
            return {}
        try:
            with self._database(self.file) as base:
                row = base.execute("SELECT content FROM trees WHERE path = ?", (_key(path),)).fetchone()
            known: Known = marshal.loads(row[0]) if row else {}  # noqa: S302  # our own, in the user's own cache
        except Exception:  # damaged, locked, of another version: hash anew
            return {}
        return known

    def keep(self, path: Path, known: Known) -> None:
        """Remember what is known of a tree now."""
        if self.file is None:
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._database(self.file) as base:
                base.execute("CREATE TABLE IF NOT EXISTS trees (path BLOB PRIMARY KEY, content BLOB) WITHOUT ROWID")
                base.execute("REPLACE INTO trees VALUES (?, ?)", (_key(path), marshal.dumps(known)))
        except Exception:  # a full disk, a read-only home: the next time is slower, and that is all
            return

    @staticmethod
    @contextmanager
    def _database(file: Path) -> Iterator[sqlite3.Connection]:
        import sqlite3

        with closing(sqlite3.connect(file, timeout=1)) as base, base:
            yield base


def fingerprint(path: Path, memory: Memory) -> Fingerprint:
    """What a path holds now; a link at the path itself is followed.

    Raises :class:`CannotReadError` when something cannot be read, is neither file nor directory nor link, or goes
    on changing while it is read.
    """
    return _fingerprint(path, contents(path, memory))


def contents(path: Path, memory: Memory) -> dict[str, Fingerprint]:
    """Every file, directory and link below a path, by names relative to it; the path itself is the name ``""``.

    Empty for a path that is missing.  Directories have no digest here.  Raises as :func:`fingerprint` does.
    """
    try:
        entries = list(_entries(os.fspath(path)))
        digests = _digests(path, [each for each in entries if each.state is not None], memory)
    except FileNotFoundError:
        if os.path.lexists(path):
            raise _unreadable(path, "something in it was removed meanwhile") from None
        return {}
    except OSError as error:
        raise _unreadable(Path(error.filename or path), error.strerror or str(error)) from error
    found = {}
    for name, kind, state in entries:
        if state is None:
            found[name] = Fingerprint(kind="directory")
        else:
            found[name] = Fingerprint(kind=kind, digest=digests[name].hex(), files=1, size=state[2])
    return found


def _fingerprint(path: Path, found: Mapping[str, Fingerprint]) -> Fingerprint:
    """The whole of a tree, from what is in it."""
    if not found:
        return Fingerprint(kind="missing")
    if found[""].kind != "directory":
        return found[""]
    lines: dict[str, list[bytes]] = {}
    files = size = 0
    for name in sorted(found, key=lambda name: (-name.count("/") if name else 1, name)):
        each = found[name]
        digest = each.digest
        if each.kind == "directory":
            whole = hashlib.sha256()
            for line in sorted(lines.pop(name, ())):
                whole.update(line)
            digest = whole.hexdigest()
        else:
            files += 1
            size += each.size
        if not name:
            return Fingerprint(kind="directory", digest=digest, files=files, size=size)
        parent, _, last = name.rpartition("/")
        line = os.fsencode(last) + b"\0" + f"{each.kind} {digest}\n".encode()
        lines.setdefault(parent, []).append(line)
    raise AssertionError("a tree has a root")


def _entries(root: str) -> Iterator[_Entry]:
    """All that is at and below a path; a directory has no state."""
    state = os.stat(root)
    if not stat.S_ISDIR(state.st_mode):
        yield _Entry("", _kind_of(root, state.st_mode), _state(state))
        return
    yield _Entry("", "directory", None)
    waiting = [("", root)]
    while waiting:
        prefix, directory = waiting.pop()
        with os.scandir(directory) as found:
            for each in found:
                name = prefix + each.name
                if each.is_dir(follow_symlinks=False):
                    yield _Entry(name, "directory", None)
                    waiting.append((f"{name}/", each.path))
                else:
                    state = each.stat(follow_symlinks=False)
                    yield _Entry(name, _kind_of(each.path, state.st_mode), _state(state))


def _kind_of(path: str, mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISLNK(mode):
        return "link"
    raise _unreadable(Path(path), "it is neither a file nor a directory nor a link")


def _state(state: os.stat_result) -> _State:
    return (state.st_mtime_ns, state.st_ctime_ns, state.st_size, state.st_ino, state.st_dev)


def _digests(root: Path, entries: list[_Entry], memory: Memory) -> dict[str, bytes]:
    """The digest of every file and link, from memory where it has not changed."""
    known = memory.recall(root)
    digests: dict[str, bytes] = {}
    unknown = []
    for each in entries:
        remembered = known.get(each.name)
        if remembered is not None and remembered[0] == each.state:
            digests[each.name] = remembered[1]
        else:
            unknown.append(each)
    if not unknown and len(known) == len(digests):
        return digests
    now = time.time_ns()
    hashed = dict(zip((each.name for each in unknown), _hash_all(root, unknown), strict=True))
    digests |= {name: digest for name, (digest, _) in hashed.items()}
    states = {each.name: each.state for each in entries} | {name: state for name, (_, state) in hashed.items()}
    memory.keep(
        root,
        {
            name: (state, digests[name])
            for name, state in states.items()
            if state is not None and max(state[:2]) < now - _YOUNG
        },
    )
    return digests


def _hash_all(root: Path, entries: list[_Entry]) -> Iterator[tuple[bytes, _State]]:
    paths = [os.path.join(root, each.name) if each.name else os.path.realpath(root) for each in entries]
    total = sum(each.state[2] for each in entries if each.state)
    if len(entries) == 1 or (len(entries) <= _FEW and total < _BUFFER):
        return map(_hash, paths)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None) as pool:
        return iter(list(pool.map(_hash, paths, chunksize=max(1, min(64, len(paths) // 16)))))


def _hash(path: str) -> tuple[bytes, _State]:
    """The digest of a file or link, and the state in which it was all the while."""
    for _ in range(3):
        if os.path.islink(path):
            before = _state(os.lstat(path))
            digest = hashlib.sha256(os.fsencode(os.readlink(path)))
            after = _state(os.lstat(path))
        else:
            digest = hashlib.sha256()
            with Path(path).open("rb", buffering=0) as file:
                before = _state(os.fstat(file.fileno()))
                buffer = memoryview(bytearray(min(_BUFFER, before[2] + 1)))
                while count := file.readinto(buffer):
                    digest.update(buffer[:count])
            after = _state(os.stat(path))
        if before == after:
            return digest.digest(), after
    raise _unreadable(Path(path), "it goes on changing while it is read")


def _key(path: Path) -> bytes:
    return f"{_FORMAT}:".encode() + os.fsencode(os.path.realpath(path))


def _unreadable(path: Path, reason: str) -> CannotReadError:
    return CannotReadError(f"cannot read {str(path)!r}: {reason}")
