"""A run as a script for the POSIX shell, for where this software is not: another host, or a node of a cluster.

The script does there what a runner does here: it makes the outputs' directories, prepares what is missing, runs the
task, ends all of it when it is asked to or the time is over, and writes down how it ended.  Its directory holds
``stdout.log`` and ``stderr.log`` of the task, ``preparation.log``, and at the end ``status``: a word, and a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol, get_args

from mlcommons_box.command import CallerVariable, Command, redacted, redacted_words
from mlcommons_box.errors import Problem
from mlcommons_box.planning import SetupPlan
from mlcommons_box.value import Value, replace

STATUS_FILE = "status"
IDENTITY_FILE = "identity"
"""What the run used, as far as that was found out before it ended: the machine, :data:`USES`, and the rest."""
USES = "mlbox:uses"
PREPARATION_LOG = "preparation.log"
SCRIPT_FILE = "job.sh"

End = Literal["task", "time", "cancelled", "missing", "outputs", "preparation", "before"]
"""What a ``status`` file says first: which part came to an end, and so what its number is the exit status of."""
ENDS: tuple[End, ...] = get_args(End)


Asks = Literal["first", "all", "contained"]


class Elsewhere(Value):
    """Another machine, as far as commands for it have to know it.

    ``box`` is the box's directory on this machine, whose files are those of the plan's box there.  ``programs``
    are the ones that are there, with their places; ``python`` is an interpreter there and ``python_identity`` what
    tells it from others.
    """

    box: Path
    programs: Mapping[str, str]
    python: str = "python3"
    python_identity: str = ""


class Job(Value):
    """What a runner does for a run, as commands.

    ``needs`` are programs, one of each group of which has to be there.  ``is_ready`` ends with 0 when no
    preparation is due; those of one ``lock``, a path, never run at the same time.  ``before`` and ``after`` frame
    the task, whatever becomes of it.  ``stop`` ends what a signal to the task's process does not reach.
    ``asks`` says who is asked to end: the ``first`` process, which passes it on; ``all`` of them; or what runs in a
    process namespace of its own, ``contained``, because what the engine runs outside serves it.
    ``is_marked`` says that its processes are told by a variable, as a task may start some that leave its session.
    ``task`` of None is a preparation alone.
    ``engine`` is the program that runs the task, where it can fail by itself.  ``identify`` says what the run uses
    (:mod:`.identity`).
    """

    needs: tuple[tuple[str, ...], ...]
    is_ready: tuple[Command, ...]
    preparation: tuple[Command, ...]
    lock: Path
    before: tuple[Command, ...] = ()
    task: Command | None = None
    after: tuple[Command, ...] = ()
    stop: tuple[Command, ...] = ()
    asks: Asks = "first"
    is_marked: bool = False
    engine: str | None = None
    identify: tuple[Command, ...] = ()


class CanBeJob(Protocol):
    """A runner whose runs can be scripts."""

    def job(self, plan: SetupPlan) -> Job:
        """A run as commands, or a preparation.  Pure, but for reading the box's files."""

    def check(self, plan: SetupPlan) -> list[Problem]:
        """What stands in the way."""


def without_secrets(job: Job) -> Job:
    """The same to be shown to people: a script of it does not work where there were secrets."""

    def shown(commands: tuple[Command, ...]) -> tuple[Command, ...]:
        return tuple(map(_without_secrets, commands))

    return replace(
        job,
        is_ready=shown(job.is_ready),
        preparation=shown(job.preparation),
        before=shown(job.before),
        task=job.task and _without_secrets(job.task),
        after=shown(job.after),
        stop=shown(job.stop),
    )


def _without_secrets(command: Command) -> Command:
    def shown(name: str, value: str) -> str:
        return redacted(f"{name}={value}").partition("=")[2]

    return replace(
        command,
        argv=tuple(redacted_words(command.argv)),
        environment=command.environment
        and tuple((name, None if value is None else shown(name, value)) for name, value in command.environment),
        added=tuple(
            (name, value if isinstance(value, CallerVariable) else shown(name, value))
            for name, value in command.added
        ),
    )
