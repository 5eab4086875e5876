"""What Slurm's own words mean, and what to do."""

from __future__ import annotations

from mlcommons_box.errors import BoxError, ConfigurationError, UnavailableError
from mlcommons_box.runners.failures import Failure, explained, explanation

_MISTAKES = (
    Failure(
        r"invalid partition",
        "the cluster has no such partition",
        "'sinfo -s' lists them: mend 'partition' in the platform file",
    ),
    Failure(
        r"invalid account|invalid qos",
        "you may not use that account, quality of service or partition",
        "'sacctmgr show associations user=$USER' lists what you may use: mend 'account', 'qos' or 'partition' "
        "in the platform file",
    ),
    Failure(
        r"group not permitted to use this partition|not permitted to use this partition",
        "you may not use that partition",
        "'sinfo -s' lists them: mend 'partition' in the platform file",
    ),
    Failure(
        r"time limit is invalid|time limit exceeds|invalid --time",
        "the partition does not allow so much time",
        "'sinfo -o \"%P %l\"' shows the limits: mend 'time' in the platform file",
    ),
    Failure(
        r"invalid feature specification",
        "no node has what is asked for with --constraint",
        "'sinfo -o \"%P %f\"' shows what nodes have: mend 'arguments' in the platform file",
    ),
    Failure(
        r"Requested node configuration is not available|More processors requested than permitted"
        r"|Memory specification can not be satisfied|Requested GRES|generic resource \(gres\) specification"
        r"|Node count specification invalid|CPU count per node can not be satisfied",
        "no node of the partition has what the run asks for",
        "'sinfo -o \"%P %D %c %m %G\"' shows what nodes have: mend 'resources' and 'nodes' in the platform file",
    ),
    Failure(
        r"unrecognized option|invalid option|option .* requires an argument|option .* is ambiguous"
        r"|sbatch: error: invalid (?:-|[a-z-]+ specification)",
        "sbatch does not know an argument, or its value",
        "mend 'arguments' in the platform file",
    ),
)
"""What the user has asked for and cannot get."""
_TROUBLES = (
    Failure(
        r"invalid job array specification",
        "the cluster does not take so many jobs in one array",
        "start fewer of them at once, with --task",
    ),
    Failure(
        r"violates accounting/QOS policy|AssocMax|QOSMax|temporarily unable to accept job",
        "the cluster does not take so many jobs, or so large ones, from you now",
        "wait until some have ended, or ask for less: 'sacctmgr show associations user=$USER' shows the limits",
    ),
    Failure(
        r"Protocol authentication|Munge|Zero Bytes were transmitted|Invalid user id",
        "this machine and Slurm's controller do not trust each other",
        "tell the administrators: munge has to run, with one key and one time on all machines",
    ),
    Failure(
        r"Unable to contact slurm controller|Connection refused|Socket timed out|slurm_load_jobs error"
        r"|Unable to establish config",
        "Slurm's controller does not answer",
        "'scontrol ping' asks it; try again later, or tell the administrators",
    ),
    Failure(
        r"can't be reached now, or it is an invalid entry for --cluster",
        "there is no such cluster, or it does not answer",
        "'sacctmgr list clusters' lists them",
    ),
    Failure(
        r"\b(?:sbatch|squeue): (?:not found|command not found)",
        "there is no Slurm here",
        "name a host from which jobs are submitted",
    ),
)
"""What is wrong with the cluster, or with the way to it."""


def refusal(said: str) -> BoxError:
    """What it means that a job was not taken."""
    action = "Slurm does not take the job"
    mistake = explained(said, _MISTAKES)
    if mistake is not None:
        message, hint = explanation(action, said, mistake)
        return ConfigurationError(message, hint=hint)
    message, hint = explanation(action, said, explained(said, _TROUBLES))
    return UnavailableError(message, hint=hint)


def trouble(said: str) -> tuple[str, str | None]:
    """A message for a question that the controller did not answer, and what to do."""
    return explanation("Slurm does not say how the jobs are", said, explained(said, _TROUBLES))
