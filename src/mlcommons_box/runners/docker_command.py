"""What is said to Docker and Podman: the command lines of a run, which start nothing by themselves."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from mlcommons_box.command import CallerVariable, Command
from mlcommons_box.model import DockerOptions, Platform
from mlcommons_box.planning import RunPlan
from mlcommons_box.runners.container_run import (
    ROOT_CAPABILITIES,
    Caller,
    fields,
    goes_by_name,
    limits,
    task_environment,
)
from mlcommons_box.runners.mounts import Mount, container_mounts
from mlcommons_box.runners.programs import which
from mlcommons_box.runners.site_settings import CA_FILE

if TYPE_CHECKING:
    from mlcommons_box.runners.job import Elsewhere

HOME = "/tmp"  # noqa: S108  # in the container, where any user may write
_CA_TARGET = PurePosixPath(CA_FILE)
SELINUX = Path("/sys/fs/selinux/enforce")


class DockerCommands:
    """The command lines for one platform, for the engine of this machine or of another."""

    def __init__(
        self,
        platform: Platform,
        environ: Mapping[str, str] = os.environ,
        caller: Caller | None = None,
        selinux: bool | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        if not isinstance(platform.options, DockerOptions):
            raise TypeError("the Docker runner takes a Docker platform")
        self.platform = platform
        self.options = platform.options
        self.environ = environ
        self.caller = caller or Caller.of_this_process()
        self.elsewhere = elsewhere
        self.selinux = _selinux_enforces() if selinux is None else selinux
        self.is_podman = self.options.executable == "podman"
        self.rootless = self.is_podman and self.caller.uid != 0

    @cached_property
    def executable(self) -> str:
        """The client to call; ``nvidia-docker`` is ``docker`` where there is no such wrapper any more."""
        named = self.options.executable
        if named == "nvidia-docker" and self._which(named) is None:
            return "docker"
        return named

    def _which(self, name: str) -> str | None:
        return self.elsewhere.programs.get(name) if self.elsewhere else which(name, self.environ)

    def identify(self) -> tuple[Command, ...]:
        """The commands that say which image and which engine it is."""
        image = "image {{.Id}}{{range .RepoDigests}}{{println}}digest {{.}}{{end}}"
        which_part = "Client" if self.is_podman else "Server"
        name = "podman" if self.is_podman else "docker"
        return (
            Command(argv=(self.executable, "image", "inspect", "--format", image, self.options.image)),
            Command(argv=(self.executable, "version", "--format", f"engine {name} {{{{.{which_part}.Version}}}}")),
        )

    def run_command(self, plan: RunPlan) -> Command:
        """The one command that runs the task."""
        mounts = container_mounts(plan)
        added: list[tuple[str, str | CallerVariable]] = []
        argv = [self.executable, "run", "--rm", "--init", "--pull", "never", "--name", container_name(plan)]
        argv += self._security(plan)
        certificates = plan.ca_bundle and Mount(source=plan.ca_bundle, target=_CA_TARGET, writable=False)
        argv += self._mounts(plan, *mounts.mounts, *([certificates] if certificates else []))
        for name, value in task_environment(plan, self.environ, HOME).items():
            by_name = isinstance(value, CallerVariable) or goes_by_name(name, value)
            argv += ["--env", name if by_name else f"{name}={value}"]
            if by_name and isinstance(value, str):
                added.append((name, value))  # a secret is no argument, which every user of the machine could read
        for key, text in (("box", plan.box.name), ("task", plan.task.name), ("run", plan.id)):
            argv += ["--label", f"org.mlcommons.box.{key}={text}"]
        argv += [
            *self._resources(plan.devices),
            *self.platform.arguments,
            self.options.image,
            plan.task.name,
            *mounts.arguments,
        ]
        return Command(argv=tuple(argv), added=tuple(added))

    def _security(self, plan: RunPlan) -> list[str]:
        words = [*self._identity(), "--cap-drop", "ALL"]
        if self._is_root():
            words += [word for name in ROOT_CAPABILITIES for word in ("--cap-add", name)]
        words += ["--security-opt", "no-new-privileges"]
        if plan.network == "none":
            words += ["--network", "none"]
        return words

    def _is_root(self) -> bool:
        """Whether the platform file says that the task is root in its container."""
        return (self.platform.user or "").partition(":")[0] in ("root", "0")

    def _identity(self) -> list[str]:
        user = self.platform.user
        if self.rootless and user is None:
            return ["--userns", "keep-id", "--user", f"{self.caller.uid}:{self.caller.gid}"]
        if user is not None:
            return ["--user", user]
        groups = (
            [] if self.is_podman else [word for gid in self.caller.groups for word in ("--group-add", str(gid))]
        )
        return ["--user", f"{self.caller.uid}:{self.caller.gid}", *groups]

    def _mounts(self, plan: RunPlan, *mounts: Mount) -> list[str]:
        """The mounts, and what SELinux asks for: only what lies in the workspace is ours to give another label."""
        workspace = Path(os.path.realpath(plan.workspace))
        relabels = self.is_podman and all(mount.source.is_relative_to(workspace) for mount in mounts)
        words = ["--security-opt", "label=disable"] if self.selinux and not relabels else []
        for mount in mounts:
            flags = [] if mount.writable else ["ro=true" if self.is_podman else "readonly"]
            if self.selinux and relabels:
                flags.append("relabel=shared")
            words += ["--mount", fields(*flags, type="bind", source=mount.source, target=mount.target)]
        return words

    def _resources(self, devices: Sequence[str]) -> list[str]:
        words = limits(self.platform.resources)
        if devices and self.is_podman:
            return [*words, *(word for name in devices for word in ("--device", f"nvidia.com/gpu={name}"))]
        if devices:  # a record of CSV, in which the quotes keep the names together
            listed = ",".join(devices)
            return [*words, "--gpus", f'"device={listed}"' if len(devices) > 1 else f"device={listed}"]
        gpus = self.platform.resources.gpus
        if gpus is None and self.options.executable == "nvidia-docker" and self.executable == "docker":
            gpus = "all"
        if gpus and self.is_podman:
            names = ["all"] if gpus == "all" else [str(number) for number in range(gpus)]
            words += [word for name in names for word in ("--device", f"nvidia.com/gpu={name}")]
        elif gpus:
            words += ["--gpus", str(gpus)]
        return words

    def hand_over_command(self, plan: RunPlan) -> Command:
        """Makes the caller the owner of all outputs, by the image's own ``chown``."""
        mounts = container_mounts(plan).mounts
        owner = "0:0" if self.rootless else f"{self.caller.uid}:{self.caller.gid}"
        argv = [self.executable, "run", "--rm", "--pull", "never", "--network", "none", "--user", "0:0"]
        argv += ["--cap-drop", "ALL", "--cap-add", "CHOWN", "--cap-add", "DAC_OVERRIDE"]
        argv += ["--security-opt", "no-new-privileges"]
        argv += self._mounts(plan, *mounts)
        argv += ["--entrypoint", "chown", self.options.image, "-R", "-h", owner]
        return Command(argv=(*argv, *(str(mount.target) for mount in mounts if mount.writable)))


def container_name(plan: RunPlan) -> str:
    """The name of a run's container, by which it can be found from anywhere."""
    return f"mlbox-{plan.id}"


def _selinux_enforces() -> bool:
    try:
        return SELINUX.read_text().strip() == "1"
    except OSError:
        return False
