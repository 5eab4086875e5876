"""The script of a run for the POSIX shell, which does there what a runner does here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from mlcommons_box import process
from mlcommons_box.command import Command
from mlcommons_box.machine import SCRIPT
from mlcommons_box.planning import RunPlan
from mlcommons_box.process_tree import RUN_MARK
from mlcommons_box.runners.job import USES, Job
from mlcommons_box.shell_script import quoted, script_of
from mlcommons_box.value import replace


def job_script(
    job: Job, plan: RunPlan, directory: Path, caller: Mapping[str, str], variables: Mapping[str, str]
) -> str:
    """The script of a run.

    Its own variables begin with ``mlbox_``: any other may be one of the task's.
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
    mark = f"{RUN_MARK}={plan.id}" if job.is_marked else ""
    task = job.task
    if task is None:
        raise ValueError("the job of a run has a task")
    if job.is_marked:
        task = replace(task, added=(*task.added, (RUN_MARK, plan.id)))
    parts = [
        "#!/bin/sh",
        f"# The run {plan.id} of the task {_comment(plan.task.name)} of the box {_comment(plan.box.name)}.",
        f"mlbox_run={quoted(directory)}",
        f"mlbox_time_limit={time_limit} mlbox_grace={math.ceil(process.GRACE)} "
        f"mlbox_asks={job.asks} mlbox_mark={quoted(mark)}",
        _FRAME,
        *(f"export {name}={quoted(value)}" for name, value in variables.items()),
        _function("stop", *_quietly(job.stop, known)),
        _function("after", *_quietly(job.after, known)),
        *(f"need {' '.join(map(quoted, group))}" for group in job.needs),
        *checks,
        f'mkdir -p -- {" ".join(map(quoted, outputs))} 2>>"$mlbox_run/preparation.log" || ended outputs 73'
        if outputs
        else "",
        _preparation(job, known),
        _function("task", script_of(task, known, through="${mlbox_session}")),
        *(
            f'(\n{script_of(each, known)}\n) 2>>"$mlbox_run/preparation.log" || ended before 73'
            for each in job.before
        ),
        _identification(job, known),
        _RUN,
    ]
    return "\n".join(part for part in parts if part) + "\n"


def preparation_script(job: Job, directory: Path, caller: Iterable[str]) -> str:
    """The script that prepares, whether it is due or not; it ends as that of a run does."""
    known = set(caller)
    parts = [
        "#!/bin/sh",
        f"mlbox_run={quoted(directory)}",
        f"mlbox_grace={math.ceil(process.GRACE)} mlbox_asks={job.asks} mlbox_mark=",
        _FRAME,
        _function("stop", ":"),
        *(f"need {' '.join(map(quoted, group))}" for group in job.needs),
        _preparation(replace(job, is_ready=(Command(argv=("false",)),)), known),
        "ended task 0",
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
        f"mlbox_lock={quoted(job.lock)}",
        _PREPARE,
    ]
    return "\n".join(lines)


def _identification(job: Job, known: set[str]) -> str:
    """Says what a run uses, while it runs; a second after the task, it need not come to an end."""
    commands = (f"(\n{script_of(each, known)}\n)" for each in job.identify)
    return _function("identify", SCRIPT, f"echo {USES}", *commands, ': >"$mlbox_run/identified"')


def _quietly(commands: tuple[Command, ...], known: set[str]) -> list[str]:
    return [f"(\n{script_of(each, known)}\n) >/dev/null 2>&1" for each in commands] or [":"]


def _function(name: str, *lines: str) -> str:
    return "\n".join([f"{name}() {{", *lines, "}"])


def _comment(text: str) -> str:
    return " ".join(text.split())


