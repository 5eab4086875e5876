"""Content hashes of files and trees.

A file's digest is the SHA-256 of its bytes.  A directory's is the SHA-256 of what it holds, a line for each entry
in the order of their names: name, kind and digest (a Merkle tree), so that any difference below shows at the top.
Names and contents count; times, owners and modes do not, because they differ between hosts for the same result.

What was hashed once is not read again while a file's size, times, inode and device are the same.  A file that was
changed a moment before it was hashed could change once more without showing it in its times; it is not remembered.
"""

from __future__ import annotations

import marshal
import os
import stat
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mlcommons_box.file_state import Entry, Kind, State, latest_settled, state_of
from mlcommons_box.hashing import hash_all, is_small, sha256, unreadable
from mlcommons_box.value import Value

if TYPE_CHECKING:
    import sqlite3

_MEMORY_FILE = "fingerprints.sqlite3"
_FORMAT = 2
"""Part of every key of the memory: raised when it holds something else."""


class Fingerprint(Value):
    """What a path holds.  ``digest`` is in hexadecimal, empty for what is missing; ``size`` is in bytes."""

    kind: Kind
    digest: str = ""
    files: int = 0
    size: int = 0


MISSING = Fingerprint(kind="missing")


class Memory:
    """Digests of earlier, in a database of the user's cache; without a directory, nothing is remembered.

    It may be lost at any time, and may be used by many processes at once.  Where the database cannot be used, files
    are hashed anew.
    """

    def __init__(self, directory: Path | None) -> None:
        self.file = None if directory is None else directory / _MEMORY_FILE

    def recall_whole(self, path: Path, entries: Sequence[Entry]) -> Fingerprint | None:
        """The fingerprint of a tree that looked just so."""
        row = self._row(path, "entries, whole")
        if row is None or row[1] is None or row[0] != entries:
            return None
        kind, digest, files, size = row[1]
        return Fingerprint(kind=kind, digest=digest, files=files, size=size)

    def recall(self, path: Path) -> dict[str, tuple[State, bytes]]:
        """What is known of a tree: digests by names relative to it, each with the state that its file was in."""
        row = self._row(path, "digests")
        return {} if row is None else dict(row[0])

    def keep(
        self, path: Path, entries: Sequence[Entry], digests: Mapping[str, bytes], whole: Fingerprint, now: int
    ) -> None:
        """Remember what a tree held at the time ``now``."""
        if self.file is None:
            return
        latest = latest_settled(now)
        settled = [each for each in entries if max(each[2][:2]) <= latest]
        known = {name: (state, digests[name]) for name, _, state in settled if name in digests}
        is_sure = len(settled) == len(entries)
        kept = marshal.dumps((whole.kind, whole.digest, whole.files, whole.size)) if is_sure else None
        values = (_key(path), marshal.dumps(list(entries) if is_sure else []), marshal.dumps(known), kept)
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._database(self.file) as base:
                base.execute(
                    "CREATE TABLE IF NOT EXISTS contents"
                    " (path BLOB PRIMARY KEY, entries BLOB, digests BLOB, whole BLOB) WITHOUT ROWID"
                )
                base.execute("REPLACE INTO contents VALUES (?, ?, ?, ?)", values)
        except Exception:  # a full disk, a read-only home: the next time is slower, and that is all
            return

    def _row(self, path: Path, columns: Literal["digests", "entries, whole"]) -> tuple[Any, ...] | None:
        if self.file is None or not self.file.exists():
            return None
        query = f"SELECT {columns} FROM contents WHERE path = ?"  # noqa: S608  # two constants
        try:
            with self._database(self.file) as base:
                row: tuple[bytes | None, ...] | None = base.execute(query, (_key(path),)).fetchone()
            if row is None:
                return None
            return tuple(None if each is None else marshal.loads(each) for each in row)  # noqa: S302  # our own file
        except Exception:  # damaged, locked, of another version: hash anew
            return None

    @staticmethod
    @contextmanager
    def _database(file: Path) -> Iterator[sqlite3.Connection]:
        import sqlite3

        with closing(sqlite3.connect(file, timeout=1)) as base, base:
            yield base


class Content:
    """What a path held when it was looked at; it is read when its digests are asked for, and only then.

    All that is asked raises :class:`CannotReadError` when something cannot be read, or goes on changing meanwhile.
    """

    def __init__(self, path: Path, entries: list[Entry], memory: Memory) -> None:
        self.path = path
        self.entries = entries
        self.memory = memory

    @property
    def is_small(self) -> bool:
        """Whether to hash all of it takes no time that anybody would notice."""
        return is_small(self.entries)

    @cached_property
    def whole(self) -> Fingerprint:
        """One fingerprint for all of it."""
        if not self.entries:
            return MISSING
        known = None if self.is_small else self.memory.recall_whole(self.path, self.entries)
        if known is None:
            now = time.time_ns()
            known = _whole(self.entries, self._digests)
            if not self.is_small:
                self.memory.keep(self.path, self.entries, self._digests, known, now)
        return known

    @property
    def digests(self) -> dict[str, str]:
        """The digest of every file and link, by names relative to the path."""
        return {name: digest.hex() for name, digest in self._digests.items()}

    @cached_property
    def _digests(self) -> dict[str, bytes]:
        wanted = [each for each in self.entries if each[1] != "directory"]
        known = {} if self.is_small else self.memory.recall(self.path)
        found = {name: known[name][1] for name, _, state in wanted if name in known and known[name][0] == state}
        unknown = [each for each in wanted if each[0] not in found]
        return {**found, **digests_of(self.path, unknown)}


