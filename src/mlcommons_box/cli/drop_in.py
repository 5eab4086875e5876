"""The commands of the 2020 release, ``mlcommons_box_docker`` and its siblings for the other engines.

Each is ``mlbox configure`` and ``mlbox run`` for one kind of platform, with the same options.
"""

from __future__ import annotations

from mlcommons_box.cli.main import console, main

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from mlcommons_box.cli.parsing import Program


def docker(argv: Sequence[str] | None = None) -> int:
    """``mlcommons_box_docker``."""
    return main(argv, program=lambda: _program("docker"))


def singularity(argv: Sequence[str] | None = None) -> int:
    """``mlcommons_box_singularity``."""
    return main(argv, program=lambda: _program("singularity"))


def k8s(argv: Sequence[str] | None = None) -> int:
    """``mlcommons_box_k8s``."""
    return main(argv, program=lambda: _program("kubernetes", "mlcommons_box_k8s"))


def ssh(argv: Sequence[str] | None = None) -> int:
    """``mlcommons_box_ssh``."""
    return main(argv, program=lambda: _program("ssh"))


def slurm(argv: Sequence[str] | None = None) -> int:
    """``mlcommons_box_slurm``."""
    return main(argv, program=lambda: _program("slurm"))


def docker_console() -> NoReturn:
    """``mlcommons_box_docker`` as a process of its own."""
    console(docker)


def singularity_console() -> NoReturn:
    """``mlcommons_box_singularity`` as a process of its own."""
    console(singularity)


def k8s_console() -> NoReturn:
    """``mlcommons_box_k8s`` as a process of its own."""
    console(k8s)


def ssh_console() -> NoReturn:
    """``mlcommons_box_ssh`` as a process of its own."""
    console(ssh)


def slurm_console() -> NoReturn:
    """``mlcommons_box_slurm`` as a process of its own."""
    console(slurm)


_NAMES = {"ssh": "SSH"}


def _program(runner: str, name: str | None = None) -> Program:
    from mlcommons_box.cli.parsing import Program

    name = name or f"mlcommons_box_{runner}"
    return Program(
        name=name,
        description=f"Prepare and run boxes on {_NAMES.get(runner, runner.title())} platforms, as 'mlbox' does.",
        examples=f"""\
examples:
  {name} configure --mlbox=. --platform=platforms/{runner}.yaml
  {name} run --mlbox=. --platform=platforms/{runner}.yaml --task=run/train.yaml""",
        commands=("configure", "run"),
        runner=runner,
    )
