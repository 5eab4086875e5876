"""Another host that is this one: what a host needs beyond itself is a fake ssh(1), and rsync."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

FAKE = Path(__file__).with_name("fake_ssh")


@pytest.fixture
def lab(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the fake host: ``home`` is its home, ``down`` what is said when it cannot be reached."""
    lab = tmp_path_factory.mktemp("lab")
    (lab / "home").mkdir()
    (lab / "bin").mkdir()
    shutil.copy(FAKE, lab / "bin/ssh")
    monkeypatch.setenv("FAKE_SSH", str(lab))
    monkeypatch.setenv("PATH", f"{lab / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return lab
