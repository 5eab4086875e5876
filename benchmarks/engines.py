"""What a run of a no-op task costs on top of the engine's own command with the very same arguments."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests import engines

from benchmarks.timing import Measurement, measure
from mlcommons_box.definition.loader import load_box, load_platform, load_run_configuration
from mlcommons_box.planning import RunPlan, plan_run
from mlcommons_box.runners.registry import runner_for

BIN = Path(sys.executable).parent
FILES = {
    "mlbox.yaml": "schema_version: 1.0.0\nschema_type: mlbox_root\nname: no_op\nauthor: a\nversion: 1.0.0\n"
    "mlbox_spec_version: 1.0.0\ntasks: [tasks/go.yaml]\n",
    "tasks/go.yaml": "schema_version: 1.0.0\nschema_type: mlbox_task\n"
    "inputs: [{name: data, type: file}]\noutputs: [{name: out, type: directory}]\n",
    "run/go.yaml": "schema_version: 1.0.0\nschema_type: mlbox_invoke\ntask_name: go\n"
    "input_binding: {data: data}\noutput_binding: {out: out}\n",
    "workspace/data": "data\n",
    "workspace/out/there": "",
    "build/Dockerfile": f'FROM {engines.BASE_IMAGE}\nENTRYPOINT ["/bin/true"]\n',
    "build/Singularity.recipe": f"Bootstrap: docker\nFrom: {engines.REGISTRY}/{engines.BASE_IMAGE}\n\n"
    '%runscript\n    exec /bin/true "$@"\n',
    "platforms/docker.yaml": "schema_version: 1.0.0\nschema_type: mlbox_docker\n"
    "image: mlbox-benchmark\ndocker_runtime: docker\n",
    "platforms/podman.yaml": "schema_version: 1.0.0\nschema_type: mlbox_docker\n"
    "image: mlbox-benchmark\ndocker_runtime: podman\n",
    "platforms/apptainer.yaml": "schema_version: 1.0.0\nschema_type: mlbox_singularity\nimage: no_op.sif\n",
}


def engine_measurements(directory: Path, rounds: int) -> tuple[list[Measurement], dict[str, str]]:
    """The measurements on the engines of this machine, and why the others are not measured."""
    root = directory / "engines"
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    results: list[Measurement] = []
    absent = {}
    for name in ("docker", "podman", "apptainer"):
        reason = engines.absent(name)
        if reason:
            absent[name] = reason
        else:
            results += _on_engine(name, root, rounds)
    return results, absent


def _on_engine(name: str, root: Path, rounds: int) -> Iterator[Measurement]:
    words = [str(root), f"--platform={name}"]
    subprocess.run([str(BIN / "mlbox"), "configure", "-q", *words], check=True)
    command = _plan_command(root, name)
    yield measure(
        f"mlbox run, {name}, no-op task",
        [str(BIN / "mlbox"), "run", "-q", *words],
        (f"{name} run, same arguments", command),
        rounds,
        {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"},
    )
    if name != "apptainer":
        subprocess.run([name, "rmi", "--force", "mlbox-benchmark"], check=True, capture_output=True)


def _plan_command(root: Path, platform: str) -> list[str]:
    """The engine's command of a run; what it needs beside it is made once."""
    box = load_box(root)
    plan: RunPlan = plan_run(
        box,
        load_run_configuration(root / "run/go.yaml", box),
        load_platform(root / f"platforms/{platform}.yaml"),
        run_id=f"benchmark-{int(time.time())}",
    )
    *before, command = [each for each in runner_for(plan.platform).commands(plan) if each.argv[0] != "rm"]
    for each in before:
        subprocess.run(each.argv, check=True)
    return ["env", *(f"{name}={value}" for name, value in command.added if isinstance(value, str)), *command.argv]
