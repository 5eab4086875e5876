"""What Slurm is asked, and what its answers mean.  Pure: shell text and parsers.

How a job ended is learned from what it wrote itself, so that clusters without accounting are served as well; the
queue is asked for what a job cannot write: that it waits, or that it was killed.  One question is for all jobs.

An id is a number, with ``_4`` for an element of an array, and with ``;NAME`` where Slurm has said which of several
clusters has the job.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress

from mlcommons_box.errors import (
    EX_CONFIGURATION,
    EX_TEMPORARY,
    EX_TIMED_OUT,
    EX_UNAVAILABLE,
    BoxError,
    Interrupted,
    Problem,
    UnavailableError,
)
from mlcommons_box.host import ConnectionLost, Host
from mlcommons_box.model import DockerOptions, Platform, SlurmOptions
from mlcommons_box.process import Answer
from mlcommons_box.runners.batch import JobState, Submitted
from mlcommons_box.runners.devices import VARIABLE
from mlcommons_box.runners.interface import Outcome
from mlcommons_box.runners.job import SCRIPT_FILE
from mlcommons_box.runners.slurm_failures import refusal, trouble
from mlcommons_box.shell_script import quoted
from mlcommons_box.value import replace

WAITING = (
    "PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT",
    "SUSPENDED", "STOPPED", "POWER_UP_NODE", "EXPEDITING",
)  # fmt: skip
RUNNING = ("RUNNING", "COMPLETING", "RESIZING", "SIGNALING", "STAGE_OUT", "UPDATE_DB")
_FAILED = Outcome(
    status="failed",
    exit_status=EX_UNAVAILABLE,
    reason="its job failed and could not say how, as when its node does not see the box and the workspace",
)
ENDED: Mapping[str, Outcome | None] = {
    "COMPLETED": None,  # it has not said how: that is no success
    "FAILED": _FAILED,
    "TIMEOUT": Outcome(status="failed", exit_status=EX_TIMED_OUT, reason="it ran longer than its job may"),
    "DEADLINE": Outcome(status="failed", exit_status=EX_TIMED_OUT, reason="its job's deadline had come"),
    "OUT_OF_MEMORY": Outcome(status="failed", exit_status=137, reason="it used more memory than its job may"),
    "NODE_FAIL": Outcome(status="failed", exit_status=EX_TEMPORARY, reason="its node failed"),
    "BOOT_FAIL": Outcome(status="failed", exit_status=EX_TEMPORARY, reason="its node did not start"),
    "PREEMPTED": Outcome(status="failed", exit_status=EX_TEMPORARY, reason="a more urgent job took its place"),
    "CANCELLED": Outcome(status="cancelled", exit_status=143, reason="its job was cancelled"),
    "REVOKED": None,
    "LAUNCH_FAILED": Outcome(status="failed", exit_status=EX_TEMPORARY, reason="its node could not start it"),
    "RECONFIG_FAIL": Outcome(status="failed", exit_status=EX_TEMPORARY, reason="its node could not start it"),
}
"""squeue(1), "JOB STATE CODES", and what they mean for a run that has not said itself how it ended."""
_LAUNCH = re.compile(r"launch|signal", re.IGNORECASE)
"""Reasons of FAILED jobs that did not come to their own end: JobLaunchFailure, RaisedSignal:9(Killed)."""
_SEPARATOR = "|"
_FORMAT = f"%i{_SEPARATOR}%T{_SEPARATOR}%r"
_ID = re.compile(r"([0-9]+(?:_[0-9]+)?)(?:;([\w.-]+))?", re.ASCII)
_OWN_SETTINGS = (
    "for name in $(env | sed -n 's/^\\(SQUEUE_[A-Z0-9_]*\\)=.*/\\1/p;s/^\\(SACCT_[A-Z0-9_]*\\)=.*/\\1/p'); do\n"
    '  unset "$name"\n'
    "done"
)
"""What the user likes to see of the queue is not what is asked here."""


def submit_options(platform: Platform, run_id: str, timeout: float | None) -> list[str]:
    """The options of ``sbatch`` for a run; ``timeout`` is in seconds.

    Slurm's own log of a job would be opened by a pattern, in which ``%`` and ``\\`` of a directory's name mean
    something; a job writes its logs itself.
    """
    options, resources = platform.options, platform.resources
    if not isinstance(options, SlurmOptions):
        raise TypeError("a Slurm platform is needed")
    words = ["--parsable", f"--job-name={_job_name(run_id)}", "--output=/dev/null"]
    words.append("--requeue" if options.requeue else "--no-requeue")
    for name in ("partition", "account", "qos", "nodes"):
        value = getattr(options, name)
        if value is not None:
            words.append(f"--{name}={value}")
    if resources.cpus is not None:
        words += ["--ntasks=1", f"--cpus-per-task={math.ceil(resources.cpus)}"]
    if resources.memory is not None:
        words.append(f"--mem={math.ceil(resources.memory / 1024**2)}M")
    if isinstance(resources.gpus, int) and resources.gpus:
        words.append(f"--gres=gpu:{resources.gpus}")
    if timeout is not None:  # whole minutes, and the task's own time is kept by the job itself
        words.append(f"--time={math.ceil(timeout / 60) + 1}")
    return [*words, *platform.arguments]


def inside_a_job(platform: Platform) -> Platform:
    """What a job hands over to, with the GPUs that the job has: how many these are is Slurm's to say.

    Docker and Podman know nothing of jobs, and are asked for what the platform file says.
    """
    if not platform.resources.gpus or isinstance(platform.options, DockerOptions):
        return platform
    return replace(platform, resources=replace(platform.resources, gpus="all"))


def variables_of_a_job(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that there may be in a job, whose values are known only there (slurm.schedmd.com/gres.html)."""
    return {**dict.fromkeys((VARIABLE, "ROCR_VISIBLE_DEVICES"), ""), **environ}


