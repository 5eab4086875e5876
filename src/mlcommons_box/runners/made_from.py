"""From what state of ``build/`` a job has made an image: a directory beside it, over there, holds one called so."""

from __future__ import annotations

from pathlib import Path

from mlcommons_box.command import Command

SUFFIX = ".made-from"


def noting(directory: Path, build: Path, *commands: Command) -> tuple[Command, ...]:
    """Commands that make an image from ``build``, which is on this machine, and what notes that they have."""
    from mlcommons_box.parameter_content import CODE, content_of_parameter
    from mlcommons_box.planning import BoundParameter

    code = BoundParameter(name=CODE, type="directory", direction="input", path=build)
    digest = content_of_parameter(code, ()).whole.digest
    return (
        Command(argv=("rm", "-rf", "--", str(directory))),
        *commands,
        Command(argv=("mkdir", "-p", "--", str(directory / digest))),
    )


def asking(directory: Path) -> Command:
    """The command that says it; nothing for an image that no job has made."""
    return Command(argv=("find", str(directory)))
