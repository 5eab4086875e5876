"""How many examples a property is tried with."""

from __future__ import annotations

import os

from hypothesis import settings

_TIMES = {"thorough": 50, "fuzz": int(os.environ.get("MLBOX_FUZZ_TIMES", "50"))}


def quick_or_thorough(examples: int) -> settings:
    """The same ``examples`` on every run, or other ones, and many more.

    ``HYPOTHESIS_PROFILE`` says how many times as many: ``thorough`` 50 times, ``fuzz`` (``make fuzz``) as often as
    ``MLBOX_FUZZ_TIMES`` says.
    """
    times = _TIMES.get(os.environ.get("HYPOTHESIS_PROFILE", ""))
    return settings(max_examples=examples * (times or 1), derandomize=times is None, deadline=None, database=None)
