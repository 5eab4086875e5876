"""Two who prepare the same on one machine do the work once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mlcommons_box.errors import CannotCreateError
from mlcommons_box.runners.once import once

PATIENCE = 20.0
"""Seconds after which a thread that still waits is a failure."""


def never() -> None:
    raise AssertionError("nobody else has the lock")


class Second:
    """Somebody who comes while the lock is held: waits in a thread, and says what he found."""

    def __init__(self, lock: Path) -> None:
        self.lock = lock
        self.waits = threading.Event()
        self.done_meanwhile: bool | None = None
        self.thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        with once(self.lock, self.waits.set) as held:
            self.done_meanwhile = held.done_meanwhile

    def come(self) -> None:
        self.thread.start()
        assert self.waits.wait(PATIENCE)

    def leave(self) -> bool | None:
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        return self.done_meanwhile


def test_the_first_does_the_work_and_the_next_does_it_again(tmp_path: Path) -> None:
    for _ in range(2):  # that it was done once before is no reason: whoever comes later asks for it anew
        with once(tmp_path / "locks/a", never) as held:
            assert not held.done_meanwhile
            held.done()


def test_who_waited_learns_that_it_was_done(tmp_path: Path) -> None:
    second = Second(tmp_path / "a")
    with once(tmp_path / "a", never) as held:
        second.come()
        assert second.done_meanwhile is None
        held.done()
    assert second.leave() is True


def test_who_waited_does_it_when_the_first_has_failed(tmp_path: Path) -> None:
    second = Second(tmp_path / "a")
    with once(tmp_path / "a", never):
        second.come()
    assert second.leave() is False


def test_of_three_one_works(tmp_path: Path) -> None:
    others = [Second(tmp_path / "a"), Second(tmp_path / "a")]
    with once(tmp_path / "a", never) as held:
        for other in others:
            other.come()
        held.done()
    assert [other.leave() for other in others] == [True, True]


def test_different_work_does_not_wait(tmp_path: Path) -> None:
    with once(tmp_path / "a", never), once(tmp_path / "b", never) as held:
        assert not held.done_meanwhile


def test_a_lock_that_cannot_be_made_says_where_it_could_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotCreateError, match="file/a") as caught, once(tmp_path / "file/a", never):
        pass
    assert "MLCOMMONS_BOX_CACHE" in str(caught.value.hint)
