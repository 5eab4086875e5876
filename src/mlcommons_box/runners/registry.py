"""Which runners there are.  Nothing of a runner is imported before it is chosen."""

from __future__ import annotations

from mlcommons_box.errors import UnavailableError
from mlcommons_box.model import Platform
from mlcommons_box.runners.interface import Runner

BUILT_IN = {"local": "mlcommons_box.runners.local:LocalRunner"}
"""Runner name -> where its class is, as an entry point of the group ``mlcommons_box.runners`` would say it."""


def has_runner(platform: Platform) -> bool:
    """Whether there is a runner for a platform."""
    return platform.runner in BUILT_IN


def runner_for(platform: Platform) -> Runner:
    """The runner for a platform; raises :class:`UnavailableError` when there is none of that kind."""
    place = BUILT_IN.get(platform.runner)
    if place is None:
        known = ", ".join(sorted(BUILT_IN))
        raise UnavailableError(
            f"the platform {platform.name!r} needs the {platform.runner} runner, which this version does not have",
            hint=f"runners of this version: {known}; try --platform=local",
        )
    from importlib import import_module

    module, _, name = place.partition(":")
    runner: Runner = getattr(import_module(module), name)(platform)
    return runner