def content(path: Path, memory: Memory, without: Collection[str] = ()) -> Content:
    """What a path holds now; a link at the path itself is followed.

    ``without`` are names below a directory that do not count, with all that is below them.  Raises
    :class:`CannotReadError` for what cannot be looked at, and for what is neither file nor directory nor link.
    """
    return Content(path, look(path, without), memory)


def fingerprint(path: Path, memory: Memory, without: Collection[str] = ()) -> Fingerprint:
    """The fingerprint of what a path holds now; raises as :func:`content` and :class:`Content` do."""
    return content(path, memory, without).whole


def look(path: Path | str, without: Collection[str] = ()) -> list[Entry]:
    """The state of all that is at and below a path; empty when nothing is there."""
    try:
        return _entries(os.fspath(path), without)
    except FileNotFoundError:
        if os.path.lexists(path):
            raise unreadable(Path(path), "something in it was removed meanwhile") from None
        return []
    except OSError as error:
        raise unreadable(Path(error.filename or path), error.strerror or str(error)) from error
    except ValueError as error:  # a stranger's record may name what can be no path
        raise unreadable(Path(path), str(error)) from error


def digests_of(path: Path, entries: Sequence[Entry]) -> dict[str, bytes]:
    """The digests of files and links by their names, read now; raises when one does not look as it is said to."""
    try:
        hashed = hash_all(path, entries)
    except OSError as error:
        raise unreadable(Path(error.filename or path), error.strerror or str(error)) from error
    found = {}
    for (name, _, state), (digest, hashed_state) in zip(entries, hashed, strict=True):
        if hashed_state != state:
            raise unreadable(path / name if name else path, "it was changed while it was read")
        found[name] = digest
    return found


def _whole(entries: Sequence[Entry], digests: Mapping[str, bytes]) -> Fingerprint:
    """The whole of a tree, from what is in it."""
    if entries[0][1] != "directory":
        name, kind, state = entries[0]
        return Fingerprint(kind=kind, digest=digests[name].hex(), files=1, size=state[2])
    lines: dict[str, list[bytes]] = {name: [] for name, kind, _ in entries if kind == "directory"}
    files = size = 0
    for name, kind, state in entries:
        if kind != "directory":
            files += 1
            size += state[2]
            parent, _, last = name.rpartition("/")
            lines[parent].append(_line(last, kind, digests[name].hex()))
    for name in sorted(lines, key=lambda name: name.count("/") if name else -1, reverse=True):
        whole = sha256(b"".join(sorted(lines[name])))
        if not name:
            return Fingerprint(kind="directory", digest=whole.hexdigest(), files=files, size=size)
        parent, _, last = name.rpartition("/")
        lines[parent].append(_line(last, "directory", whole.hexdigest()))
    raise AssertionError("a tree has a root")


def _line(name: str, kind: Kind, digest: str) -> bytes:
    return os.fsencode(name) + f"\0{kind} {digest}\n".encode()


def _entries(root: str, without: Collection[str]) -> list[Entry]:
    """All that is at and below a path.  A tree may have a million files: this is written to be fast."""
    state = os.stat(root)
    if not stat.S_ISDIR(state.st_mode):
        return [("", _kind_of(root, state.st_mode), state_of(state))]
    found: list[Entry] = [("", "directory", state_of(state))]
    waiting = [("", root)]
    is_regular, is_directory, scandir = stat.S_ISREG, stat.S_ISDIR, os.scandir
    while waiting:
        prefix, directory = waiting.pop()
        with scandir(directory) as entries:
            for each in entries:
                name = prefix + each.name
                if name in without:
                    continue
                at = each.stat(follow_symlinks=False)
                kind: Kind
                if is_regular(at.st_mode):
                    kind = "file"
                elif is_directory(at.st_mode):
                    kind = "directory"
                    waiting.append((f"{name}/", each.path))
                else:
                    kind = _kind_of(each.path, at.st_mode)
                found.append((name, kind, (at.st_mtime_ns, at.st_ctime_ns, at.st_size, at.st_ino, at.st_dev)))
    return found


def _kind_of(path: str, mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISLNK(mode):
        return "link"
    raise unreadable(Path(path), "it is neither a file nor a directory nor a link")


def _key(path: Path) -> bytes:
    return f"{_FORMAT}:".encode() + os.fsencode(os.path.realpath(path))
