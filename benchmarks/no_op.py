"""The same work for every tool: a task that ends at once, with a file to read and a directory to write into."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from benchmarks.bench import write_files

IMAGE = "mlbox-benchmark"
SIF = "no_op.sif"
REMOTE = "mlbox-benchmark-no-op"
"""The directory of the box on the second host, below the home directory."""
_HEAD = "schema_version: 1.0.0\nschema_type: "
_NEW = "schema_version: 1.1.0\nschema_type: "
_SCRIPT = "#!/bin/sh\n"


@dataclass(frozen=True)
class Places:
    """Where each tool finds it."""

    box: Path
    box_of_2020: Path
    cube: Path
    local: Path
    """For tools that look for their own file in a directory: without a container."""
    container: Path
    """The same, with one."""


def write(root: Path, engines: ModuleType) -> Places:
    """Write all of them; ``engines`` says what base image and what host there is."""
    return Places(
        box=write_files(root / "box", _box(engines)),
        box_of_2020=write_files(root / "box-of-2020", {**_box(engines), **_CHANGED_FOR_2020}),
        cube=write_files(root / "cube", _CUBE),
        local=write_files(root / "local", _local(root / "local")),
        container=write_files(root / "container", _CONTAINER),
    )


def _box(engines: ModuleType) -> dict[str, str]:
    return {
        "mlbox.yaml": f"{_HEAD}mlbox_root\nname: no_op\nauthor: a\nversion: 1.0.0\nmlbox_spec_version: 1.0.0\n"
        "tasks: [tasks/go.yaml]\n",
        "tasks/go.yaml": f"{_HEAD}mlbox_task\ninputs: [{{name: data, type: file}}]\n"
        "outputs: [{name: out, type: directory}]\n",
        "run/go.yaml": f"{_HEAD}mlbox_invoke\ntask_name: go\ninput_binding: {{data: $WORKSPACE/data}}\n"
        "output_binding: {out: $WORKSPACE/out}\n",
        "workspace/data": "data\n",
        "workspace/out/there": "",
        "build/go.sh": _SCRIPT,
        "build/Dockerfile": f'FROM {engines.BASE_IMAGE}\nENTRYPOINT ["/bin/true"]\n',
        "build/Singularity.recipe": f"Bootstrap: docker\nFrom: {engines.REGISTRY}/{engines.BASE_IMAGE}\n\n"
        '%runscript\n    exec /bin/true "$@"\n',
        "platforms/local.yaml": f"{_NEW}mlbox_local\nentrypoint: go.sh\n",
        "platforms/docker.yaml": f"{_HEAD}mlbox_docker\nimage: {IMAGE}\ndocker_runtime: docker\n",
        "platforms/podman.yaml": f"{_HEAD}mlbox_docker\nimage: {IMAGE}\ndocker_runtime: podman\n",
        "platforms/apptainer.yaml": f"{_HEAD}mlbox_singularity\nimage: {SIF}\n",
        "platforms/slurm.yaml": f"{_NEW}mlbox_slurm\nplatform: local\nresources: {{cpus: 1, memory: 200M}}\n",
        "platforms/ssh.yaml": f"{_NEW}mlbox_ssh\nhost: {engines.SSH_HOST}\nplatform: local\ndirectory: {REMOTE}\n",
    }


_CHANGED_FOR_2020 = {
    "platforms/docker.yaml": "schema_version: 0.1.0\nschema_type: mlcommons_box_platform\n"
    f'platform: {{name: docker, version: ">=18.01"}}\ncontainer: {{image: "{IMAGE}"}}\n',
}
_CUBE = {
    "mlcube.yaml": f"name: no_op\nplatform: {{accelerator_count: 0}}\n"
    f"docker: {{image: {IMAGE}, build_strategy: auto}}\n"
    "tasks:\n  go:\n    parameters:\n      inputs: {data: {type: file, default: data}}\n"
    "      outputs: {out: {type: directory, default: out}}\n",
    "workspace/data": "data\n",
}
_CWL = (
    "cwlVersion: v1.2\nclass: CommandLineTool\n{hints}baseCommand: [{program}]\n"
    "inputs: {{data: {{type: File, inputBinding: {{prefix: --data=, separate: false}}}}}}\noutputs: []\n"
)
_JOB = "data: {class: File, path: data}\n"
_CONTAINER = {
    "go.cwl": _CWL.format(program="/bin/true", hints=f"hints: {{DockerRequirement: {{dockerPull: {IMAGE}}}}}\n"),
    "go-sif.cwl": _CWL.format(
        program="/bin/true", hints=f"hints: {{DockerRequirement: {{dockerImageId: {SIF}}}}}\n"
    ),
    "go.yaml": _JOB,
    "data": "data\n",
    "Snakefile": f'rule go:\n    input: "data"\n    container: "{SIF}"\n    shell: "true {{input}}"\n',
    "MLproject": f'name: no_op\ndocker_env: {{image: {IMAGE}}}\nentry_points: {{main: {{command: "true"}}}}\n',
}


def _local(root: Path) -> dict[str, str]:
    return {
        "go.sh": _SCRIPT,
        "go.cwl": _CWL.format(program=f"{root}/go.sh", hints=""),
        "go.yaml": _JOB,
        "data": "data\n",
        "Snakefile": 'rule go:\n    input: "data"\n    shell: "./go.sh {input}"\n',
        "dvc.yaml": "stages:\n  go:\n    cmd: ./go.sh data\n    deps: [data]\n    always_changed: true\n",
        ".dvc/config": "[core]\n    no_scm = True\n",
        "MLproject": 'name: no_op\nentry_points: {main: {command: "./go.sh data"}}\n',
    }
