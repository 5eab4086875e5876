"""Brings a box and its inputs to another host, and outputs back, so that only what has changed is sent.

The box has a directory there that looks as it does here, its workspace included.  What was sent is noted there;
what is gone here is removed there if we have sent it, and nothing else ever is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from mlcommons_box.cache import file_name_of
from mlcommons_box.errors import (
    EX_MISSING_INPUT,
    CannotCreateError,
    Problem,
    UnavailableError,
)
from mlcommons_box.host import Host, quoted
from mlcommons_box.planning import BoundParameter, RunPlan, SetupPlan, holds
from mlcommons_box.process import OnOutput
from mlcommons_box.runners.container_run import Caller
from mlcommons_box.runners.failures import tail
from mlcommons_box.value import Value, replace

PROGRAMS = (
    "docker", "podman", "nvidia-docker", "apptainer", "singularity", "uv", "rsync", "sbatch", "python3",
)  # fmt: skip
"""What is looked for on a host."""
_NOT_SENT = (".git", ".mlbox", "__pycache__", ".mlbox-partial")
_SENT_FILE = ".mlbox/sent"
"""What we have sent, below the box's directory there: paths that end with a NUL."""


class There(Value):
    """A host, and where a box is on it."""

    box: Path
    workspace: Path
    caller: Caller
    environ: Mapping[str, str]
    programs: Mapping[str, str]
    python: str
    python_identity: str
    sent: frozenset[str]

    @classmethod
    def unknown(cls, plan: SetupPlan, directory: str | None) -> There:
        """What can be said without asking the host."""
        box = Path("$HOME", directory or _directory(plan))
        return cls(
            box=box,
            workspace=box / _workspace(plan),
            caller=Caller(uid=1000, gid=1000),
            environ={},
            programs={name: name for name in PROGRAMS},
            python="python3",
            python_identity="",
            sent=frozenset(),
        )

    def plan(self, plan: RunPlan) -> RunPlan:
        """The same run over there."""
        box = replace(plan.box, root=self.box)
        parameters = tuple(replace(each, path=self.path(plan, each.path)) for each in plan.parameters)
        return replace(plan, box=box, workspace=self.workspace, parameters=parameters, ca_bundle=None)

    def path(self, plan: SetupPlan, path: Path) -> Path:
        """Where a path of the workspace or the box is there; any other is the same there."""
        if holds(plan.workspace, path):
            return self.workspace / path.relative_to(plan.workspace)
        return self.box / path.relative_to(plan.box.root) if holds(plan.box.root, path) else path

    def run_directory(self, plan: RunPlan) -> str:
        """Where a run keeps its files there."""
        return str(self.workspace / ".mlbox" / "runs" / plan.id / "job")


def _directory(plan: SetupPlan) -> str:
    """Where a box goes unless the platform says where: below the home there."""
    return f"mlcommons-box/{plan.box.name}-{file_name_of(os.uname().nodename, str(plan.box.root))}"


def _workspace(plan: SetupPlan) -> Path:
    """Where a workspace is, below the box there."""
    is_own = plan.workspace == plan.box.workspace
    return Path("workspace") if is_own else Path("workspaces", file_name_of(str(plan.workspace)))


def find(host: Host, plan: SetupPlan, directory: str | None, python: str | None) -> There:
    """Look at a host: who we are there, what is there, and what we have sent already.

    ``directory`` is where the box goes, relative to the home there; raises :class:`UnavailableError`.
    """
    place = directory or _directory(plan)
    interpreter = python or "python3"
    identity = (
        "import os,sys; print(sys.implementation.cache_tag, sys.version_info, os.path.realpath(sys.base_prefix))"
    )
    lines = [
        f"place={quoted(place.removeprefix('~/'))}",
        'case "$place" in (/*) ;; (*) place=$HOME/$place ;; esac',
        'umask 077; mkdir -p -- "$place" || exit 73',
        'printf \'%s\\0\' "$place" "$(id -u)" "$(id -g)" "$(id -G)"',
        f'for program in {" ".join(PROGRAMS)}; do printf \'%s\\0\' "$(command -v "$program")"; done',
        f"printf '%s\\0' \"$({quoted(interpreter)} -c {quoted(identity)} 2>/dev/null; uname -sm)\"",
        'cat -- "$place/' + _SENT_FILE + '" 2>/dev/null',
        "printf '\\0'",
        "env -0 2>/dev/null || env | tr '\\n' '\\0'",
    ]
    answer = host.shell("\n".join(lines) + "\n", timeout=60)
    parts = answer.stdout.decode("utf-8", "surrogateescape").split("\0")
    head = 4 + len(PROGRAMS) + 1
    if not answer.succeeded or len(parts) < head + 1:
        raise CannotCreateError(
            f"cannot make the directory {place!r} on {host.name}\n{tail(answer.stderr)}",
            hint="name another 'directory' in the platform file",
        )
    end = parts.index("", head)
    box = Path(parts[0])
    variables = (each.partition("=") for each in parts[end + 1 :] if "=" in each)
    return There(
        box=box,
        workspace=box / _workspace(plan),
        caller=Caller(
            uid=int(parts[1]),
            gid=int(parts[2]),
            groups=tuple(sorted({int(each) for each in parts[3].split()} - {int(parts[2])})),
        ),
        environ={name: value for name, _, value in variables},
        programs={name: found for name, found in zip(PROGRAMS, parts[4:], strict=False) if found},
        python=interpreter,
        python_identity=parts[head - 1],
        sent=frozenset(parts[head:end]),
    )


