"""Lines are added whole or not at all, by whomever, and what a crash has left hides no other line."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlcommons_box.journal import Journal, entry_of


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "deep/down/file.jsonl")


def entries(journal: Journal) -> list[Any]:
    return [entry_of(line) for line in journal.content().splitlines()]


def together(*functions: Callable[[], object]) -> None:
    """Do all at once, each in a thread; what one raises is raised."""
    errors: list[BaseException] = []

    def guarded(function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(each,)) for each in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


def test_what_is_not_there_is_empty(journal: Journal) -> None:
    assert journal.content() == b""
    journal.keep(lambda line: False)
    assert not journal.file.parent.exists()


def test_lines_are_added_at_the_end(journal: Journal) -> None:
    journal.append([{"a": 1}, {"b": "ü\n"}])
    journal.append([])
    journal.append([{"c": None}])
    assert entries(journal) == [{"a": 1}, {"b": "ü\n"}, {"c": None}]
    assert journal.content().count(b"\n") == 3


def test_a_line_cut_off_at_any_byte_hides_no_other(journal: Journal) -> None:
    line = json.dumps({"id": "x", "plan": {"b": [1, "{}"]}}).encode() + b"\n"
    for cut in range(len(line)):
        journal.file.parent.mkdir(parents=True, exist_ok=True)
        journal.file.write_bytes(b'{"before": 1}\n' + line[:cut])
        assert entries(journal) == [{"before": 1}]
        journal.append([{"after": 1}])
        whole = [json.loads(line)] if cut == len(line) - 1 else []
        assert [each for each in entries(journal) if each] == [{"before": 1}, *whole, {"after": 1}], cut


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"1", b"\xff", b'{"a": NaN}', b'{"a": -Infinity}', b"[" * 99_999]
)
def test_what_is_no_entry(text: bytes) -> None:
    assert entry_of(text) is None


@pytest.mark.parametrize("room", range(0, 30, 7))
def test_a_full_disk_leaves_what_was_there(journal: Journal, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    journal.append([{"a": 1}])
    before = journal.file.read_bytes()
    write, left = os.write, [room]

    def until_it_is_full(descriptor: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(descriptor, data[: left[0]])
        left[0] -= written
        return written

    monkeypatch.setattr(os, "write", until_it_is_full)
    with pytest.raises(OSError, match="No space"):
        journal.append([{"b": "x" * 20}, {"c": 2}])
    assert journal.file.read_bytes() == before
    monkeypatch.undo()
    journal.append([{"d": 1}])
    assert entries(journal) == [{"a": 1}, {"d": 1}]


def test_what_is_not_kept_goes_in_one_step(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    journal.append([{"n": number} for number in range(10)])
    journal.file.chmod(0o640)
    before = journal.file.read_bytes()
    seen = []
    replace = Path.replace

    def look_first(self: Path, target: Path) -> Path:
        seen.append(target.read_bytes() == before)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", look_first)
    journal.keep(lambda line: b"5" not in line)
    assert seen == [True]
    assert [each["n"] for each in entries(journal)] == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert os.listdir(journal.file.parent) == ["file.jsonl"]
    assert stat.S_IMODE(journal.file.stat().st_mode) == 0o640


def test_keeping_fails_and_leaves_all(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    journal.append([{"n": 1}])

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        journal.keep(lambda line: False)
    assert entries(journal) == [{"n": 1}]
    assert os.listdir(journal.file.parent) == ["file.jsonl"]


def test_what_a_killed_process_of_the_same_number_has_left_is_in_nobodys_way(journal: Journal) -> None:
    journal.append([{"n": 1}, {"n": 2}])
    journal.file.with_name(f".{journal.file.name}.{os.getpid()}").write_text("half")
    journal.keep(lambda line: b"1" in line)
    assert entries(journal) == [{"n": 1}]


def test_a_file_system_without_locks_has_to_do(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    journal.append([{"n": 1}])
    assert entries(journal) == [{"n": 1}]

    def broken(descriptor: int, operation: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(OSError, match="Input/output"):
        journal.append([{"n": 2}])


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "directory", "parent"])
def test_what_is_no_file_is_refused_at_once(journal: Journal, tmp_path: Path, kind: str) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine\n")
    parent = journal.file.parent
    parent.parent.mkdir()
    if kind == "parent":
        parent.symlink_to("nowhere")
    else:
        parent.mkdir()
    if kind.endswith("link"):
        journal.file.symlink_to(precious if kind == "link" else "nowhere")
    elif kind == "pipe":
        os.mkfifo(journal.file)
    elif kind == "directory":
        journal.file.mkdir()
    with pytest.raises(OSError):  # noqa: PT011
        journal.append([{"n": 1}])
    if kind != "parent":
        with pytest.raises(OSError):  # noqa: PT011
            journal.content()
    assert precious.read_text() == "mine\n"


def test_many_add_while_one_leaves_out_and_one_reads(journal: Journal) -> None:
    """Each has a journal, and so a lock, of its own, as processes have."""
    count, writers = 40, 8
    done = threading.Event()

    def write(writer: int) -> None:
        for number in range(count):
            Journal(journal.file).append(
                [{"id": f"{writer}-{number}"}, {"id": f"{writer}-{number}", "x": "y" * 999}]
            )

    def leave_out() -> None:
        while not done.is_set():
            Journal(journal.file).keep(lambda line: b'"gone' not in line)
            Journal(journal.file).append([{"id": "gone"}])

    def read() -> None:
        last = 0
        while not done.is_set():
            found = [each for each in entries(Journal(journal.file)) if each["id"] != "gone"]
            assert len(found) >= last
            last = len(found)

    def all_writers() -> None:
        try:
            together(*(lambda writer=writer: write(writer) for writer in range(writers)))
        finally:
            done.set()

    together(all_writers, leave_out, read)
    found = [each["id"] for each in entries(journal) if each["id"] != "gone"]
    assert Counter(found) == {f"{writer}-{number}": 2 for writer in range(writers) for number in range(count)}
