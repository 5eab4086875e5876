"""Runs boxes on a host that OpenSSH reaches, on whatever engine that host has.

Nothing of ours is needed there: a run is a script for ``sh``, which goes on when the connection is lost.  The box
and its inputs are brought there, outputs and logs come back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlcommons_box.errors import (
    EX_CONFIGURATION,
    EX_UNAVAILABLE,
    BoxError,
    Location,
    MissingInputError,
    Problem,
    ProblemsError,
    UnavailableError,
)
from mlcommons_box.host import Login, SshHost
from mlcommons_box.model import LocalOptions, Platform, SlurmOptions, SshOptions
from mlcommons_box.planning import RunPlan, SetupPlan, on_platform
from mlcommons_box.process import Answer, Command
from mlcommons_box.runners.batch import BatchBackend, JobState, submit
from mlcommons_box.runners.failures import tail
from mlcommons_box.runners.inner import inner_platform, inner_runner, problem_of
from mlcommons_box.runners.interface import Observer, Outcome, StillRunning
from mlcommons_box.runners.job import SCRIPT_FILE, Elsewhere, job_script, without_secrets
from mlcommons_box.runners.programs import which
from mlcommons_box.runners.submitted_run import SubmittedRun, follow, outputs_of, run_directory, write
from mlcommons_box.runners.transfer import There, find, missing_there, send
from mlcommons_box.value import replace


class ProcessBackend:
    """No queue: a run is a process of the host, which goes on by itself."""

    name = "process"
    place: str | None = None

    def submission(self, directory: str, run_id: str) -> str:
        return (
            f"if command -v setsid >/dev/null 2>&1; then session=setsid; else session=nohup; fi\n"
            f"$session sh ./{SCRIPT_FILE} </dev/null >/dev/null 2>>preparation.log &\n"
            "boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)\n"
            'printf "%s %s\\n" "$!" "$boot" >process.partial && mv -f process.partial process && echo "$!"'
        )

    def native_id(self, said: str) -> str:
        if not said.strip().isdigit():
            raise ValueError(repr(said[:60]))
        return said.strip()

    def question(self, ids: Sequence[str]) -> str:
        return ""

    def states(self, ids: Sequence[str], answer: Answer) -> Mapping[str, JobState]:
        return {}

    def cancellation(self, ids: Sequence[str], *, at_once: bool) -> str:
        # The script passes the request on, and kills its task when it is asked again.
        return "\n".join(f"kill -s TERM {each} 2>/dev/null" for each in ids) + "\n:"

    def refused(self, answer: Answer) -> BoxError:
        return UnavailableError(f"the run cannot be started there\n{tail(answer.stderr)}")


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
        where = self.platform.location or Location(file=str(self.platform.file))
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
                    location=where,
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
        """A run prepares what is missing there."""

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
        write(run, run_directory(plan))
        observer.started(run.native_id)
        return run

    def _backend(self, plan: RunPlan) -> BatchBackend:
        inner = self._inner(plan)
        if not isinstance(inner.options, SlurmOptions):
            return ProcessBackend()
        from mlcommons_box.runners.slurm_queue import SlurmBackend, submit_options

        innermost = on_platform(on_platform(plan, inner), inner_platform(plan.box.root, inner.options.platform))
        return SlurmBackend(submit_options(inner, plan.id, innermost.timeout))

    def _script(self, plan: RunPlan, there: There, *, shown: bool = False) -> tuple[str, str | None]:
        """The script of the run over there, and the engine that it uses; ``shown`` is one without secrets."""
        inner = self._inner(plan)
        nested = on_platform(plan, inner)
        if isinstance(inner.options, SlurmOptions):
            inner = inner_platform(plan.box.root, inner.options.platform)
            nested = on_platform(nested, inner)
        if isinstance(inner.options, LocalOptions) and inner.options.python is None and self.options.python:
            there = replace(there, python=self.options.python)
        elsewhere = Elsewhere(
            box=plan.box.root, programs=there.programs, python=there.python, python_identity=there.python_identity
        )
        given = {each.name for each in plan.environment if each.value is None}
        variables = {name: "***" if shown else self.environ[name] for name in sorted(given & self.environ.keys())}
        known = {**there.environ, **variables}
        runner = inner_runner(inner, self.platform, known, there.caller, elsewhere)
        moved = there.plan(nested)
        problems = runner.check(moved)
        if problems:
            raise ProblemsError(problems)
        job = runner.job(moved)
        if shown:
            job = without_secrets(job)
        script = job_script(job, moved, Path(there.run_directory(plan)), there.environ, variables)
        return script, job.engine
