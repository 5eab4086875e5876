"""The Singularity runner: Apptainer or SingularityCE, by their command line.

A task runs as the caller, cut off from the caller's files, environment and processes but for what its parameters
name.  Its home and its ``/tmp`` are a scratch directory of its own, which is gone when the task has ended.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mlcommons_box.command import CallerVariable, Command
from mlcommons_box.errors import EX_CONFIGURATION, CannotCreateError, Problem, UnavailableError
from mlcommons_box.model import Platform, SingularityOptions
from mlcommons_box.planning import RunPlan, SetupPlan
from mlcommons_box.process import stream
from mlcommons_box.runners.container_run import Caller, fields, limits, task_environment, unsupported
from mlcommons_box.runners.devices import VARIABLE, first_devices
from mlcommons_box.runners.engine_failures import SINGULARITY_FAILURES
from mlcommons_box.runners.failures import HeldBack, explained, explanation
from mlcommons_box.runners.identity import Identity
from mlcommons_box.runners.interface import NotPrepared, Observer, Outcome, outcome_of
from mlcommons_box.runners.made_from import asking, noting
from mlcommons_box.runners.mounts import container_mounts, mount_problems, of_the_kernel
from mlcommons_box.runners.programs import which
from mlcommons_box.runners.singularity_image import SingularityImage, variable_prefix
from mlcommons_box.runners.site_settings import CA_FILE
from mlcommons_box.value import replace

if TYPE_CHECKING:
    from mlcommons_box.runners.job import Elsewhere, Job

EXECUTABLES = ("apptainer", "singularity")
HOME = "/mlbox_home"
"""The task's home in the container."""
_SAYS = (
    *(b"FATAL:   ", b"ERROR  : ", b"\x1b[31mFATAL:   ", b"\x1b[91mERROR  : "),
    *(b"Error for command", b"WARNING: skipping mount"),
)
"""How an error of Apptainer's own begins, or a warning before it."""
_FAILS = {
    255: rb"(?m)^(?:\x1b\[\d+m)?FATAL:   ",
    1: rb"(?m)^(?:\x1b\[\d+m)?(?:ERROR  : |Error for command)",
}
"""What it says when it could not start the task, by its exit status; a task may end with that status too."""


