"""The commands of the 2020 release: ``mlcommons_box_docker`` and ``mlcommons_box_singularity``.

Each is ``mlbox configure`` and ``mlbox run`` for one kind of platform, with the same options.
"""

from __future__ import annotations

from collections.abc import Sequence

_COMMANDS = ("configure", "run")


def docker(argv: Sequence[str] | None = None) -> int:
    """``mlcommons_box_docker``."""
    return _main("mlcommons_box_docker", "docker", argv)


def singularity(argv: Sequence[str] | None = None) -> int:
    """``mlcommons_box_singularity``."""
    return _main("mlcommons_box_singularity", "singularity", argv)


def _main(prog: str, runner: str, argv: Sequence[str] | None) -> int:
    from mlcommons_box.cli.main import main

    return main(argv, prog=prog, commands=_COMMANDS, runner=runner)
