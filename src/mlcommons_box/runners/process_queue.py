"""No queue: what starts a run on a host, and ends it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mlcommons_box.errors import BoxError, UnavailableError
from mlcommons_box.process import Answer
from mlcommons_box.runners.batch import IS_THIS_RUN, JobState, Submitted
from mlcommons_box.runners.failures import tail
from mlcommons_box.runners.job import SCRIPT_FILE, STATUS_FILE
from mlcommons_box.shell_script import quoted


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
        if not re.fullmatch(r"[0-9]{1,18}", said.strip()):
            raise ValueError(repr(said[:60]))
        return said.strip()

    def question(self, ids: Sequence[str]) -> str:
        return ""

    def states(self, ids: Sequence[str], answer: Answer) -> Mapping[str, JobState]:
        return {}

    def cancellation(self, runs: Sequence[Submitted], *, at_once: bool) -> str:
        # The script passes the request on, and kills its task when it is asked again.
        lines = [
            f"(cd -- {quoted(run.directory)} && [ ! -f {STATUS_FILE} ] && read -r pid boot <process &&\n"
            f'  {IS_THIS_RUN} && kill -s TERM "$pid") 2>/dev/null'
            for run in runs
        ]
        return "\n".join([*lines, ":"])

    def refused(self, answer: Answer) -> BoxError:
        return UnavailableError(f"the run cannot be started there\n{tail(answer.stderr)}")
