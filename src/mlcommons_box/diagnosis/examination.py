"""Looks at all engines at once, so that one that hangs keeps nobody waiting twice."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from mlcommons_box.diagnosis import docker, local, machine, podman, singularity
from mlcommons_box.diagnosis.asking import PATIENCE, Tools
from mlcommons_box.diagnosis.findings import ENGINES, Diagnosis, Examination

Examine = Callable[[Tools, Callable[[], machine.Gpus]], Diagnosis]
_EXAMINE: dict[str, Examine] = {
    "docker": docker.examine,
    "podman": podman.examine,
    "singularity": singularity.examine,
    "local": local.examine,
}


def examine(
    engine: str | None = None, *, environ: Mapping[str, str] = os.environ, patience: float = PATIENCE
) -> Examination:
    """Examine one engine, or all of them and the machine.

    Starts the engines' own programs with the environment ``environ``, waits ``patience`` seconds for each answer,
    and writes nothing.
    """
    names: Sequence[str] = ENGINES if engine is None else (engine,)
    tools = Tools(environ, patience)
    with ThreadPoolExecutor(max_workers=len(names) + 1) as pool:
        try:
            gpus = pool.submit(machine.find_gpus, tools)
            engines = [pool.submit(_EXAMINE[name], tools, gpus.result) for name in names]
            return Examination(
                engines=tuple(each.result() for each in engines),
                machine=machine.examine(environ, gpus.result()) if engine is None else None,
            )
        except BaseException:
            tools.stop()
            raise
