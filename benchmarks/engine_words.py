"""What a tool says to an engine: written down once, by a stand-in for the engine's program, to be its yardstick.

What a tool costs is then what it takes beyond the very same words without it, whatever mounts, networks and
limits it asks for.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_RECORDING = """\
#!/bin/sh
{{ echo; for word do echo "$word"; done; }} >>'{record}'
exec '{program}' "$@"
"""
_PRIVILEGED = "--privileged=true"
REFUSED = (
    "This machine refuses privileged containers, which mlcommons-box 0.2.3 always asks for: a stand-in for "
    "Docker's client, a shell script, leaves that word out."
)
_UNPRIVILEGED = f"""\
#!/bin/sh
for word do shift; [ "$word" = {_PRIVILEGED} ] || set -- "$@" "$word"; done
exec '{{program}}' "$@"
"""


def words_to_engine(
    place: Path, engine: str, command: Sequence[str], directory: Path, environ: Mapping[str, str]
) -> list[str]:
    """Run a command of a tool once; the command line of the container that it started.

    Raises CalledProcessError when it fails, and LookupError when it started none.
    """
    record = place / "record"
    record.unlink(missing_ok=True)
    names = (engine, "singularity") if engine == "apptainer" else (engine,)
    for name in names:
        _stand_in(place / "recording", name, _RECORDING, environ, record=str(record))
    subprocess.run(
        command,
        cwd=directory,
        env=in_front(place / "recording", environ),
        check=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )
    spoken = [block.splitlines() for block in record.read_text().split("\n\n")] if record.exists() else []
    started = [words for words in ([w for w in each if w] for each in spoken) if {"run", "exec"} & {*words[:3]}]
    if not started:
        raise LookupError(f"it did not start a container of {engine}")
    program = shutil.which(engine, path=environ["PATH"]) or engine
    return [program, *(word for word in started[-1] if not word.startswith("--cidfile"))]


def mend_mounts(words: Sequence[str]) -> None:
    """Make the directories again that a tool made for one run, and removed."""
    sources = [one or other for word in words for one, other in re.findall(r"source=([^,]+)|^(/[^:,]+):/", word)]
    if "apptainer" in words[0]:  # to which this is a directory outside of the container
        sources += [after for word, after in itertools.pairwise(words) if word == "--workdir"]
    for source in sources:
        if not Path(source).exists():
            Path(source).mkdir(parents=True)


def refuses_privilege(image: str, environ: Mapping[str, str]) -> bool:
    """Whether Docker cannot start a privileged container, which the release of 2020 always asks for."""
    words = ["docker", "run", "--rm", _PRIVILEGED, "--entrypoint=true", image]
    return subprocess.run(words, capture_output=True, check=False, env=dict(environ)).returncode != 0


def without_privilege(place: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """An environment in which Docker is never asked for a privileged container."""
    _stand_in(place / "unprivileged", "docker", _UNPRIVILEGED, environ)
    return in_front(place / "unprivileged", environ)


def in_front(directory: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """An environment in which the programs of a directory are found first."""
    return {**environ, "PATH": f"{directory}{os.pathsep}{environ['PATH']}"}


def _stand_in(directory: Path, name: str, text: str, environ: Mapping[str, str], **values: str) -> None:
    program = shutil.which(name, path=environ["PATH"])
    if program is None:
        return
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text(text.format(program=program, **values))
    (directory / name).chmod(0o755)
