"""The Singularity runner: Apptainer or SingularityCE, by their command line.

A task runs as the caller, cut off from the caller's files, environment and processes but for what its parameters
name.  Its home and its ``/tmp`` are a scratch directory of its own, which is gone when the task has ended.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mlcommons_box.command import Command
from mlcommons_box.errors import EX_CONFIGURATION, CannotCreateError, Problem, UnavailableError
from mlcommons_box.planning import RunPlan, SetupPlan
from mlcommons_box.process import stream
from mlcommons_box.runners.container_run import unsupported
from mlcommons_box.runners.engine_failures import SINGULARITY_FAILURES
from mlcommons_box.runners.failures import HeldBack, explained, explanation
from mlcommons_box.runners.identity import Identity
from mlcommons_box.runners.interface import NotPrepared, Observer, Outcome, outcome_of
from mlcommons_box.runners.made_from import asking, noting
from mlcommons_box.runners.mounts import mount_problems
from mlcommons_box.runners.singularity_command import EXECUTABLES, SingularityCommands
from mlcommons_box.value import replace

if TYPE_CHECKING:
    from mlcommons_box.runners.job import Job

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


class SingularityRunner(SingularityCommands):
    """Runs tasks in containers of Apptainer or Singularity."""

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


def is_failure(exit_status: int, said: bytes) -> bool:
    """Whether a run that ended so, and said that first, is one that the engine could not start."""
    fails = _FAILS.get(exit_status)
    return fails is not None and re.search(fails, said) is not None
