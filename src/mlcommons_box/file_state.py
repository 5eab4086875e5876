"""What the system says of a file, by which one that has stayed the same is known without reading it."""

from __future__ import annotations

import os
import time
from typing import Literal

State = tuple[int, int, int, int, int]
"""Times of change of content and of inode in nanoseconds, size in bytes, inode, device."""
Kind = Literal["file", "directory", "link", "missing"]
Entry = tuple[str, Kind, State]
"""What is at or below a path, by its name relative to it; the path itself is the name ``""``."""
SETTLED = 2_000_000_000
"""So many nanoseconds after a change, another one shows in a file's times: FAT's clock ticks every two seconds."""


def state_of(found: os.stat_result) -> State:
    """The state of a file, as ``os.stat`` found it."""
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev)


def latest_settled(now: int | None = None) -> int:
    """Until when a file must have changed last, to show at the time ``now`` that it changes once more.

    In nanoseconds, as is what it returns; ``now`` is the present unless given.
    """
    return (time.time_ns() if now is None else now) - SETTLED
