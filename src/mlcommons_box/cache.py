"""Where this software keeps what it can make again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

CACHE_VARIABLE = "MLCOMMONS_BOX_CACHE"


def cache_directory(environ: Mapping[str, str]) -> Path:
    """Where this software keeps what it can make again: ``$MLCOMMONS_BOX_CACHE``, else the user's cache."""
    if environ.get(CACHE_VARIABLE):
        return Path(os.path.abspath(environ[CACHE_VARIABLE]))
    base = environ.get("XDG_CACHE_HOME", "")
    home = environ.get("HOME") or os.path.expanduser("~")
    return Path(base if base.startswith("/") else os.path.join(home, ".cache"), "mlcommons-box")


def file_name_of(*parts: str) -> str:
    """A short name for a file of ours that belongs to some paths or names; hashlib takes longer to load."""
    from binascii import crc32

    text = "\0".join(parts).encode("utf-8", "surrogateescape")
    return f"{crc32(text):08x}{crc32(text[::-1]):08x}"
