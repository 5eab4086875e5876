"""What is installed for development is what was locked: every file by its hash."""

from __future__ import annotations

import re

from tests.conftest import REPOSITORY

LOCK = (REPOSITORY / "requirements-dev.lock").read_text("utf-8")
ENTRIES = re.split(r"\n(?=[A-Za-z0-9])", LOCK.replace("\\\n", " "))


def test_every_dependency_is_one_version_with_hashes() -> None:
    names = set()
    for entry in ENTRIES:
        found = re.match(
            r"([A-Za-z0-9][A-Za-z0-9._-]*)==[A-Za-z0-9.+!]+(?: *;[^\n]*?)? +--hash=sha256:[0-9a-f]{64}\b", entry
        )
        assert found, entry[:100]
        names.add(found[1].lower())
    assert {"pyyaml", "rich", "argcomplete", "pytest", "hypothesis"} <= names


def test_none_comes_from_anywhere_but_the_index_of_whoever_installs() -> None:
    assert not re.search(r"://|^-e |^--(?:index|extra-index|find-links|trusted)| @ ", LOCK, re.MULTILINE)


def test_what_users_need_has_lower_bounds_only() -> None:
    """An upper bound keeps a mended version from everybody."""
    text = (REPOSITORY / "pyproject.toml").read_text("utf-8")
    block = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert block
    wanted = re.findall(r'"([A-Za-z0-9-]+)([^"]*)"', block[1])
    assert len(wanted) >= 3
    assert all(re.fullmatch(r">=[0-9.]+", bounds) for _, bounds in wanted)
