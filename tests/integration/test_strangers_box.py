"""A stranger's box full of metacharacters: names, paths and values are text to us, from validation to the run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import engines
from tests.conftest import write_files

MLBOX = [sys.executable, "-m", "mlcommons_box"]
EVIL = "; touch pwned; $(touch pwned) `touch pwned` | touch pwned && touch pwned > pwned 'x' #"
IMAGE = "mlbox-stranger-test"
PLATFORM = "schema_version: 1.1.0\nenvironment: {EVIL: __EVIL__}\nschema_type: "
PROGRAM = "import os, sys; print(sys.argv[1:], os.environ['EVIL'], sep='\\n')"


def quoted(text: str) -> str:
    """A text in YAML."""
    return "'" + text.replace("'", "''") + "'"


@pytest.fixture
def box(tmp_path: Path) -> Path:
    platform = PLATFORM.replace("__EVIL__", quoted(EVIL))
    task = "schema_version: 1.0.0\nschema_type: mlbox_task\ninputs: []\n"
    run = f"schema_version: 1.0.0\nschema_type: mlbox_invoke\ntask_name: {quoted(EVIL)}\ninput_binding: {{}}\n"
    return write_files(
        tmp_path / f"box {EVIL}",
        {
            "mlbox.yaml": f"schema_version: 1.0.0\nschema_type: mlbox_root\nname: {quoted(EVIL)}\n"
            f"author: {quoted(EVIL)}\nversion: 1.0.0\nmlbox_spec_version: 1.0.0\n"
            f"tasks: [{quoted('tasks/' + EVIL + '.yaml')}]\n",
            f"tasks/{EVIL}.yaml": task + "outputs: [{name: 'a;touch', type: directory}]\n",
            f"run/{EVIL}.yaml": run + f"output_binding: {{'a;touch': {quoted(EVIL)}}}\n",
            "build/main.py": PROGRAM,
            "build/Dockerfile": f"FROM {engines.BASE_IMAGE}\nCOPY main.py /main.py\nRUN chmod a+r /main.py\n"
            'ENTRYPOINT ["python3", "/main.py"]\n',
            "build/Singularity.recipe": f"Bootstrap: docker\nFrom: {engines.REGISTRY}/{engines.BASE_IMAGE}\n\n"
            '%files\n    main.py /main.py\n\n%runscript\n    exec python3 /main.py "$@"\n',
            "platforms/local.yaml": platform + "mlbox_local\n",
            "platforms/docker.yaml": platform + f"mlbox_docker\nimage: {IMAGE}\ndocker_runtime: docker\n",
            "platforms/podman.yaml": platform + f"mlbox_docker\nimage: {IMAGE}\ndocker_runtime: podman\n",
            "platforms/apptainer.yaml": platform
            + f"mlbox_singularity\nimage: {quoted(EVIL.replace('$', '') + '.sif')}\n",
        },
    )


@pytest.mark.parametrize(
    "platform",
    ["local", *(pytest.param(name, marks=pytest.mark.engine(name)) for name in ("docker", "podman", "apptainer"))],
)
def test_nothing_of_it_is_run(platform: str, box: Path, tmp_path: Path) -> None:
    run = ["run", f"--task={EVIL}", f"--platform={platform}"]
    for command in (["validate"], ["describe"], [*run, "--dry-run"], run, ["runs"], ["show"], ["logs"]):
        words = [*MLBOX, *command, "--mlbox", str(box)]
        result = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        if command == run:
            place = box / "workspace" if platform == "local" else Path("/mlbox_io0")
            assert result.stdout == f"{[EVIL, f'--a;touch={place}/{EVIL}']}\n{EVIL}\n"
    assert not list(tmp_path.rglob("pwned"))
    if platform in ("docker", "podman"):
        subprocess.run([platform, "rmi", "--force", IMAGE], check=True, capture_output=True)
