"""Which runners there are.  Nothing of a runner is imported before it is chosen."""

from __future__ import annotations

from mlcommons_box.errors import UnavailableError
from mlcommons_box.model import Platform
from mlcommons_box.runners.interface import Runner

BUILT_IN = {
    "local": "mlcommons_box.runners.local:LocalRunner",
    "docker": "mlcommons_box.runners.docker:DockerRunner",
    "ssh": "mlcommons_box.runners.ssh:SshRunner",
    "slurm": "mlcommons_box.runners.slurm:SlurmRunner",
    "singularity": "mlcommons_box.runners.singularity:SingularityRunner",
    "kubernetes": "mlcommons_box.runners.kubernetes:KubernetesRunner",
}
"""Runner name -> where its class is, as an entry point of the group ``mlcommons_box.runners`` would say it."""


GROUP = "mlcommons_box.runners"
"""The entry points by which other distributions add runners."""


def has_runner(platform: Platform) -> bool:
    """Whether there is a runner for a platform."""
    return platform.runner in BUILT_IN or platform.runner in _others()


def runner_for(platform: Platform) -> Runner:
    """The runner for a platform; raises :class:`UnavailableError` when there is none of that kind."""
    place = BUILT_IN.get(platform.runner) or _others().get(platform.runner)
    if place is None:
        known = ", ".join(sorted({*BUILT_IN, *_others()}))
        raise UnavailableError(
            f"the platform {platform.name!r} needs the {platform.runner} runner, which this version does not have",
            hint=f"runners of this version: {known}; try --platform=local",
        )
    from importlib import import_module

    module, _, name = place.partition(":")
    runner: Runner = getattr(import_module(module), name)(platform)
    return runner


def _others() -> dict[str, str]:
    """Runners of other distributions; looked for only when none of ours is meant."""
    from importlib.metadata import entry_points

    return {each.name: each.value for each in entry_points(group=GROUP)}
