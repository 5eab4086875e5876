"""A run as a script for the POSIX shell, for where this software is not: another host, or a node of a cluster.

The script does there what a runner does here: it makes the outputs' directories, prepares what is missing, runs the
task, ends all of it when it is asked to or the time is over, and writes down how it ended.  Its directory holds
``stdout.log`` and ``stderr.log`` of the task, ``preparation.log``, and at the end ``status``: a word, and a number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol, get_args

from mlcommons_box.errors import Problem
from mlcommons_box.host import quoted, script_of
from mlcommons_box.planning import RunPlan, SetupPlan
from mlcommons_box.process import GRACE, Command
from mlcommons_box.value import Value

STATUS_FILE = "status"
PREPARATION_LOG = "preparation.log"
SCRIPT_FILE = "job.sh"

End = Literal["task", "time", "cancelled", "missing", "outputs", "preparation", "before"]
"""What a ``status`` file says first: which part came to an end, and so what its number is the exit status of."""
ENDS: tuple[End, ...] = get_args(End)


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
    ``asks_leader`` says that the task's process passes the request to end on; else all of its processes are asked.
    ``engine`` is the program that runs the task, where it can fail by itself.
    """

    needs: tuple[tuple[str, ...], ...]
    is_ready: tuple[Command, ...]
    preparation: tuple[Command, ...]
    lock: Path
    before: tuple[Command, ...] = ()
    task: Command
    after: tuple[Command, ...] = ()
    stop: tuple[Command, ...] = ()
    asks_leader: bool = True
    engine: str | None = None


class CanBeJob(Protocol):
    """A runner whose runs can be scripts."""

    def job(self, plan: RunPlan) -> Job:
        """The run as commands.  Pure, but for reading the box's files."""

    def check(self, plan: SetupPlan) -> list[Problem]:
        """What stands in the way."""


