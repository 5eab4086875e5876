"""Whether an engine is one of the versions that a platform file of release 0.2.3 asks for."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import zip_longest

from mlcommons_box.command import Command
from mlcommons_box.errors import ConfigurationError
from mlcommons_box.model import Platform
from mlcommons_box.process import capture

_BOUND = r"(>=|<=|==|!=|~=|>|<)? *([0-9]+(?:\.[0-9]+)*)"
_COMPARES: dict[str, Callable[[int], bool]] = {
    ">=": lambda order: order >= 0,
    "<=": lambda order: order <= 0,
    "==": lambda order: order == 0,
    "!=": lambda order: order != 0,
    ">": lambda order: order > 0,
    "<": lambda order: order < 0,
}


def check_engine_version(platform: Platform, executable: str, wanted: str) -> None:
    """Raise :class:`ConfigurationError` when the engine is none of the ``wanted`` versions.

    Apptainer began anew with 1.0 where Singularity was at 3.8, so that it satisfies whatever Singularity did.
    """
    if executable == "apptainer":
        return
    _, said = capture(Command(argv=(executable, "--version")))
    found = re.search(r"[0-9]+(?:\.[0-9]+)+", said.decode("utf-8", "replace"))
    if found and not satisfies(found.group(), wanted):
        raise ConfigurationError(
            f"the platform {platform.name!r} wants {executable} {wanted}, and here is {found.group()}",
            hint="install another version, or change 'version' in the platform file if this one will do",
        )


def satisfies(version: str, wanted: str) -> bool:
    """Whether a version like ``20.10.24`` lies in a range like ``>=18.01,<30`` (a bare number means that one)."""
    for bound in wanted.split(","):
        matched = re.fullmatch(_BOUND, bound.strip())
        if not matched:
            raise ValueError(f"not a range of versions: {wanted!r}")
        comparison, number = matched.group(1) or "==", matched.group(2)
        if comparison == "~=":  # at least this, and the same but for the last part
            kept = number.split(".")[:-1]
            if version.split(".")[: len(kept)] != kept:
                return False
            comparison = ">="
        if not _COMPARES[comparison](_order(version, number)):
            return False
    return True


def _order(one: str, other: str) -> int:
    """-1, 0 or 1; parts that a version does not have count as 0."""
    for mine, theirs in zip_longest(map(int, one.split(".")), map(int, other.split(".")), fillvalue=0):
        if mine != theirs:
            return 1 if mine > theirs else -1
    return 0
