"""Where the data of a run is on Kubernetes, and where the task sees it.

A parameter lies in the volume claim that its binding names, else in the claim that holds the workspace, else in an
empty volume of the Pod, into which it is sent and from which it is fetched.  The task sees it by the rules of
:mod:`mlcommons_box.runners.mounts`; the part of a volume that it sees is the ``subPath`` of a mount.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from mlcommons_box.errors import EX_CONFIGURATION, Problem
from mlcommons_box.model import KubernetesOptions
from mlcommons_box.planning import BoundParameter, RunPlan
from mlcommons_box.runners.mounts import Mount, container_mounts, mount_problems
from mlcommons_box.value import Value, replace

CLAIMS = Path("/mlbox_claims")
"""Below it, each claim is mounted as a whole where directories are made, under its own name."""
TRANSFER = PurePosixPath("/mlbox_transfer")
"""Where the empty volume is mounted in the containers that send and fetch."""
TRANSFER_DATA = "io"
"""The directory of that volume with the data; in it, everything lies as the task sees it from the root."""


class VolumeMount(Value):
    """A part of a volume in the task's container.  ``claim`` of None is the empty volume."""

    claim: str | None
    sub_path: str
    target: PurePosixPath
    writable: bool


class Place(Value):
    """A parameter, where the task sees it, and where it is in its volume."""

    parameter: BoundParameter
    claim: str | None
    inside: PurePosixPath
    """Relative to the root of the claim, or to the data of the empty volume."""


class Layout(Value):
    """What the task's container sees, and the arguments that tell the task."""

    mounts: tuple[VolumeMount, ...]
    places: tuple[Place, ...]
    arguments: tuple[str, ...]

    @property
    def claims(self) -> tuple[str, ...]:
        """All claims, in the order of the parameters."""
        return tuple(dict.fromkeys(place.claim for place in self.places if place.claim is not None))

    @property
    def sent(self) -> tuple[Place, ...]:
        """The parameters whose data goes through the empty volume."""
        return tuple(place for place in self.places if place.claim is None)


def layout(plan: RunPlan) -> Layout:
    """Where everything is.  Pure, but for following links of what is on this machine."""
    moved = _moved(plan)
    found = container_mounts(moved)
    targets = [PurePosixPath(argument.partition("=")[2]) for argument in found.arguments]
    places = [
        Place(parameter=own, claim=claim, inside=_inside(claim, each, target))
        for own, each, target in zip(plan.parameters, moved.parameters, targets, strict=True)
        for claim in [claim_of(plan, own)]
    ]
    mounts = [_volume_mount(mount) for mount in found.mounts if not _is_covered(mount, found.mounts)]
    return Layout(mounts=tuple(mounts), places=tuple(places), arguments=found.arguments)


def claim_of(plan: RunPlan, parameter: BoundParameter) -> str | None:
    """The claim that holds a parameter's path."""
    if parameter.claim is not None:
        return parameter.claim
    options = plan.platform.options
    return options.workspace_claim if isinstance(options, KubernetesOptions) else None


def volume_problems(plan: RunPlan) -> list[Problem]:
    """What of a run cannot be given to a Pod."""
    outside = [each for each in plan.parameters if _claimed_path(plan, each) is None]
    if not outside:
        return mount_problems(_moved(plan)) or _colons(plan)
    return [
        Problem(
            code="cannot-mount",
            message=f"the {each.direction} {each.name!r} ({str(each.path)!r}) cannot be used: it lies in the "
            f"volume claim {claim_of(plan, each)!r}, which holds only what is below {str(_base(plan, each))!r}",
            location=each.location,
            hint="write a path relative to the claim",
            exit_status=EX_CONFIGURATION,
        )
        for each in outside
    ]


def _colons(plan: RunPlan) -> list[Problem]:
    """A Pod's mounts may be anywhere but below a name with a colon."""
    return [
        Problem(
            code="cannot-mount",
            message=f"a path with the name {target.name!r} cannot be used: Kubernetes allows no colon in it",
            hint="bind it to another path, or to the directory that holds it",
            exit_status=EX_CONFIGURATION,
        )
        for target in (mount.target for mount in layout(plan).mounts)
        if ":" in str(target)
    ]


def _moved(plan: RunPlan) -> RunPlan:
    """The plan as if all claims were mounted on this machine, below a directory that is not here."""
    parameters = tuple(replace(each, path=_claimed_path(plan, each) or each.path) for each in plan.parameters)
    return replace(plan, parameters=parameters)


def _claimed_path(plan: RunPlan, parameter: BoundParameter) -> Path | None:
    """A parameter's path with its claim below :data:`CLAIMS`; None when it lies outside of the claim."""
    claim = claim_of(plan, parameter)
    if claim is None:
        return parameter.path
    base = _base(plan, parameter)
    return CLAIMS / claim / parameter.path.relative_to(base) if parameter.path.is_relative_to(base) else None


def _base(plan: RunPlan, parameter: BoundParameter) -> Path:
    """What the root of a claim stands for: the box (a claim of a binding), or the workspace."""
    return plan.box.root if parameter.claim is not None else plan.workspace


def _inside(claim: str | None, parameter: BoundParameter, target: PurePosixPath) -> PurePosixPath:
    if claim is None:
        return target.relative_to("/")
    return PurePosixPath(parameter.path.relative_to(CLAIMS / claim))


def _volume_mount(mount: Mount) -> VolumeMount:
    if mount.source.is_relative_to(CLAIMS):
        claim, *rest = mount.source.relative_to(CLAIMS).parts
        sub_path = "/".join(rest)
    else:
        claim, sub_path = None, f"{TRANSFER_DATA}{mount.target}"
    return VolumeMount(claim=claim, sub_path=sub_path, target=mount.target, writable=mount.writable)


def _is_covered(mount: Mount, mounts: tuple[Mount, ...]) -> bool:
    """Whether a read-only mount lies in another: what this machine has mounted there is sent with the rest."""
    around = [other for other in mounts if other != mount and mount.source.is_relative_to(other.source)]
    inner = max(around, key=lambda other: len(other.source.parts), default=None)
    return inner is not None and not inner.writable and not mount.writable
