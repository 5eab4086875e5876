"""What is said to Apptainer and SingularityCE: the command line of a run, which starts nothing by itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mlcommons_box.command import CallerVariable, Command
from mlcommons_box.model import Platform, SingularityOptions
from mlcommons_box.planning import RunPlan, SetupPlan
from mlcommons_box.runners.container_run import Caller, fields, limits, task_environment
from mlcommons_box.runners.devices import VARIABLE, first_devices
from mlcommons_box.runners.mounts import container_mounts, of_the_kernel
from mlcommons_box.runners.programs import which
from mlcommons_box.runners.singularity_image import SingularityImage, variable_prefix
from mlcommons_box.runners.site_settings import CA_FILE

if TYPE_CHECKING:
    from mlcommons_box.runners.job import Elsewhere

EXECUTABLES = ("apptainer", "singularity")
HOME = "/mlbox_home"
"""The task's home in the container."""


class SingularityCommands:
    """The command lines for one platform, for the engine of this machine or of another."""

    def __init__(
        self,
        platform: Platform,
        environ: Mapping[str, str] = os.environ,
        caller: Caller | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        if not isinstance(platform.options, SingularityOptions):
            raise TypeError("the Singularity runner takes a Singularity platform")
        self.platform = platform
        self.options = platform.options
        self.environ = environ
        self.caller = caller or Caller.of_this_process()
        self.elsewhere = elsewhere

    @cached_property
    def executable(self) -> str:
        """The program that is here; ``apptainer`` when there is neither."""
        return next((name for name in EXECUTABLES if self._which(name)), EXECUTABLES[0])

    def _which(self, name: str) -> str | None:
        return self.elsewhere.programs.get(name) if self.elsewhere else which(name, self.environ)

    def image(self, plan: SetupPlan) -> SingularityImage:
        """The image file that the platform names."""
        return SingularityImage(
            written=self.options.image,
            executable=self.executable,
            box=plan.box,
            workspace=plan.workspace,
            ca_bundle=plan.ca_bundle,
            environ=self.environ,
            box_here=self.elsewhere.box if self.elsewhere else None,
        )

    def scratch(self, plan: RunPlan) -> Path:
        """The directory that holds the task's home and ``/tmp`` while it runs."""
        return Path(os.path.abspath(self.environ.get("TMPDIR") or "/tmp"), f"mlbox-{plan.id}")  # noqa: S108

    def run_command(self, plan: RunPlan) -> Command:
        """The one command that runs the task."""
        mounts = container_mounts(plan)
        scratch = self.scratch(plan)
        argv = [self.executable, "--quiet", "run", "--cleanenv", "--containall", "--no-eval"]
        argv += ["--home", f"{scratch / 'home'}:{HOME}", "--workdir", str(scratch / "work")]
        kernel = of_the_kernel(here=self.elsewhere is None) if self.caller.uid == 0 else ()
        for mount in (*kernel, *mounts.mounts):
            flags = () if mount.writable else ("ro",)
            argv += ["--mount", fields(*flags, type="bind", source=mount.source, destination=mount.target)]
        if plan.ca_bundle:
            argv += ["--mount", fields("ro", type="bind", source=plan.ca_bundle, destination=CA_FILE)]
        if plan.network == "none":
            argv += ["--net", "--network", "none"]
        if self.platform.user == "root":
            argv.append("--fakeroot")
        elif self.caller.uid == 0:  # to whom Apptainer otherwise leaves all capabilities
            argv.append("--no-privs")
        argv += [*self._resources(plan), *self.platform.arguments]
        argv += [str(self.image(plan).path), plan.task.name, *mounts.arguments]
        return Command(argv=tuple(argv), added=tuple(self._environment(plan)), removed=self._not_for_the_task())

    def _not_for_the_task(self) -> tuple[str, ...]:
        """What of the caller's variables the engine would hand to every task: values, and paths to mount."""
        beginnings = ("APPTAINERENV_", "SINGULARITYENV_", "APPTAINER_BIND", "SINGULARITY_BIND")
        return tuple(sorted(name for name in self.environ if name.startswith(beginnings)))

    def _environment(self, plan: RunPlan) -> list[tuple[str, str | CallerVariable]]:
        """The task's variables, as the engine takes them: by variables of its own, so that none is an argument."""
        variables = task_environment(plan, self.environ, HOME)
        del variables["HOME"]  # it follows from --home
        gpus = self.platform.resources.gpus
        if plan.devices:
            variables.setdefault(VARIABLE, ",".join(plan.devices))
        elif isinstance(gpus, int) and gpus:
            variables.setdefault(VARIABLE, first_devices(gpus, self.environ))
        elif gpus == "all" and VARIABLE in self.environ:
            variables.setdefault(VARIABLE, CallerVariable(name=VARIABLE))
        prefix = variable_prefix(self.executable)
        return [(f"{prefix}{name}", value) for name, value in variables.items()]

    def _resources(self, plan: RunPlan) -> list[str]:
        resources = self.platform.resources
        return [*limits(resources), *(["--nv"] if resources.gpus or plan.devices else [])]