def _job_name(run_id: str) -> str:
    return f"mlbox-{run_id}"


def slurm_problems(platform: Platform) -> list[Problem]:
    """What a Slurm platform asks for that cannot be had."""
    if platform.resources.gpus != "all":
        return []
    return [
        Problem(
            code="unsupported",
            message="Slurm has to be told how many GPUs a job gets: 'gpus: all' is no number",
            location=platform.place,
            hint="write 'gpus: 1'",
            exit_status=EX_CONFIGURATION,
        )
    ]


class SlurmBackend:
    """Slurm, as the loop of :mod:`.batch` asks it."""

    name = "slurm"
    place: str | None = "its node"

    def __init__(self, options: Sequence[str] = ()) -> None:
        self.options = tuple(options)

    def submission(self, directory: str, run_id: str) -> str:
        words = " ".join(map(quoted, self.options))
        return _once(run_id, f"sbatch {words} {SCRIPT_FILE}")

    def array_submission(self, run_id: str, directories: Sequence[str]) -> str:
        """Starts the jobs in some directories as one array, and prints the native id.

        Slurm keeps the list of them with the script, so that nothing of ours has to wait for the last job.
        """
        words = " ".join(map(quoted, (*self.options, "--chdir=/", f"--array=0-{len(directories) - 1}")))
        listed = "".join(f"{directory}\n" for directory in directories)
        script = _ARRAY_SCRIPT.format(directories=listed)
        return _once(run_id, f"sbatch {words} <<'{_END_OF_SCRIPT}'\n{script}{_END_OF_SCRIPT}")

    def native_id(self, said: str) -> str:
        lines = said.strip().splitlines()
        found = _ID.fullmatch(lines[-1].strip() if lines else "")
        if not found:
            raise ValueError(repr(said[:60]))
        return found.group(0)

    def question(self, ids: Sequence[str]) -> str:
        lines = [_OWN_SETTINGS, "answered=0"]
        for cluster, members in _by_cluster(ids).items():
            on = f" --clusters={cluster}" if cluster else ""
            jobs = ",".join(dict.fromkeys(each.partition("_")[0] for each in members))
            lines += [
                f"said=$(squeue{on} --array --noheader --states=all --format='{_FORMAT}' --jobs={jobs} 2>&1)",
                "status=$?",
                'printf "%s\\n" "$said"',
                "missing=",
                f"for id in {' '.join(members)}; do",
                f'  case "\n$said" in (*"\n$id{_SEPARATOR}"*) ;; (*) missing=$missing,$id ;; esac',
                "done",
                # A job that is forgotten by the controller is remembered by the accounting, where there is one.
                f'[ -z "$missing" ] || sacct{on} --noheader --parsable2 --allocations --jobs="${{missing#,}}" '
                "--format=JobID,State,Reason 2>/dev/null",
                'case "$said" in (*"Invalid job id"*) status=0 ;; esac',
                '[ "$status" = 0 ] || answered=$status',
            ]
        return "\n".join([*lines, 'exit "$answered"'])

    def states(self, ids: Sequence[str], answer: Answer) -> Mapping[str, JobState]:
        said = answer.stdout.decode("utf-8", "replace")
        if not answer.succeeded:
            message, hint = trouble(said or answer.stderr.decode("utf-8", "replace"))
            raise ConnectionLost(message, hint=hint)  # the jobs go on meanwhile
        asked = {each.partition(";")[0]: each for each in ids}
        states = {}
        for line in said.splitlines():
            number, *words = (word.strip() for word in line.split(_SEPARATOR))
            if number in asked and words and words[0]:
                states[asked[number]] = job_state(words[0], words[1] if len(words) > 1 else "")
        return states

    def cancellation(self, runs: Sequence[Submitted], *, at_once: bool) -> str:
        lines = []
        for cluster, members in _by_cluster([run.id for run in runs]).items():
            command = f"scancel --clusters={cluster}" if cluster else "scancel"
            listed = " ".join(members)
            if at_once:
                lines.append(f"{command} {listed}")
            else:  # the job's own shell is asked first: it lets the task end in its own way, and says so
                lines += [
                    f"{command} --state=PENDING {listed}",
                    f"{command} --batch --signal=TERM {listed} 2>/dev/null",
                ]
        return "\n".join([*lines, ":"])

    def refused(self, answer: Answer) -> BoxError:
        return refusal((answer.stderr or answer.stdout).decode("utf-8", "replace"))


