"""The container path rules that Docker and Singularity share: what is mounted where, and what the task is told.

A parameter's path in the container is ``/mlbox_io{N}/{basename}``; N counts distinct mounts from 0, and the
basename is the one that the binding says, wherever a link of that name leads.  A directory mounts itself.  An input
file mounts itself.  An output file mounts its parent directory, because programs append to it and replace it by
rename.  Inputs are read-only.  What lies below another mount is mounted over it once more, so that an input below
an output stays read-only and an output below an input writable.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from mlcommons_box.errors import EX_CONFIGURATION, Problem
from mlcommons_box.planning import BoundParameter, RunPlan, holds
from mlcommons_box.value import Value

_ON_EVERY_LINUX = ("/proc/sys", "/sys")
_OF_THE_KERNEL = (*_ON_EVERY_LINUX, "/proc/bus", "/proc/fs", "/proc/irq", "/proc/mtrr", "/proc/sysrq-trigger")


class Mount(Value):
    """A path of this machine, links followed, and where it is in the container."""

    source: Path
    target: PurePosixPath
    writable: bool


class Mounts(Value):
    """What a container sees of this machine, outer mounts first, and the task's own arguments."""

    mounts: tuple[Mount, ...]
    arguments: tuple[str, ...]


def container_mounts(plan: RunPlan) -> Mounts:
    """The mounts of a run and the arguments ``--name=path`` that the task gets.

    Pure, but for following links and reading where this machine has mounted something.
    """
    top = [mount for mount in _sources(plan.parameters) if mount.number is not None]
    places = {source.path: source.place() for source in top}
    mounts = []
    for source in sorted(_sources(plan.parameters), key=lambda source: len(source.path.parts)):
        target = places.get(source.path) or _inside(source.path, places)
        mounts.append(Mount(source=source.path, target=target, writable=source.writable))
    mounts += _below_read_only(mounts)
    arguments = tuple(f"--{each.name}={_inside(real_path(each), places)}" for each in plan.parameters)
    return Mounts(mounts=tuple(mounts), arguments=arguments)


def of_the_kernel(*, here: bool) -> tuple[Mount, ...]:
    """The kernel's own files, read-only: root may change them without any capability, because they are root's.

    ``here`` says that the container is on this machine, where one can look what there is; Docker and Podman do the
    same by themselves.
    """
    paths = [path for path in _OF_THE_KERNEL if os.path.exists(path)] if here else _ON_EVERY_LINUX
    mounts = [Mount(source=Path(path), target=PurePosixPath(path), writable=False) for path in paths]
    return (*mounts, *(_below_read_only(mounts) if here else ()))


def _below_read_only(mounts: list[Mount]) -> list[Mount]:
    """What this machine has mounted below a read-only path: engines make only the path itself read-only."""
    found = []
    for point in _mount_points([mount.source for mount in mounts]):
        if any(mount.source == point for mount in mounts):
            continue
        inner = max(
            (mount for mount in mounts if holds(mount.source, point)), key=lambda mount: len(mount.source.parts)
        )
        if not inner.writable:
            target = inner.target / point.relative_to(inner.source)
            found.append(Mount(source=point, target=target, writable=False))
    return found


def _mount_points(around: Sequence[Path]) -> list[Path]:
    """Where something is mounted below paths of this machine, outer ones first; empty on other systems.

    As proc(5) has it: in a line of mountinfo, the fifth word, in which spaces, tabs, line breaks and backslashes
    are three octal digits.  A host of containers has thousands of lines.
    """
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return []
    beginnings = tuple(os.path.join(os.fsencode(path), b"") for path in around)
    written = (line.split(b" ", 5)[4] for line in lines)
    points = {
        re.sub(rb"\\([0-7]{3})", lambda digits: bytes([int(digits[1], 8)]), word) if b"\\" in word else word
        for word in written
    }
    below = (Path(os.fsdecode(point)) for point in points if point.startswith(beginnings))
    return sorted(below, key=lambda path: len(path.parts))


def mount_problems(plan: RunPlan) -> list[Problem]:
    """What of a run cannot be mounted: the root of the file system, and an output that is an input by a link."""
    problems = []
    inputs = {real_path(each): each for each in plan.inputs}
    for each in plan.parameters:
        path, reason = real_path(each), None
        if path == path.parent or _mounted(each) == _mounted(each).parent:
            reason = "the root directory cannot be mounted into a container"
        elif not _can_be_named(path):
            reason = "an engine cannot read its name, which is no UTF-8, or has a line break of two characters"
        elif each.direction == "output" and path in inputs:
            reason = f"by a link it is the input {inputs[path].name!r}, which the task must not change"
        elif each.direction == "output" and _mounted(each) in inputs:
            reason = f"it is written into the input {inputs[_mounted(each)].name!r}, which is read-only"
        if reason:
            problems.append(
                Problem(
                    code="cannot-mount",
                    message=f"the {each.direction} {each.name!r} ({str(each.path)!r}) cannot be used: {reason}",
                    location=each.location,
                    hint="bind it to another path",
                    exit_status=EX_CONFIGURATION,
                )
            )
    return problems


def real_path(parameter: BoundParameter) -> Path:
    """Where a parameter's path leads, links followed; its last part may not exist yet."""
    return Path(os.path.realpath(parameter.path))


class _Source(Value):
    """A path to mount.

    ``number`` counts those that lie below no other; ``name`` is the one that a binding says, or empty for a
    directory that is only the parent of output files.
    """

    path: Path
    writable: bool
    number: int | None
    name: str

    def place(self) -> PurePosixPath:
        return PurePosixPath(f"/mlbox_io{self.number}", self.name)


def _mounted(parameter: BoundParameter) -> Path:
    """The path that a parameter mounts."""
    path = real_path(parameter)
    return path.parent if parameter.direction == "output" and parameter.type == "file" else path


def _can_be_named(path: Path) -> bool:
    """Whether a path reaches an engine as it is: Go's reader of CSV makes one character of CR LF, JSON is UTF-8."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return "\r\n" not in str(path)


def _sources(parameters: tuple[BoundParameter, ...]) -> list[_Source]:
    """Every distinct path to mount, in the order of the parameters; writable when any output needs it."""
    writable: dict[Path, bool] = {}
    names: dict[Path, str] = {}
    for each in parameters:
        path = _mounted(each)
        writable[path] = writable.get(path, False) or each.direction == "output"
        if path == real_path(each):
            names.setdefault(path, each.path.name)
    sources = []
    number = 0
    for path in writable:
        outer = [other for other in writable if other != path and holds(other, path)]
        if outer and writable[max(outer, key=lambda other: len(other.parts))] == writable[path]:
            continue  # the mount around it already gives what it needs
        sources.append(
            _Source(
                path=path,
                writable=writable[path],
                number=None if outer else number,
                name=names.get(path, ""),
            )
        )
        number += not outer
    return sources


def _inside(path: Path, places: dict[Path, PurePosixPath]) -> PurePosixPath:
    """Where a path is in the container, by the mount that holds it."""
    outer = next(source for source in places if holds(source, path))
    return places[outer] / path.relative_to(outer)
