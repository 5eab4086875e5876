"""What the container runners share about a run: the task's environment, and words for what they cannot give."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from mlcommons_box.command import CallerVariable, redacted
from mlcommons_box.errors import EX_CONFIGURATION, Problem
from mlcommons_box.model import Platform, Resources
from mlcommons_box.planning import RunPlan
from mlcommons_box.runners.site_settings import (
    CA_FILE,
    CERTIFICATE_VARIABLES,
    INDEX_VARIABLES,
    PROXY_VARIABLES,
    present,
)
from mlcommons_box.value import Value

_STEERS_NOTHING = (
    r"(?i)(?!LD_)(?:.*(?:token|secret|passw|passphrase|credential|key).*|(?:.*_)?(?:url|uri|dsn|proxy))"
)
ROOT_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID")
"""What root keeps in an image that insists on it: enough to own files and to become somebody else."""
USER_NAME = "box"
"""What programs are told when they ask who they run as; the caller's number has no name in a stranger's image."""


class Caller(Value):
    """Who runs us: numbers of the user, of the group, and of the other groups."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    @classmethod
    def of_this_process(cls) -> Caller:
        """The user of this process."""
        gid = os.getegid()
        return cls(uid=os.geteuid(), gid=gid, groups=tuple(sorted(set(os.getgroups()) - {gid})))


def task_environment(plan: RunPlan, environ: Mapping[str, str], home: str) -> dict[str, str | CallerVariable]:
    """All that the task gets on top of the image's own environment."""
    variables: dict[str, str | CallerVariable] = {"HOME": home, "USER": USER_NAME, "LOGNAME": USER_NAME}
    variables |= {name: CallerVariable(name=name) for name in present(PROXY_VARIABLES, environ)}
    if plan.ca_bundle:
        variables |= dict.fromkeys(CERTIFICATE_VARIABLES, CA_FILE)
        variables |= {name: CallerVariable(name=name) for name in present(INDEX_VARIABLES, environ)}
    for variable in plan.environment:
        if variable.value is not None:
            variables[variable.name] = variable.value
        elif variable.name in environ:
            variables[variable.name] = CallerVariable(name=variable.name)
    return variables


def goes_by_name(name: str, value: str) -> bool:
    """Whether a value gets to an engine by its client's own environment: a secret is no argument.

    That is only for names that steer neither the client nor the loader of programs: a stranger's box may give a
    value to ``PATH``, ``LD_PRELOAD`` or ``DOCKER_HOST``, and make it look like a secret.
    """
    return redacted(f"{name}={value}") != f"{name}={value}" and re.fullmatch(_STEERS_NOTHING, name) is not None


def limits(resources: Resources) -> list[str]:
    """The options for CPUs and memory, which every engine spells alike."""
    words = []
    if resources.cpus is not None:
        words += ["--cpus", f"{resources.cpus:g}"]
    if resources.memory is not None:
        words += ["--memory", str(resources.memory), "--memory-swap", str(resources.memory)]
    return words


def fields(*flags: str, **values: object) -> str:
    """``type=bind,source=...`` as the ``--mount`` of every engine reads it: one record of CSV."""
    words = [*(f"{key}={value}" for key, value in values.items()), *flags]
    if not any(mark in word for word in words for mark in ',"\r\n'):
        return ",".join(words)
    import csv
    import io

    text = io.StringIO()
    # Only what the line's end consists of is quoted, and both kinds of it have to be.
    csv.writer(text, lineterminator="\r\n").writerow(words)
    return text.getvalue().removesuffix("\r\n")


def unsupported(platform: Platform, what: str, names: Iterable[str], hint: str) -> list[Problem]:
    """A problem for every key of the platform file that this runner has no way to honour."""
    return [
        Problem(
            code="unsupported",
            message=f"{what} cannot give what {name!r} asks for",
            location=platform.place,
            hint=hint,
            exit_status=EX_CONFIGURATION,
        )
        for name in names
    ]


def not_owned(path: Path, uid: int) -> list[Path]:
    """What at or below a path belongs to somebody else."""
    found = [path] if os.path.lexists(path) and path.lstat().st_uid != uid else []
    waiting = [os.fspath(path)]
    while waiting:  # a task may nest directories deeper than a function may call itself
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.stat(follow_symlinks=False).st_uid != uid:
                    found.append(Path(entry.path))
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    return found
