"""Platforms that need no file."""

from __future__ import annotations

from mlcommons_box.model import LocalOptions, Platform

BUILT_IN_PLATFORMS = ("local",)
"""Platforms that a box need not have a file for."""


def built_in_platform(name: str) -> Platform:
    """The platform of that name as it is without a file."""
    if name not in BUILT_IN_PLATFORMS:
        raise ValueError(f"no built-in platform {name!r}")
    return Platform(name=name, runner="local", options=LocalOptions())