def send(host: Host, plan: RunPlan, there: There, on_output: OnOutput) -> None:
    """Bring the box there, and the inputs that lie in its workspace; outputs too, which a task may add to."""
    if "rsync" not in there.programs:
        raise UnavailableError(
            f"there is no rsync on {host.name}", hint="install it there: files are brought there by it"
        )
    box, workspace = plan.box.root, plan.workspace
    excluded = [f"--exclude={name}" for name in _NOT_SENT]
    own = [f"/{_pattern(each.relative_to(box))}" for each in {workspace, plan.box.workspace} if holds(box, each)]
    host.put([f"{box}/"], f"{there.box}/", *excluded, *(f"--exclude={each}" for each in own), on_output=on_output)
    sent = set(_files(box, {workspace, plan.box.workspace}))
    brought = _brought(plan)
    if brought:
        names = [f"{workspace}/./{each.path.relative_to(workspace)}" for each in brought]
        host.put(names, f"{there.workspace}/", *excluded, "--relative", on_output=on_output)
        for each in brought:
            if each.direction == "input":
                prefix = there.workspace.relative_to(there.box)
                sent |= {str(prefix / name) for name in _below(each.path, workspace)}
    _note(host, there, sent, kept={str(there.path(plan, each.path).relative_to(there.box)) for each in brought})


def _brought(plan: RunPlan) -> list[BoundParameter]:
    """The parameters in the workspace that are there to be sent; none that lies inside another."""
    found = [
        each
        for each in plan.parameters
        if holds(plan.workspace, each.path) and not each.elsewhere and os.path.lexists(each.path)
    ]
    return [
        each
        for number, each in enumerate(found)
        if not any(
            holds(other.path, each.path) and (other.path != each.path or index < number)
            for index, other in enumerate(found)
            if index != number
        )
    ]


def _note(host: Host, there: There, sent: set[str], kept: Iterable[str]) -> None:
    """Remove what we had sent and is gone here, of what was looked at now; and note what is there."""
    inputs = [PurePosixPath(each) for each in kept]
    workspaces = PurePosixPath("workspace"), PurePosixPath("workspaces")

    def looked_at(name: str) -> bool:
        path = PurePosixPath(name)
        return not any(path.is_relative_to(each) for each in workspaces) or any(
            path.is_relative_to(each) for each in inputs
        )

    gone = sorted(name for name in there.sent - sent if looked_at(name))
    noted = (there.sent - set(gone)) | sent
    if noted == there.sent:
        return
    names = " ".join(quoted(f"./{name}") for name in gone)
    listing = "".join(f"{name}\0" for name in sorted(noted))
    # printf knows the NUL as an escape; a backslash in a name would be one as well.
    escaped = listing.replace("\\", "\\\\").replace("%", "%%").replace("\0", "\\0")
    answer = host.shell(
        f"cd -- {quoted(there.box)} || exit 73\n"
        + (f"rm -f -- {names}\n" if gone else "")
        + f"mkdir -p .mlbox && printf {quoted(escaped)} >{_SENT_FILE}.partial "
        f"&& mv -f {_SENT_FILE}.partial {_SENT_FILE}\n"
    )
    if not answer.succeeded:
        raise CannotCreateError(f"cannot note on {host.name} what was sent\n{tail(answer.stderr)}")


def _files(root: Path, without: set[Path]) -> Iterator[str]:
    """The files of the box that are sent, relative to it."""
    for parent, folders, names in os.walk(root):
        folders[:] = [each for each in folders if each not in _NOT_SENT and Path(parent, each) not in without]
        yield from (os.path.relpath(os.path.join(parent, name), root) for name in names if name not in _NOT_SENT)


def _below(path: Path, workspace: Path) -> Iterator[str]:
    if not path.is_dir():
        yield str(path.relative_to(workspace))
        return
    for parent, folders, names in os.walk(path):
        folders[:] = [each for each in folders if each not in _NOT_SENT]
        yield from (os.path.relpath(os.path.join(parent, name), workspace) for name in names)


def _pattern(path: Path) -> str:
    """A path as rsync's patterns have it, where some characters stand for others."""
    return "".join(f"\\{each}" if each in "*?[\\" else each for each in str(path))


def missing_there(host: Host, plan: RunPlan) -> list[Problem]:
    """A problem for every input on the host itself that is not there."""
    inputs = [each for each in plan.inputs if each.elsewhere]
    if not inputs:
        return []
    tests = [
        f"[ -{'d' if each.type == 'directory' else 'f'} {quoted(each.path)} ] || echo {number}"
        for number, each in enumerate(inputs)
    ]
    answer = host.shell("\n".join(tests) + "\n", timeout=60)
    return [
        Problem(
            code="missing-input",
            message=f"the input {inputs[int(number)].name!r} is no {inputs[int(number)].type} on {host.name}: "
            f"{str(inputs[int(number)].path)!r}",
            location=inputs[int(number)].location,
            hint="a path outside the workspace and the box is one of that host",
            exit_status=EX_MISSING_INPUT,
        )
        for number in answer.stdout.decode().split()
    ]


def bring_back(host: Host, outputs: Sequence[tuple[str, Path, str]], on_output: OnOutput) -> list[str]:
    """Bring outputs back: ``(path there, path here, type)`` each; returns those that are not there."""
    tests = [f"[ -e {quoted(path)} ] && echo {number}" for number, (path, _, _) in enumerate(outputs)]
    answer = host.shell("\n".join([*tests, ":"]) + "\n", timeout=60)
    present = {int(number) for number in answer.stdout.decode().split()}
    for number in sorted(present):
        path, target, kind = outputs[number]
        target.parent.mkdir(parents=True, exist_ok=True)
        is_directory = kind == "directory"
        host.get(path + "/" if is_directory else path, target, on_output=on_output)
    return [path for number, (path, _, _) in enumerate(outputs) if number not in present]