class SingularityRunner:
    """Runs tasks in containers of Apptainer or Singularity."""

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

    def is_available(self, plan: SetupPlan) -> bool:
        return self._which(self.executable) is not None and self.image(plan).is_within_reach()

    def check(self, plan: SetupPlan) -> list[Problem]:
        user = self.platform.user
        asked = [] if user in (None, "root") else ["user"]
        problems = unsupported(
            self.platform,
            "the Singularity runner, where a task runs as the caller,",
            asked,
            "remove it, or write 'user: root' for an image that insists on root",
        )
        if isinstance(plan, RunPlan):
            problems += unsupported(
                self.platform,
                "the Singularity runner, which gives every task a home of its own,",
                [each.name for each in plan.environment if each.name == "HOME"],
                "remove it, or give the program another variable",
            )
            problems += mount_problems(plan)
            if ":" in str(self.scratch(plan)):
                problems.append(
                    Problem(
                        code="cannot-mount",
                        message=f"the scratch directory {str(self.scratch(plan))!r} has a colon in its name",
                        hint="set TMPDIR to another directory",
                        exit_status=EX_CONFIGURATION,
                    )
                )
        if self._which(self.executable) is None:
            problems.append(
                Problem(
                    code="no-engine",
                    message="there is neither 'apptainer' nor 'singularity' on this machine",
                    hint="install Apptainer (apptainer.org), or use another platform; "
                    "'mlbox doctor' shows what is here",
                    exit_status=UnavailableError.exit_status,
                )
            )
        missing = self.image(plan).undefined_variables()
        if missing:
            where = self.platform.place
            problems.append(
                Problem(
                    code="undefined-variable",
                    message=f"the image {self.options.image!r} names variables that are not set: "
                    f"{', '.join(missing)}",
                    location=where,
                    hint="set them, or write the path out",
                    exit_status=EX_CONFIGURATION,
                )
            )
        return problems

    def notes(self, plan: SetupPlan) -> list[str]:
        image = self.image(plan)
        if isinstance(plan, RunPlan) and image.was_made_before_a_change():
            return [f"build/ has changed since {image.path.name} was made; 'mlbox configure' makes it anew"]
        return []

    def commands(self, plan: SetupPlan) -> list[Command]:
        image = self.image(plan)
        if not isinstance(plan, RunPlan):
            return image.commands()
        scratch = self.scratch(plan)
        return [
            *([] if image.path.exists() else image.commands()),
            Command(argv=("mkdir", "-p", "-m", "700", str(scratch / "home"), str(scratch / "work"))),
            self.run_command(plan),
            Command(argv=("rm", "-rf", str(scratch))),
        ]

    def prepare(self, plan: SetupPlan, observer: Observer) -> None:
        if self.options.engine_version is not None:
            from mlcommons_box.runners.engine_version import check_engine_version

            check_engine_version(self.platform, self.executable, self.options.engine_version)
        self.image(plan).ensure(observer)

    def built(self, plan: SetupPlan) -> list[Path]:
        image = self.image(plan)
        return [image.path] if image.is_ours() else []

    def run(self, plan: RunPlan, observer: Observer) -> Outcome:
        if not self.image(plan).path.exists():
            raise NotPrepared

        def started(pid: int) -> None:
            observer.started(str(pid))
            import shutil  # noqa: F401  # while the engine starts: it takes a while to load, and is needed at the end

        scratch = self.scratch(plan)
        engine = HeldBack(observer, _SAYS)
        try:
            try:
                for name in ("home", "work"):
                    (scratch / name).mkdir(parents=True, mode=0o700)
            except OSError as error:
                raise CannotCreateError(
                    f"cannot create the scratch directory {str(scratch)!r}: {error.strerror}",
                    hint="set TMPDIR to a directory that you can write to",
                ) from error
            completed = stream(
                self.run_command(plan),
                on_output=engine.output,
                on_wait=engine.wait,
                on_start=started,
                timeout=plan.timeout,
                mark=plan.id,
                contained=True,
            )
        finally:
            import shutil

            shutil.rmtree(scratch, ignore_errors=True)
        is_ended_by_us = completed.timed_out or completed.interrupted_by is not None
        if not is_ended_by_us and is_failure(completed.exit_status, engine.held):
            said = engine.held.decode("utf-8", "replace")
            action = f"{self.executable} cannot start the task"
            message, hint = explanation(action, said, explained(said, SINGULARITY_FAILURES))
            raise UnavailableError(message, hint=hint)
        engine.release()
        return replace(outcome_of(completed, plan.timeout), usage=completed.usage)

    def job(self, plan: SetupPlan) -> Job:
        from mlcommons_box.runners.job import Job

        image = self.image(plan)
        preparation: tuple[Command, ...] = (
            Command(argv=("mkdir", "-p", "--", str(image.path.parent))),
            *image.commands(),
            Command(argv=("mv", "-f", "--", str(image.partial), str(image.path))),
        )
        version, checksum = (self.executable, "--version"), ("sha256sum", "--", str(image.path))
        identify: tuple[Command, ...] = (Command(argv=version), Command(argv=checksum))
        if image.is_built():
            preparation = noting(image.made_from, (image.box_here or image.box.root) / "build", *preparation)
            identify = (*identify, asking(image.made_from))
        prepared = Job(
            needs=(EXECUTABLES,),
            is_ready=(Command(argv=("test", "-e", str(image.path))),),
            preparation=preparation,
            lock=image.lock,
            engine=self.executable,
            identify=identify,
        )
        if not isinstance(plan, RunPlan):
            return prepared
        scratch = self.scratch(plan)
        directories = (str(scratch / "home"), str(scratch / "work"))
        return replace(
            prepared,
            before=(Command(argv=("mkdir", "-p", "-m", "700", "--", *directories)),),
            task=self.run_command(plan),
            after=(Command(argv=("rm", "-rf", "--", str(scratch))),),
            asks="contained",
        )

    def identity(self, plan: SetupPlan) -> Identity:
        from mlcommons_box.runners.identity import identity_of, remembered_answer, remembered_digest

        command = Command(argv=(self.executable, "--version"))
        engine = identity_of(remembered_answer(command, [self._which(self.executable)], self.environ)).engine
        image = self.image(plan)
        digest = remembered_digest(image.path, self.environ)
        doubt = f"build/ has changed since {image.path.name} was made" if image.was_made_before_a_change() else None
        return Identity(image={"id": f"sha256:{digest}"} if digest else {}, engine=engine, doubt=doubt)

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


def is_failure(exit_status: int, said: bytes) -> bool:
    """Whether a run that ended so, and said that first, is one that the engine could not start."""
    fails = _FAILS.get(exit_status)
    return fails is not None and re.search(fails, said) is not None