def job_script(
    job: Job, plan: RunPlan, directory: Path, caller: Mapping[str, str], variables: Mapping[str, str]
) -> str:
    """The script of a run.

    ``directory`` is the run's own, where the script runs.  ``caller`` are the variables that are set there, and
    ``variables`` those that it sets because this machine's user has them.
    """
    known = {*caller, *variables}
    outputs = sorted({str(output.directory) for output in plan.outputs if not output.elsewhere})
    time_limit = "" if plan.timeout is None else str(math.ceil(plan.timeout))
    checks = [
        f"see {'-d' if each.type == 'directory' else '-f'} {quoted(each.path)} {quoted(each.name)}"
        for each in plan.inputs
    ]
    parts = [
        "#!/bin/sh",
        f"# The run {plan.id} of the task {_comment(plan.task.name)} of the box {_comment(plan.box.name)}.",
        f"run={quoted(directory)}",
        f"time_limit={time_limit} grace={math.ceil(GRACE)} leader={'yes' if job.asks_leader else 'no'}",
        _FRAME,
        *(f"export {name}={quoted(value)}" for name, value in variables.items()),
        _function("stop", *_quietly(job.stop, known)),
        _function("after", *_quietly(job.after, known)),
        *(f"need {' '.join(map(quoted, group))}" for group in job.needs),
        *checks,
        f'mkdir -p -- {" ".join(map(quoted, outputs))} 2>>"$run/preparation.log" || ended outputs 73'
        if outputs
        else "",
        _preparation(job, known),
        _function("task", script_of(job.task, known, through="${session}")),
        *(f'(\n{script_of(each, known)}\n) 2>>"$run/preparation.log" || ended before 73' for each in job.before),
        _RUN,
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _preparation(job: Job, known: set[str]) -> str:
    if not job.preparation:
        return ""
    lines = [
        _function("is_ready", " &&\n".join(f"(\n{script_of(each, known)}\n)" for each in job.is_ready)),
        _function(
            "prepare", " &&\n".join(f"(\n{script_of(each, known)}\n)" for each in job.preparation), 'exit "$?"'
        ),
        f"lock={quoted(job.lock)}",
        _PREPARE,
    ]
    return "\n".join(lines)


def _quietly(commands: tuple[Command, ...], known: set[str]) -> list[str]:
    return [f"(\n{script_of(each, known)}\n) >/dev/null 2>&1" for each in commands] or [":"]


def _function(name: str, *lines: str) -> str:
    return "\n".join([f"{name}() {{", *lines, "}"])


def _comment(text: str) -> str:
    return " ".join(text.split())


_FRAME = """\
if ! cd -- "$run"; then
  echo "the run's directory $run is not to be seen on $(uname -n)" >&2
  exit 69
fi
exec >>preparation.log 2>&1
rm -f status
: >began
asked= timed_out= child= watches= session=
if command -v setsid >/dev/null 2>&1; then
  session='setsid '
fi
ended() {  # WHAT STATUS
  end_watches
  printf '%s %s\\n' "$1" "$2" >"$run/status.partial" && mv -f "$run/status.partial" "$run/status"
  exit "$2"
}
need() {  # PROGRAM..., one of which is enough
  for program; do
    command -v "$program" >/dev/null 2>&1 && return
  done
  echo "there is none of the programs: $*" >>"$run/preparation.log"
  ended missing 69
}
see() {  # -d or -f, PATH, NAME
  [ "$1" "$2" ] && return
  echo "the input $3 is not to be seen on $(uname -n): $2" >>"$run/preparation.log"
  ended missing 66
}
later() {  # SECONDS COMMAND, unless end_watches comes first
  (
    sleep "$1" &
    sleeper=$!
    trap 'kill "$sleeper" 2>/dev/null; exit 0' TERM
    wait "$sleeper" && "$2"
  ) </dev/null >/dev/null 2>&1 &
  watches="$watches $!"
}
end_watches() {
  for watch in $watches; do
    kill "$watch" 2>/dev/null
  done
}
signal_child() {  # SIGNAL
  if [ "$1" = TERM ] && [ "$leader" = yes ]; then
    kill -s TERM "$child" 2>/dev/null
  else
    kill -s "$1" -- "-$child" 2>/dev/null || kill -s "$1" "$child" 2>/dev/null
  fi
}
kill_child() {
  signal_child KILL
  stop
}
be_asked() {  # to end
  [ -n "$child" ] || { asked=yes; return 0; }
  [ -z "$asked" ] || { kill_child; return 0; }
  asked=yes
  signal_child TERM
  later "$grace" kill_child
}
time_is_over() {
  kill -s USR1 "$$"
}
trap be_asked TERM INT HUP
trap 'timed_out=yes; be_asked' USR1
follow() {  # FUNCTION, which runs beside this shell until it has ended; its status is in $status
  "$1" &
  child=$!
  while :; do
    wait "$child"
    status=$?
    kill -0 "$child" 2>/dev/null || break
  done
  kill -s KILL -- "-$child" 2>/dev/null
  child=
}"""

_PREPARE = """\
prepare_once() {
  exec 9>>"$lock" || exit 73
  flock 9 || exit 75
  is_ready >/dev/null 2>&1 || prepare
}
if ! is_ready >/dev/null 2>&1; then
  mkdir -p -- "${lock%/*}"
  if command -v flock >/dev/null 2>&1; then
    follow prepare_once >>"$run/preparation.log" 2>&1
  else
    follow prepare >>"$run/preparation.log" 2>&1
  fi
  [ -z "$asked" ] || ended cancelled 143
  [ "$status" = 0 ] || ended preparation "$status"
fi"""

_RUN = """\
if [ -n "$asked" ]; then
  after
  ended cancelled 143
fi
[ -z "$time_limit" ] || later "$time_limit" time_is_over
follow task </dev/null >>"$run/stdout.log" 2>>"$run/stderr.log"
[ -z "$asked" ] || stop
after
[ -z "$timed_out" ] || ended time 124
[ -z "$asked" ] || ended cancelled 143
ended task "$status\""""
