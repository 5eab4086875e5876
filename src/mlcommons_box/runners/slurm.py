"""Runs boxes as jobs of a Slurm cluster, from a machine that can submit them.

Inside the job a box runs as its inner platform says.  The cluster's nodes have to see the box and its workspace at
the same paths as this machine; a job that does not says so.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mlcommons_box.command import Command
from mlcommons_box.errors import EX_UNAVAILABLE, BoxError, CannotCreateError, Problem
from mlcommons_box.host import LocalHost
from mlcommons_box.model import DockerOptions, LocalOptions, Platform, SlurmOptions
from mlcommons_box.planning import RunPlan, SetupPlan, on_platform
from mlcommons_box.runners.batch import submit
from mlcommons_box.runners.inner import inner_platform, inner_runner, problem_of
from mlcommons_box.runners.interface import Observer, Outcome, StillRunning
from mlcommons_box.runners.job import SCRIPT_FILE, Job, without_secrets
from mlcommons_box.runners.job_script import job_script
from mlcommons_box.runners.programs import which
from mlcommons_box.runners.registry import runner_for
from mlcommons_box.runners.slurm_queue import (
    SlurmBackend,
    element,
    inside_a_job,
    slurm_problems,
    submit_array,
    submit_options,
    variables_of_a_job,
)
from mlcommons_box.runners.submitted_run import SubmittedRun, begin, follow, job_directory, run_directory
from mlcommons_box.value import replace


class SlurmRunner:
    """Runs tasks as jobs of Slurm."""

    def __init__(self, platform: Platform, environ: Mapping[str, str] = os.environ) -> None:
        if not isinstance(platform.options, SlurmOptions):
            raise TypeError("the Slurm runner takes a Slurm platform")
        self.platform = platform
        self.options = platform.options
        self.environ = environ
        self.host = LocalHost()

    def is_available(self, plan: SetupPlan) -> bool:
        return False  # a queue is used by those who ask for it

    def check(self, plan: SetupPlan) -> list[Problem]:
        problems = slurm_problems(self.platform)
        if which("sbatch", self.environ) is None:
            problems.append(
                Problem(
                    code="no-engine",
                    message="there is no program 'sbatch' on this machine",
                    hint="run it on a machine from which jobs are submitted, or reach one with an SSH platform",
                    exit_status=EX_UNAVAILABLE,
                )
            )
        try:
            inner = self._inner(plan)
            inside = inner_runner(inner, self.platform, self.environ).check(self._nested(plan))
            if self._is_made_by_nodes(plan):  # and this machine need not have the engine
                inside = [each for each in inside if each.code != "no-engine"]
            return problems + inside
        except BoxError as error:
            return [*problems, problem_of(error, self.platform)]

    def _inner(self, plan: SetupPlan) -> Platform:
        return inner_platform(plan.box.root, self.options.platform)

    def _nested(self, plan: SetupPlan) -> SetupPlan:
        inner = self._inner(plan)
        return self._inside(plan) if isinstance(plan, RunPlan) else on_platform(plan, inner)

    def notes(self, plan: SetupPlan) -> list[str]:
        return runner_for(self._inner(plan)).notes(self._nested(plan))

    def commands(self, plan: SetupPlan) -> list[Command]:
        if not isinstance(plan, RunPlan):
            return runner_for(self._inner(plan)).commands(self._nested(plan))
        directory = job_directory(plan)
        script, _ = self._script(plan, shown=True)
        return [
            Command(argv=("mkdir", "-p", str(directory))),
            Command(argv=("tee", str(directory / SCRIPT_FILE)), input=script.encode("utf-8", "surrogateescape")),
            Command(argv=("sbatch", *self._options(plan), SCRIPT_FILE), directory=directory),
        ]

    def _options(self, plan: RunPlan) -> list[str]:
        return submit_options(self.platform, plan.id, self._inside(plan).timeout)

    def prepare(self, plan: SetupPlan, observer: Observer) -> None:
        if not self._is_made_by_nodes(plan):
            runner_for(self._inner(plan)).prepare(self._nested(plan), observer)

    def _is_made_by_nodes(self, plan: SetupPlan) -> bool:
        """Whether what the run needs is made where it runs: every node has its own images of Docker and Podman."""
        return isinstance(self._inner(plan).options, DockerOptions)

    def built(self, plan: SetupPlan) -> list[Path]:
        return runner_for(self._inner(plan)).built(self._nested(plan))

    def run(self, plan: RunPlan, observer: Observer) -> Outcome:
        outcome = follow(self._started(plan, observer), self.host, observer, run_directory(plan))
        if outcome is None:
            raise StillRunning(plan.id, self.host.name)
        return outcome

    def start(self, plan: RunPlan, observer: Observer) -> None:
        """Start a run, and leave it to itself."""
        self._started(plan, observer)

    def _started(self, plan: RunPlan, observer: Observer) -> SubmittedRun:
        self.prepare(plan, observer)
        script, job = self._script(plan)
        directory = job_directory(plan)
        backend = SlurmBackend(self._options(plan))
        with self._nothing_left([plan]):
            submitted = submit(self.host, backend, str(directory), plan.id, script)
        run = self._submitted(plan, submitted.id, job)
        begin(run, self.host, run_directory(plan), observer)
        return run

    def start_all(self, plans: Sequence[RunPlan], observers: Sequence[Observer]) -> None:
        """Start many runs at once, as one job array: one request for the controller, however many they are."""
        if len(plans) == 1 or any("\n" in str(job_directory(plan)) for plan in plans):
            for plan, observer in zip(plans, observers, strict=True):
                self.start(plan, observer)
            return
        self.prepare(plans[0], observers[0])
        longest = max(plans, key=lambda plan: plan.timeout or math.inf)
        backend = SlurmBackend(self._options(longest))
        with self._nothing_left(plans):
            jobs = [self._written(plan) for plan in plans]
            array = submit_array(self.host, backend, longest.id, [str(job_directory(plan)) for plan in plans])
        runs = [
            self._submitted(plan, element(array, number), job)
            for number, (plan, job) in enumerate(zip(plans, jobs, strict=True))
        ]
        begun = 0
        try:
            for plan, run, observer in zip(plans, runs, observers, strict=True):
                begun += 1
                begin(run, self.host, run_directory(plan), observer)
        except BaseException:
            with suppress(Exception):
                unknown = [run.submitted for run in runs[begun:]]
                self.host.shell(backend.cancellation(unknown, at_once=False), timeout=60)
            raise

    def _written(self, plan: RunPlan) -> Job:
        """Write the script of a run into its directory.  Raises :class:`CannotCreateError`."""
        script, job = self._script(plan)
        path = job_directory(plan) / SCRIPT_FILE
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(0o600)
            path.write_text(script, "utf-8", "surrogateescape")
        except OSError as error:
            raise CannotCreateError(f"cannot write {str(path)!r}: {error.strerror}") from error
        return job

    def _submitted(self, plan: RunPlan, native_id: str, job: Job) -> SubmittedRun:
        """Which job has a run, so that any process can come back to it."""
        return SubmittedRun(
            queue=SlurmBackend.name,
            id=native_id,
            directory=str(job_directory(plan)),
            engine=job.engine,
            timeout=self._inside(plan).timeout,
        )

    @contextmanager
    def _nothing_left(self, plans: Sequence[RunPlan]) -> Iterator[None]:
        """Remove the directories of jobs that were not taken: a job that comes of one yet ends at once."""
        try:
            yield
        except BoxError:
            import shutil

            for plan in plans:
                shutil.rmtree(job_directory(plan), ignore_errors=True)
            raise

    def _inside(self, plan: RunPlan) -> RunPlan:
        """The run on the platform that the job hands over to."""
        return on_platform(plan, inside_a_job(self._inner(plan)))

    def _script(self, plan: RunPlan, *, shown: bool = False) -> tuple[str, Job]:
        """The script of a run; ``shown`` is one without secrets."""
        nested = self._inside(plan)
        environ = variables_of_a_job(self.environ)
        job = inner_runner(nested.platform, self.platform, environ).job(nested)
        if isinstance(nested.platform.options, LocalOptions):
            job = replace(job, needs=())  # its environment was made here, and a node need not have what makes one
        return job_script(without_secrets(job) if shown else job, nested, job_directory(plan), environ, {}), job
