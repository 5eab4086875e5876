"""Unit tests start no process."""

from __future__ import annotations

import os
import subprocess
from typing import NoReturn

import pytest


@pytest.fixture(autouse=True)
def _no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **settings: object) -> NoReturn:
        raise AssertionError(f"a unit test started a process: {arguments}")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    for name in ("system", "fork", "posix_spawn", "execv", "execve"):
        monkeypatch.setattr(os, name, refuse)
