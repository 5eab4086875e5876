"""Looks at another host: who we are there, what it has, and where a box is on it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from mlcommons_box.cache import file_name_of
from mlcommons_box.errors import (
    CannotCreateError,
    UnavailableError,
)
from mlcommons_box.host import Host
from mlcommons_box.planning import P, RunPlan, SetupPlan, holds
from mlcommons_box.runners.container_run import Caller
from mlcommons_box.runners.failures import tail
from mlcommons_box.runners.sent_files import SENT_FILE, noted
from mlcommons_box.shell_script import quoted
from mlcommons_box.value import Value, replace

PROGRAMS = (
    "docker", "podman", "nvidia-docker", "apptainer", "singularity", "uv", "rsync", "sbatch", "python3",
)  # fmt: skip
"""What is looked for on a host."""
SILENT_SHELL = "a shell that is not for a person has to be silent there: look at ~/.bashrc and ~/.profile"
_NUMBERS = r"[0-9]{1,10}( [0-9]{1,10})+ *"


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

    def plan(self, plan: P) -> P:
        """The same over there."""
        box = replace(plan.box, root=self.box)
        if not isinstance(plan, RunPlan):
            return replace(plan, box=box, workspace=self.workspace, ca_bundle=None)
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
    python = quoted(interpreter)
    lines = [
        f"place={quoted(place.removeprefix('~/'))}",
        'case "$place" in (/*) ;; (*) place=$HOME/$place ;; esac',
        'umask 077; mkdir -p -- "$place" || exit 73',
        'printf \'%s\\0\' "$place" "$(id -u)" "$(id -g)" "$(id -G)"',
        f'for program in {" ".join(PROGRAMS)}; do printf \'%s\\0\' "$(command -v "$program")"; done',
        # What tells one Python from another; to ask Python itself would take longer than all the rest.
        f'printf \'%s\\0\' "$({python} -V 2>&1; readlink -f "$(command -v {python})"; uname -sm)"',
        'cat -- "$place/' + SENT_FILE + '" 2>/dev/null',
        "printf '\\0'",
        "env -0 2>/dev/null || env | tr '\\n' '\\0'",
    ]
    answer = host.shell("\n".join(lines) + "\n", timeout=60)
    parts = answer.stdout.decode("utf-8", "surrogateescape").split("\0")
    head = 4 + len(PROGRAMS) + 1
    is_said = len(parts) >= head + 2 and parts[0].startswith("/") and re.fullmatch(_NUMBERS, " ".join(parts[1:4]))
    if answer.succeeded and not is_said:
        raise UnavailableError(
            f"{host.name} did not say who we are there\n{tail(' '.join(parts[:4]))}", hint=SILENT_SHELL
        )
    if not answer.succeeded:
        raise CannotCreateError(
            f"cannot make the directory {place!r} on {host.name}\n{tail(answer.stderr)}",
            hint="name another 'directory' in the platform file",
        )
    box = Path(parts[0])
    variables = (each.partition("=") for each in parts[head + 1 :] if "=" in each)
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
        sent=noted(parts[head]),
    )
