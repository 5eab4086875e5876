"""How many examples a property is tried with."""

from __future__ import annotations

import os

from hypothesis import settings


def quick_or_thorough(examples: int) -> settings:
    """The same ``examples`` on every run; with ``HYPOTHESIS_PROFILE=thorough`` other ones, and 50 times as many."""
    thorough = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
    return settings(
        max_examples=examples * 50 if thorough else examples,
        derandomize=not thorough,
        deadline=None,
        database=None,
    )
