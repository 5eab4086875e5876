"""A large file is hashed once, and again when it has changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from mlcommons_box import file_state
from mlcommons_box import fingerprint as module
from mlcommons_box.cache import CACHE_VARIABLE
from mlcommons_box.runners.identity import remembered_digest


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A cache for which even a new file is old."""
    monkeypatch.setattr(file_state, "SETTLED", -(10**12))
    return {CACHE_VARIABLE: str(tmp_path / "cache")}


def test_it_is_read_once(tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "image.sif"
    file.write_bytes(b"abc")
    expected = hashlib.sha256(b"abc").hexdigest()
    assert remembered_digest(file, environ) == expected
    with monkeypatch.context() as patch:
        patch.setattr(module, "look", None)
        assert remembered_digest(file, environ) == expected
    file.write_bytes(b"abd")
    os.utime(file, (1, 1))
    assert remembered_digest(file, environ) == hashlib.sha256(b"abd").hexdigest()


def test_a_new_file_is_not_remembered(tmp_path: Path) -> None:
    file = tmp_path / "image.sif"
    file.write_bytes(b"abc")
    environ = {CACHE_VARIABLE: str(tmp_path / "cache")}
    assert remembered_digest(file, environ) == hashlib.sha256(b"abc").hexdigest()
    assert not (tmp_path / "cache").exists()


def test_what_is_not_there_has_none(tmp_path: Path, environ: dict[str, str]) -> None:
    assert remembered_digest(tmp_path / "no", environ) == ""
