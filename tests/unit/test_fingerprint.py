"""Digests of files and trees say what is in them, and never what was in them before."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from mlcommons_box import file_state, hashing
from mlcommons_box.errors import CannotReadError
from mlcommons_box.fingerprint import Fingerprint, Memory, content, fingerprint
from tests.conftest import write_files

NOTHING = Memory(None)


def age(*paths: Path) -> None:
    """Make files old enough to be remembered; nothing can set the time at which a file's inode changed."""
    for path in paths:
        os.utime(path, (1, 1))


def nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is small is hashed anew each time: let even a few bytes be looked up."""
    monkeypatch.setattr(hashing, "FEW", 0)
    monkeypatch.setattr(hashing, "SMALL", -1)


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Memory:
    """A memory for which even a new file is old."""
    monkeypatch.setattr(file_state, "SETTLED", -(10**12))
    nothing_is_small(monkeypatch)
    return Memory(tmp_path / "cache")


def test_a_file_s_digest_is_the_sha_256_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    expected = Fingerprint(kind="file", digest=hashlib.sha256(b"abc").hexdigest(), files=1, size=3)
    assert fingerprint(tmp_path / "file", NOTHING) == expected


def test_what_is_missing_has_none(tmp_path: Path) -> None:
    assert fingerprint(tmp_path / "no", NOTHING) == Fingerprint(kind="missing")
    assert content(tmp_path / "no", NOTHING).digests == {}


def test_a_tree_is_known_by_names_and_contents(tmp_path: Path) -> None:
    files = {"a": "1", "b/c": "2", "b/d/e": "3"}
    write_files(tmp_path / "one", files)
    write_files(tmp_path / "two", dict(reversed(files.items())))
    one = fingerprint(tmp_path / "one", NOTHING)
    assert one == fingerprint(tmp_path / "two", NOTHING)
    assert (one.kind, one.files, one.size) == ("directory", 3, 3)
    os.utime(tmp_path / "two/a", (1, 1))
    (tmp_path / "two/a").chmod(0o700)
    assert one == fingerprint(tmp_path / "two", NOTHING)


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "a").write_text("2"),
        lambda root: (root / "a").rename(root / "z"),
        lambda root: (root / "b/c").unlink(),
        lambda root: (root / "new").write_text(""),
        lambda root: (root / "empty").mkdir(),
        lambda root: (root / "b/c").rename(root / "c"),
        lambda root: ((root / "link").unlink(), (root / "link").symlink_to("b")),
    ],
)
def test_every_difference_shows(tmp_path: Path, change: Callable[[Path], object]) -> None:
    write_files(tmp_path, {"a": "1", "b/c": "2", "link": ""})
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("a")
    before = fingerprint(tmp_path, NOTHING)
    change(tmp_path)
    assert fingerprint(tmp_path, NOTHING) != before


def test_names_cannot_be_taken_for_contents(tmp_path: Path) -> None:
    write_files(tmp_path / "one", {"a\nfile b": "", "c": ""})
    write_files(tmp_path / "two", {"a": "", "file b\nc": ""})
    assert fingerprint(tmp_path / "one", NOTHING).digest != fingerprint(tmp_path / "two", NOTHING).digest


def test_a_path_that_is_a_link_is_what_it_leads_to(tmp_path: Path) -> None:
    write_files(tmp_path, {"data/a": "1"})
    (tmp_path / "link").symlink_to("data")
    (tmp_path / "file-link").symlink_to("data/a")
    assert fingerprint(tmp_path / "link", NOTHING) == fingerprint(tmp_path / "data", NOTHING)
    assert fingerprint(tmp_path / "file-link", NOTHING) == fingerprint(tmp_path / "data/a", NOTHING)


def test_file_by_file(tmp_path: Path) -> None:
    write_files(tmp_path, {"a": "1", "b/c": "22"})
    (tmp_path / "link").symlink_to("a")
    assert content(tmp_path, NOTHING).digests == {
        name: hashlib.sha256(text).hexdigest() for name, text in (("a", b"1"), ("b/c", b"22"), ("link", b"a"))
    }


def test_what_is_left_out_does_not_count_at_any_depth(tmp_path: Path) -> None:
    write_files(tmp_path / "one", {"a": "1", "b/c": "2"})
    write_files(tmp_path / "two", {"a": "1", "b/c": "2", "b/out/x": "3", "out/y": "4", "log": "5"})
    whole = fingerprint(tmp_path / "two", NOTHING, {"b/out", "out", "log"})
    assert whole == fingerprint(tmp_path / "one", NOTHING)
    assert whole != fingerprint(tmp_path / "two", NOTHING, {"out", "log"})


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 5000], ids=["NUL", "surrogate", "long"])
def test_what_can_be_no_path_is_an_error_of_ours(tmp_path: Path, name: str) -> None:
    with pytest.raises(CannotReadError):
        fingerprint(tmp_path / name, NOTHING)


def test_what_has_not_changed_is_not_read_again(
    tmp_path: Path, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path / "tree", {"a": "1", "b/c": "2"})
    first = fingerprint(tmp_path / "tree", memory)
    read: list[str] = []
    real = hashing._hash

    def hashed(path: str, sha256: Callable[..., object]) -> object:
        read.append(path)
        return real(path, sha256)

    monkeypatch.setattr(hashing, "_hash", hashed)
    assert fingerprint(tmp_path / "tree", memory) == first
    assert read == []
    (tmp_path / "tree/a").write_text("3")
    assert fingerprint(tmp_path / "tree", memory) != first
    assert read == [str(tmp_path / "tree/a")]


def test_a_change_that_keeps_size_and_time_is_seen(tmp_path: Path, memory: Memory) -> None:
    file = tmp_path / "tree/a"
    write_files(tmp_path / "tree", {"a": "1"})
    before, times = fingerprint(tmp_path / "tree", memory), file.stat()
    time.sleep(0.02)
    file.write_text("2")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert fingerprint(tmp_path / "tree", memory) != before


def test_what_was_changed_a_moment_ago_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_is_small(monkeypatch)
    memory = Memory(tmp_path / "cache")
    write_files(tmp_path / "tree", {"a": "1"})
    age(tmp_path / "tree/a")  # its inode was changed now all the same
    fingerprint(tmp_path / "tree", memory)
    assert memory.recall(tmp_path / "tree") == {}


def test_small_trees_are_not_looked_up(tmp_path: Path) -> None:
    write_files(tmp_path / "tree", {"a": "1"})
    memory = Memory(tmp_path / "cache")
    fingerprint(tmp_path / "tree", memory)
    assert not (tmp_path / "cache").exists()


def test_a_row_of_the_memory_that_is_damaged_is_none(tmp_path: Path, memory: Memory) -> None:
    write_files(tmp_path / "tree", {"a": "1"})
    expected = fingerprint(tmp_path / "tree", memory)
    with closing(sqlite3.connect(tmp_path / "cache/fingerprints.sqlite3")) as base, base:
        base.execute("UPDATE contents SET entries = ?, digests = ?, whole = ?", (b"\xff", b"", b"(garbage"))
    assert fingerprint(tmp_path / "tree", memory) == expected


@pytest.mark.parametrize("damage", [b"", b"no database", None])
def test_a_memory_that_cannot_be_used_is_none(tmp_path: Path, memory: Memory, damage: bytes | None) -> None:
    write_files(tmp_path / "tree", {"a": "1"})
    expected = fingerprint(tmp_path / "tree", NOTHING)
    assert fingerprint(tmp_path / "tree", memory) == expected
    (database,) = (tmp_path / "cache").iterdir()
    if damage is None:
        database.unlink()
        database.mkdir()
    else:
        database.write_bytes(damage)
    assert fingerprint(tmp_path / "tree", memory) == expected


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CannotReadError, match="neither a file nor a directory"):
        fingerprint(tmp_path, NOTHING)


def test_a_file_that_goes_on_changing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "log").write_text("a")
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        (tmp_path / "log").write_text(str(time.monotonic_ns()))
        state = real(descriptor)
        os.utime(tmp_path / "log", ns=(1, time.monotonic_ns()))
        return state

    monkeypatch.setattr(os, "fstat", fstat)
    with pytest.raises(CannotReadError, match="goes on changing"):
        fingerprint(tmp_path / "log", NOTHING)
