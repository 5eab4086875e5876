"""Finds programs by name."""

from __future__ import annotations

import os
from collections.abc import Mapping


def which(program: str, environ: Mapping[str, str]) -> str | None:
    """``shutil.which`` for a plain name; shutil itself loads three compression libraries."""
    for directory in environ.get("PATH", os.defpath).split(os.pathsep):
        candidate = os.path.join(directory, program)
        if os.access(candidate, os.X_OK) and os.path.isfile(candidate):
            return candidate
    return None
