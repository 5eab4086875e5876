"""The rules of the house: form, types, and who may import whom."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ONE_AFTER_ANOTHER, REPOSITORY

BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "--no-cache"],
        ["ruff", "format", "--check", "--no-cache"],
        ["mypy"],
        ["lint-imports", "--no-cache"],
    ],
    ids=" ".join,
)
def test_rule(command: list[str]) -> None:
    program, *arguments = command
    result = subprocess.run(
        [str(BIN / program), *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_module_has_grown_too_long() -> None:
    lengths = {
        str(file.relative_to(REPOSITORY)): len(file.read_text("utf-8").splitlines())
        for file in (REPOSITORY / "src").rglob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > 500} == {}


def test_what_is_run_one_after_another_is_there() -> None:
    """A name that is misspelled would silently let tests run side by side that disturb each other."""
    for name in (name for names in ONE_AFTER_ANOTHER.values() for name in names):
        file, _, function = name.partition("::")
        assert f"def {function}" in (Path(__file__).parent / file).read_text("utf-8")
