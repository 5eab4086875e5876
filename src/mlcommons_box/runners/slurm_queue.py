"""What Slurm is asked, and what its answers mean.  Pure: shell text and parsers.

How a job ended is learned from what it wrote itself, so that clusters without accounting are served as well; the
queue is asked for what a job cannot write: that it waits, or that it was killed.  One question is for all jobs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from mlcommons_box.errors import (
    EX_CONFIGURATION,
    EX_TEMPORARY,
    EX_TIMED_OUT,
    EX_UNAVAILABLE,
    BoxError,
    ConfigurationError,
    Location,
    Problem,
    UnavailableError,
)
from mlcommons_box.host import ConnectionLost, Host, quoted
from mlcommons_box.model import Platform, SlurmOptions
from mlcommons_box.process import Answer
from mlcommons_box.runners.batch import JobState
from mlcommons_box.runners.failures import Failure, explained, explanation
from mlcommons_box.runners.interface import Outcome
from mlcommons_box.runners.job import PREPARATION_LOG, SCRIPT_FILE
from mlcommons_box.value import replace

WAITING = (
    "PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT",
    "SUSPENDED", "STOPPED",
)  # fmt: skip
RUNNING = ("RUNNING", "COMPLETING", "RESIZING", "SIGNALING", "STAGE_OUT")
_OUT_OF_MEMORY = Outcome(status="failed", exit_status=137, reason="it used more memory than its job may")
ENDED: Mapping[str, Outcome | None] = {
    "COMPLETED": None,  # it has not said how: that is no success
    "FAILED": Outcome(status="failed", exit_status=EX_UNAVAILABLE, reason="its job failed and could not say how"),
    "TIMEOUT": Outcome(status="failed", exit_status=EX_TIMED_OUT, reason="it ran longer than its job may"),
    "DEADLINE": Outcome(status="failed", exit_status=EX_TIMED_OUT, reason="its job's deadline had come"),
    "OUT_OF_MEMORY": _OUT_OF_MEMORY,
    "NODE_FAIL": Outcome(status="failed", exit_status=EX_TEMPORARY, reason="its node failed"),
    "BOOT_FAIL": Outcome(status="failed", exit_status=EX_TEMPORARY, reason="its node did not start"),
    "PREEMPTED": Outcome(status="failed", exit_status=EX_TEMPORARY, reason="a more urgent job took its place"),
    "CANCELLED": Outcome(status="cancelled", exit_status=143, reason="its job was cancelled"),
    "REVOKED": None,
    "LAUNCH_FAILED": Outcome(status="failed", exit_status=EX_TEMPORARY, reason="its node could not start it"),
    "RECONFIG_FAIL": Outcome(status="failed", exit_status=EX_TEMPORARY, reason="its node could not start it"),
}
"""squeue(1), "JOB STATE CODES", and what they mean for a run that has not said itself how it ended."""
_SEPARATOR = "|"
_FORMAT = f"%i{_SEPARATOR}%T{_SEPARATOR}%r"
_FAILURES = (
    Failure(
        r"invalid partition",
        "the cluster has no such partition",
        "'sinfo -s' lists them: mend 'partition' in the platform file",
    ),
    Failure(
        r"invalid account|Invalid qos|invalid account or account/partition combination",
        "you may not use that account, quality of service or partition",
        "'sacctmgr show associations user=$USER' lists what you may use",
    ),
    Failure(
        r"Requested node configuration is not available|More processors requested than permitted"
        r"|Memory specification can not be satisfied|Requested GRES",
        "no node of the partition has what the run asks for",
        "'sinfo -o \"%P %c %m %G\"' shows what nodes have: mend 'resources' in the platform file",
    ),
    Failure(
        r"Requested time limit is invalid|time limit exceeds",
        "the partition does not allow so much time",
        "'sinfo -o \"%P %l\"' shows the limits: mend 'time' in the platform file",
    ),
    Failure(
        r"unrecognized option|invalid option",
        "sbatch does not know an argument",
        "mend 'arguments' in the platform file",
    ),
    Failure(
        r"Unable to contact slurm controller|Connection refused|Socket timed out|slurm_load_jobs error",
        "Slurm's controller does not answer",
        "'scontrol ping' asks it; try again later, or tell the administrators",
    ),
    Failure(
        r"sbatch: (?:not found|command not found)|: not found",
        "there is no Slurm here",
        "name the host from which jobs are submitted",
    ),
)


def submit_options(platform: Platform, run_id: str, timeout: float | None) -> list[str]:
    """The options of ``sbatch`` for a run; ``timeout`` is in seconds."""
    options, resources = platform.options, platform.resources
    if not isinstance(options, SlurmOptions):
        raise TypeError("a Slurm platform is needed")
    words = ["--parsable", f"--job-name=mlbox-{run_id}", "--open-mode=append"]
    words += [f"--output={PREPARATION_LOG}", f"--error={PREPARATION_LOG}"]
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


def slurm_problems(platform: Platform) -> list[Problem]:
    """What a Slurm platform asks for that cannot be had."""
    if platform.resources.gpus != "all":
        return []
    return [
        Problem(
            code="unsupported",
            message="Slurm has to be told how many GPUs a job gets: 'gpus: all' is no number",
            location=platform.location or Location(file=str(platform.file)),
            hint="write 'gpus: 1'",
            exit_status=EX_CONFIGURATION,
        )
    ]


class SlurmBackend:
    """Slurm, as the loop of :mod:`.batch` asks it."""

    name = "slurm"

    def __init__(self, options: Sequence[str] = ()) -> None:
        self.options = tuple(options)

    def submission(self, directory: str, run_id: str) -> str:
        words = " ".join(map(quoted, self.options))
        # What was submitted by a process that ended before it could note the id is found by its name.
        return (
            f"found=$(squeue --noheader --format=%A --name=mlbox-{run_id} 2>/dev/null | head -n 1)\n"
            f'if [ -n "$found" ]; then echo "$found"; else sbatch {words} {SCRIPT_FILE}; fi'
        )

    def array_submission(self, count: int) -> str:
        """Starts many runs as one job array, from a directory with ``array.sh``, and prints the native id."""
        words = [each for each in self.options if not each.startswith(("--output=", "--error="))]
        shown = " ".join(map(quoted, [*words, "--output=/dev/null", f"--array=0-{count - 1}"]))
        return f"sbatch {shown} array.sh"

    def native_id(self, said: str) -> str:
        found = re.fullmatch(r"(\d+(?:_\d+)?)(?:;[^\s]+)?", said.strip().splitlines()[-1] if said.strip() else "")
        if not found:
            raise ValueError(repr(said[:60]))
        return found.group(1)

    def question(self, ids: Sequence[str]) -> str:
        listed = ",".join(dict.fromkeys(each.partition("_")[0] for each in ids))
        return (
            f"said=$(squeue --array --noheader --states=all --format='{_FORMAT}' --jobs={listed} 2>&1)\n"
            "status=$?\n"
            'printf "%s\\n" "$said"\n'
            "missing=\n"
            f"for id in {' '.join(ids)}; do\n"
            f'  case "\n$said" in (*"\n$id{_SEPARATOR}"*) ;; (*) missing=$missing,$id ;; esac\n'
            "done\n"
            # A job that is forgotten by the controller is remembered by the accounting, where there is one.
            f'[ -z "$missing" ] || sacct --noheader --parsable2 --allocations --jobs="${{missing#,}}" '
            "--format=JobID,State,Reason 2>/dev/null\n"
            'case "$said" in (*"Invalid job id"*) exit 0 ;; esac\n'
            'exit "$status"'
        )

    def states(self, ids: Sequence[str], answer: Answer) -> Mapping[str, JobState]:
        said = answer.stdout.decode("utf-8", "replace")
        if not answer.succeeded:
            message, hint = explanation("Slurm does not say how the jobs are", said, explained(said, _FAILURES))
            raise ConnectionLost(message, hint=hint)  # the jobs go on meanwhile
        states = {}
        for line in said.splitlines():
            words = line.strip().split(_SEPARATOR)
            if len(words) >= 2 and words[0] in ids and words[1]:
                states[words[0]] = job_state(words[1], words[2] if len(words) > 2 else "")
        return states

    def cancellation(self, ids: Sequence[str], *, at_once: bool) -> str:
        listed = " ".join(ids)
        if at_once:
            return f"scancel {listed}"
        # The job's own shell is asked first: it lets the task end in its own way, and says so.
        return f"scancel --state=PENDING {listed}\nscancel --batch --signal=TERM {listed} 2>/dev/null\n:"

    def refused(self, answer: Answer) -> BoxError:
        said = (answer.stderr or answer.stdout).decode("utf-8", "replace")
        failure = explained(said, _FAILURES)
        message, hint = explanation("Slurm does not take the job", said, failure)
        wrong = failure is not None and "platform file" in failure.remedy
        return (ConfigurationError if wrong else UnavailableError)(message, hint=hint)


def job_state(word: str, reason: str) -> JobState:
    """What one state of squeue(1) or sacct(1) means; one that nobody knows is ``unknown``."""
    name = word.split()[0].rstrip("+")  # 'CANCELLED by 1000', 'CANCELLED+'
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
        return JobState(phase="ended", outcome=outcome, reason=said)
    return JobState(phase="unknown", reason=f"Slurm says {word}")


def submit_array(host: Host, backend: SlurmBackend, place: str, directories: Sequence[str]) -> str:
    """Submit the jobs in some directories as one array, and return its id; raises :class:`BoxError`.

    ``place`` is a directory for the array itself, which is needed until its last job has begun.
    """
    listed = "".join(f"{directory}\n" for directory in directories)
    script = _ARRAY_SCRIPT.format(list=quoted(f"{place}/list"))
    answer = host.shell(
        f"mkdir -p -- {quoted(place)} && cd -- {quoted(place)} || exit 73\n"
        f"printf %s {quoted(listed)} >list || exit 73\n"
        f"cat >array.sh <<'END' || exit 73\n{script}END\n"
        f"{backend.array_submission(len(directories))}\n"
    )
    if not answer.succeeded:
        raise backend.refused(answer)
    try:
        return backend.native_id(answer.stdout.decode("utf-8", "replace"))
    except ValueError as error:
        raise UnavailableError(f"sbatch did not say what the jobs are called: {error}") from error


_ARRAY_SCRIPT = """\
#!/bin/sh
run=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {list})
exec sh "$run/job.sh"
"""
