"""Runs boxes on a host that OpenSSH reaches, on whatever engine that host has.

Nothing of ours is needed there: a run is a script for ``sh``, which goes on when the connection is lost.  The box
and its inputs are brought there, outputs and logs come back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from mlcommons_box.command import Command
from mlcommons_box.errors import (
    EX_CONFIGURATION,
    EX_UNAVAILABLE,
    BoxError,
    Interrupted,
    MissingInputError,
    PreparationError,
    Problem,
    ProblemsError,
)
from mlcommons_box.host import Login, SshHost
from mlcommons_box.model import Platform, SlurmOptions, SshOptions
from mlcommons_box.planning import P, RunPlan, SetupPlan, new_run_id, on_platform
from mlcommons_box.runners.batch import BatchBackend, submit
from mlcommons_box.runners.follower import Follower
from mlcommons_box.runners.inner import inner_platform, inner_runner, problem_of
from mlcommons_box.runners.interface import Observer, Outcome, StillRunning
from mlcommons_box.runners.job import Elsewhere, Job, without_secrets
from mlcommons_box.runners.job_script import job_script, preparation_script
from mlcommons_box.runners.process_queue import ProcessBackend
from mlcommons_box.runners.programs import which
from mlcommons_box.runners.submitted_run import SubmittedRun, begin, follow, outputs_of, run_directory
from mlcommons_box.runners.there import There, find
from mlcommons_box.runners.transfer import missing_there, send
from mlcommons_box.shell_script import quoted
from mlcommons_box.value import replace


class SshRunner:
    """Runs tasks on another host."""

    def __init__(self, platform: Platform, environ: Mapping[str, str] = os.environ) -> None:
        if not isinstance(platform.options, SshOptions):
            raise TypeError("the SSH runner takes an SSH platform")
        self.platform = platform
        self.options = platform.options
        self.environ = environ

    @property
    def login(self) -> Login:
        """How to reach the host."""
        options = self.options
        return Login(host=options.host, user=options.user, port=options.port, identity_file=options.identity_file)

    def is_available(self, plan: SetupPlan) -> bool:
        return False  # nobody is sent to another machine unasked

    def check(self, plan: SetupPlan) -> list[Problem]:
        problems = []
        for program, package in (("ssh", "OpenSSH's client"), ("rsync", "rsync")):
            if which(program, self.environ) is None:
                message = f"there is no program {program!r} on this machine"
                problems.append(
                    Problem(
                        code="no-engine", message=message, hint=f"install {package}", exit_status=EX_UNAVAILABLE
                    )
                )
        if plan.ca_bundle is not None:
            problems.append(
                Problem(
                    code="unsupported",
                    message="--ca-bundle names certificates of this machine, not of a host that SSH reaches",
                    location=self.platform.place,
                    hint="prepare the box over there with them, or leave them out",
                    exit_status=EX_CONFIGURATION,
                )
            )
        try:
            inner = self._inner(plan)
            if isinstance(inner.options, SlurmOptions):
                from mlcommons_box.runners.slurm_queue import slurm_problems

                problems += slurm_problems(inner)
                inner = inner_platform(plan.box.root, inner.options.platform)
            inner_runner(inner, self.platform)
        except BoxError as error:
            problems.append(problem_of(error, self.platform))
        return problems

    def _inner(self, plan: SetupPlan) -> Platform:
        return inner_platform(plan.box.root, self.options.platform)

    def notes(self, plan: SetupPlan) -> list[str]:
        return []

    def commands(self, plan: SetupPlan) -> list[Command]:
        """What would run here and there.  Only the host itself can tell who we are there and what is there."""
        if not isinstance(plan, RunPlan):
            return []
        host = SshHost(self.login, self.environ)
        there = There.unknown(plan, self.options.directory)
        script, _ = self._script(plan, there, shown=True)
        box = f"{self.options.host}:{str(there.box).removeprefix('$HOME/')}/"
        return [
            Command(argv=("rsync", "--archive", f"{plan.box.root}/", box)),
            host.shell_command(script),
        ]

    def prepare(self, plan: SetupPlan, observer: Observer) -> None:
        with self._host() as host:
            observer.preparing(f"connecting to {host.name}")
            try:
                there = find(host, plan, self.options.directory, self.options.python)
                observer.preparing(f"bringing the box to {host.name}")
                send(host, plan, there, lambda _, chunk: observer.preparation_output(chunk))
                job = self._inner_job(plan, there, there.environ)
                name = f"configure-{new_run_id()}"
                directory = there.workspace / ".mlbox" / name
                script = preparation_script(job, directory, there.environ)
                try:
                    submitted = submit(host, ProcessBackend(), str(directory), name, script)
                    outcome = Follower(host, ProcessBackend(), submitted, observer).follow()
                finally:
                    with suppress(BoxError):
                        host.shell(f"rm -rf -- {quoted(directory)}", timeout=60)
            finally:
                observer.prepared()
        if outcome is None or outcome.status == "cancelled":
            raise Interrupted(2 if outcome is None else outcome.exit_status - 128)
        if outcome.status != "succeeded":
            raise PreparationError(f"the preparation on {host.name} is lost: {outcome.reason}")

    def built(self, plan: SetupPlan) -> list[Path]:
        return []

    def run(self, plan: RunPlan, observer: Observer) -> Outcome:
        with self._host() as host:
            run = self._started(plan, host, observer)
            outcome = follow(run, host, observer, run_directory(plan))
        if outcome is None:
            raise StillRunning(plan.id, host.name)
        return outcome

    def start(self, plan: RunPlan, observer: Observer) -> None:
        """Start a run, and leave it to itself."""
        with self._host() as host:
            self._started(plan, host, observer)

    @contextmanager
    def _host(self) -> Iterator[SshHost]:
        host = SshHost(self.login, self.environ)
        try:
            yield host
        finally:
            host.close()

    def _started(self, plan: RunPlan, host: SshHost, observer: Observer) -> SubmittedRun:
        observer.preparing(f"connecting to {host.name}")
        try:
            there = find(host, plan, self.options.directory, self.options.python)
            missing = missing_there(host, plan)
            if missing:
                raise MissingInputError(missing)
            if self.options.synchronize:
                observer.preparing(f"bringing the box to {host.name}")
                send(host, plan, there, lambda _, chunk: observer.preparation_output(chunk))
            script, engine = self._script(plan, there)
            directory = there.run_directory(plan)
            backend = self._backend(plan)
            observer.preparing(f"starting the run on {host.name}")
            submitted = submit(host, backend, directory, plan.id, script)
        finally:
            observer.prepared()
        run = SubmittedRun(
            queue=backend.name,
            id=submitted.id,
            directory=directory,
            login=self.login,
            engine=engine,
            box=str(there.box),
            outputs=outputs_of(plan, there.plan(plan)),
            timeout=plan.timeout,
        )
        begin(run, host, run_directory(plan), observer)
        return run

    def _backend(self, plan: RunPlan) -> BatchBackend:
        inner = self._inner(plan)
        if not isinstance(inner.options, SlurmOptions):
            return ProcessBackend()
        from mlcommons_box.runners.slurm_queue import SlurmBackend, submit_options

        return SlurmBackend(submit_options(inner, plan.id, self._innermost(plan).timeout))

    def _script(self, plan: RunPlan, there: There, *, shown: bool = False) -> tuple[str, str | None]:
        """The script of the run over there, and the engine that it uses; ``shown`` is one without secrets."""
        given = {each.name for each in plan.environment if each.value is None}
        variables = {name: "***" if shown else self.environ[name] for name in sorted(given & self.environ.keys())}
        environ = self._environ(plan, there)
        job = self._inner_job(plan, there, {**environ, **variables})
        if shown:
            job = without_secrets(job)
        moved = there.plan(self._innermost(plan))
        script = job_script(job, moved, Path(there.run_directory(plan)), environ, variables)
        return script, job.engine

    def _environ(self, plan: RunPlan, there: There) -> Mapping[str, str]:
        """The variables that are set where the script runs."""
        if not isinstance(self._inner(plan).options, SlurmOptions):
            return there.environ
        from mlcommons_box.runners.slurm_queue import variables_of_a_job

        return variables_of_a_job(there.environ)

    def _innermost(self, plan: P) -> P:
        """The plan on the platform that it runs on in the end."""
        nested = on_platform(plan, self._inner(plan))
        options = nested.platform.options
        if isinstance(options, SlurmOptions):
            from mlcommons_box.runners.slurm_queue import inside_a_job

            nested = on_platform(nested, inside_a_job(inner_platform(plan.box.root, options.platform)))
        return nested

    def _inner_job(self, plan: SetupPlan, there: There, environ: Mapping[str, str]) -> Job:
        """What the runner over there does.  Raises :class:`ProblemsError` with what stands in its way."""
        nested = self._innermost(plan)
        elsewhere = Elsewhere(
            box=plan.box.root, programs=there.programs, python=there.python, python_identity=there.python_identity
        )
        runner = inner_runner(nested.platform, self.platform, environ, there.caller, elsewhere)
        moved = there.plan(nested)
        problems = [self._over_there(each) for each in runner.check(moved)]
        if problems:
            raise ProblemsError(problems)
        return runner.job(moved)

    def _over_there(self, problem: Problem) -> Problem:
        """A program that is not there is one that this machine need not have."""
        if problem.code != "no-engine":
            return problem
        message = problem.message.replace("on this machine", f"on {self.options.host}")
        return replace(problem, message=message, hint="install it there, or use another platform there")
