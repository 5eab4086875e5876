"""Ranges of versions, as release 0.2.3 wrote them."""

from __future__ import annotations

import re

import pytest

from mlcommons_box.definition.schema import VERSION_RANGE
from mlcommons_box.runners.engine_version import satisfies


@pytest.mark.parametrize(
    ("version", "wanted", "expected"),
    [
        ("20.10.24", ">=18.01", True),
        ("17.12", ">=18.01", False),
        ("18.1", ">=18.01", True),
        ("18.01.0", "==18.1", True),
        ("18.01.1", "18.01", False),
        ("28.2.2", ">=18.01,<28", False),
        ("28.2.2", ">= 18.01, < 29", True),
        ("28.2.2", "<=28.2.2", True),
        ("28.2.2", ">28.2", True),
        ("28.2.2", "!=28.2.2", False),
        ("3.8.7", "~=3.5", True),
        ("4.0", "~=3.5", False),
        ("3.4", "~=3.5", False),
        ("10.0", ">=9", True),
    ],
)
def test_a_version_lies_in_a_range_or_not(version: str, wanted: str, expected: bool) -> None:
    assert re.fullmatch(VERSION_RANGE.pattern, wanted)
    assert satisfies(version, wanted) is expected


def test_what_is_no_range_is_refused() -> None:
    with pytest.raises(ValueError, match="not a range"):
        satisfies("1.0", "latest")