def _once(run_id: str, submission: str) -> str:
    """A submission whose job is found though nobody heard of its id: the controller may have answered too late.

    A submission that nobody has begun before finds nothing, so only one that failed asks.
    """
    return (
        f"submitted() {{ squeue --noheader --format=%A --name={_job_name(run_id)} 2>/dev/null | head -n 1; }}\n"
        f"send() {{\n{submission}\n}}\n"
        f"{_OWN_SETTINGS}\n"
        'found=$(send) || { refused=$?; found=$(submitted); [ -n "$found" ] || return "$refused"; }\n'
        'printf "%s\\n" "$found"'
    )


def _by_cluster(ids: Sequence[str]) -> dict[str, list[str]]:
    """Ids by their clusters, of which the one that is asked anyway has no name."""
    found: dict[str, list[str]] = {}
    for each in dict.fromkeys(ids):
        number, _, cluster = each.partition(";")
        found.setdefault(cluster, []).append(number)
    return found


def element(array: str, number: int) -> str:
    """The id of an element of an array."""
    job, semicolon, cluster = array.partition(";")
    return f"{job}_{number}{semicolon}{cluster}"


def job_state(word: str, reason: str) -> JobState:
    """What one state of squeue(1) or sacct(1) means; one that nobody knows is ``unknown``."""
    name = (word.split() or [""])[0].rstrip("+")  # 'CANCELLED by 1000', 'CANCELLED+'
    why = "" if reason in ("None", "(null)") else reason
    if name in WAITING:
        return JobState(phase="waiting", reason=why or name.lower())
    if name in RUNNING:
        return JobState(phase="running")
    if name in ENDED:
        outcome = ENDED[name]
        said = f"Slurm says {name}{f', {why}' if why else ''}"
        if outcome is not None:
            outcome = replace(outcome, reason=f"{outcome.reason}; {said}")
        by_itself = name == "COMPLETED" or (name == "FAILED" and not _LAUNCH.search(why))
        return JobState(phase="ended", outcome=outcome, reason=said, by_itself=by_itself)
    return JobState(phase="unknown", reason=f"Slurm says {word}")


def submit_array(host: Host, backend: SlurmBackend, run_id: str, directories: Sequence[str]) -> str:
    """Submit the jobs in some directories as one array, and return its id; raises :class:`BoxError`."""
    try:
        answer = host.shell(f"submit() {{\n{backend.array_submission(run_id, directories)}\n}}\nsubmit\n")
    except Interrupted:
        with suppress(BoxError):
            host.shell(f"scancel --name={_job_name(run_id)}", timeout=60)
        raise
    if not answer.succeeded:
        raise backend.refused(answer)
    try:
        return backend.native_id(answer.stdout.decode("utf-8", "replace"))
    except ValueError as error:
        raise UnavailableError(f"sbatch did not say what the jobs are called: {error}") from error


_END_OF_SCRIPT = "MLBOX_END_OF_SCRIPT"
_ARRAY_SCRIPT = """\
#!/bin/sh
run=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" <<'END'
{directories}END
)
exec sh "$run/job.sh"
"""