_FRAME = """\
if ! cd -- "$mlbox_run"; then
  echo "the run's directory $mlbox_run is not to be seen on $(uname -n)" >&2
  exit 69
fi
exec >>preparation.log 2>&1
rm -f status
: >began
mlbox_asked= mlbox_timed_out= mlbox_child= mlbox_part= mlbox_watches= mlbox_session=
if command -v setsid >/dev/null 2>&1; then
  mlbox_session='setsid '
fi
ended() {  # WHAT STATUS
  end_watches
  printf '%s %s\\n' "$1" "$2" >"$mlbox_run/status.partial" && mv -f "$mlbox_run/status.partial" "$mlbox_run/status"
  exit "$2"
}
need() {  # PROGRAM..., one of which is enough
  for mlbox_program; do
    command -v "$mlbox_program" >/dev/null 2>&1 && return
  done
  echo "there is none of the programs: $*" >>"$mlbox_run/preparation.log"
  ended missing 69
}
see() {  # -d or -f, PATH, NAME
  [ "$1" "$2" ] && return
  echo "the input $3 is not to be seen on $(uname -n): $2" >>"$mlbox_run/preparation.log"
  ended missing 66
}
later() {  # SECONDS COMMAND, unless end_watches comes first
  (
    sleep "$1" &
    mlbox_sleeper=$!
    trap 'kill "$mlbox_sleeper" 2>/dev/null; exit 0' TERM
    : >"$mlbox_run/watched"
    wait "$mlbox_sleeper" && "$2"
  ) </dev/null >/dev/null 2>&1 &
  mlbox_watches="$mlbox_watches $!"
  # A signal to what is just being made by fork() may be lost: end_watches must not come so soon.
  mlbox_tries=50
  while [ ! -e "$mlbox_run/watched" ] && [ "$mlbox_tries" -gt 0 ]; do
    mlbox_tries=$((mlbox_tries - 1))
    sleep 0.01
  done
  rm -f "$mlbox_run/watched"
}
end_watches() {
  for mlbox_watch in $mlbox_watches; do
    kill "$mlbox_watch" 2>/dev/null
  done
}
signal_marked() {  # SIGNAL
  [ -n "$mlbox_mark" ] || return 0
  for mlbox_found in $(grep -lsF -e "$mlbox_mark" /proc/[0-9]*/environ 2>/dev/null); do
    mlbox_found=${mlbox_found%/environ}
    kill -s "$1" "${mlbox_found#/proc/}" 2>/dev/null
  done
}
ask_contained() {  # what is deeper in process namespaces than we are; the first process there is the engine's
  mlbox_depth=$(grep -s '^NSpid:' /proc/self/status | wc -w)
  mlbox_any=
  for mlbox_found in $(grep -sh '^NSpid:' /proc/[0-9]*/status |
    awk -v depth="$mlbox_depth" 'NF > depth && $NF != 1 { print $2 }'); do
    mlbox_stat=$(cat "/proc/$mlbox_found/stat" 2>/dev/null) || continue
    set -- ${mlbox_stat##*) }
    [ "$4" = "$mlbox_child" ] && kill -s TERM "$mlbox_found" 2>/dev/null && mlbox_any=yes
  done
  [ -n "$mlbox_any" ]
}
signal_child() {  # SIGNAL
  if [ "$mlbox_part" != task ]; then
    # What prepares is in the group of this shell, which need not hear it.
    trap '' TERM
    kill -s TERM -- "-$$" 2>/dev/null
    kill -s "$1" "$mlbox_child" 2>/dev/null
    trap be_asked TERM
  elif [ "$1" = TERM ] && [ "$mlbox_asks" = first ]; then
    kill -s TERM "$mlbox_child" 2>/dev/null
  elif [ "$1" = TERM ] && [ "$mlbox_asks" = contained ] && ask_contained; then
    :
  else
    kill -s "$1" -- "-$mlbox_child" 2>/dev/null || kill -s "$1" "$mlbox_child" 2>/dev/null
    signal_marked "$1"
  fi
}
kill_child() {
  signal_child KILL
  stop
}
be_asked() {  # to end
  [ -n "$mlbox_child" ] || { mlbox_asked=yes; return 0; }
  [ -z "$mlbox_asked" ] || { kill_child; return 0; }
  mlbox_asked=yes
  signal_child TERM
  later "$mlbox_grace" kill_child
}
time_is_over() {
  kill -s USR1 "$$"
}
trap be_asked TERM INT HUP
trap 'mlbox_timed_out=yes; be_asked' USR1
follow() {  # FUNCTION, which runs beside this shell until it has ended; its status is in $mlbox_status
  mlbox_part=$1
  "$1" &
  mlbox_child=$!
  while :; do
    wait "$mlbox_child"
    mlbox_status=$?
    kill -0 "$mlbox_child" 2>/dev/null || break
  done
  kill -s KILL -- "-$mlbox_child" 2>/dev/null
  signal_marked KILL
  mlbox_child= mlbox_part=
}"""
_PREPARE = """\
prepare_once() {
  exec 9>>"$mlbox_lock" || exit 73
  flock 9 || exit 75
  is_ready >/dev/null 2>&1 || prepare
}
if ! is_ready >/dev/null 2>&1; then
  mkdir -p -- "${mlbox_lock%/*}"
  if command -v flock >/dev/null 2>&1; then
    follow prepare_once >>"$mlbox_run/preparation.log" 2>&1
  else
    follow prepare >>"$mlbox_run/preparation.log" 2>&1
  fi
  [ -z "$mlbox_asked" ] || ended cancelled 143
  [ "$mlbox_status" = 0 ] || ended preparation "$mlbox_status"
fi"""
_RUN = """\
if [ -n "$mlbox_asked" ]; then
  after
  ended cancelled 143
fi
[ -z "$mlbox_time_limit" ] || later "$mlbox_time_limit" time_is_over
identify </dev/null >"$mlbox_run/identity" 2>/dev/null &
mlbox_identity=$!
follow task </dev/null >>"$mlbox_run/stdout.log" 2>>"$mlbox_run/stderr.log"
if [ -n "$mlbox_asked" ] || [ "$mlbox_status" -ge 125 ]; then
  stop  # what was started may go on when the client of an engine was killed
fi
after
mlbox_tries=50
while [ ! -e "$mlbox_run/identified" ] && [ "$mlbox_tries" -gt 0 ]; do
  mlbox_tries=$((mlbox_tries - 1))
  sleep 0.02
done
kill "$mlbox_identity" 2>/dev/null
[ -z "$mlbox_timed_out" ] || ended time 124
[ -z "$mlbox_asked" ] || ended cancelled 143
ended task "$mlbox_status\""""
