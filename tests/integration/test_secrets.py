"""A secret of the caller is seen by the task, and nowhere else: no process list, no record, no log, no report."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlcommons_box.host import SSH_CONFIG_VARIABLE
from tests import engines
from tests.conftest import ECHO_BOX, MakeBox
from tests.integration.test_ssh_contract import HOME

MLBOX = [sys.executable, "-m", "mlcommons_box"]
IMAGE = "mlbox-secrets-test"
DIRECTORY = f"secrets-test-{uuid.uuid4().hex}"
"""Below the home on the host."""
SECRETS = {"API_TOKEN": "geheim-1-geheim", "DATABASE_URL": "db://me:geheim-2-geheim@db/x"}
"""One that the caller has in the environment, and one with a value in the platform file."""
HIDDEN = "geheim-"
PROGRAM = """\
import hashlib, os, sys, time
values = dict(word[2:].split("=", 1) for word in sys.argv[2:])
seen = "".join(os.environ[name] for name in ("API_TOKEN", "DATABASE_URL"))
open(values["target"], "w").write(hashlib.sha256(seen.encode()).hexdigest())
time.sleep(1.5)
"""
ENVIRONMENT = f"environment: {{API_TOKEN: , DATABASE_URL: '{SECRETS['DATABASE_URL']}'}}\n"
PLATFORMS = {
    "local": "schema_type: mlbox_local\nschema_version: 1.1.0\n",
    "docker": f"schema_type: mlbox_docker\nschema_version: 1.1.0\nimage: {IMAGE}\ndocker_runtime: docker\n",
    "podman": f"schema_type: mlbox_docker\nschema_version: 1.1.0\nimage: {IMAGE}\ndocker_runtime: podman\n",
    "apptainer": "schema_type: mlbox_singularity\nschema_version: 1.1.0\nimage: a.sif\n",
    "ssh": f"schema_type: mlbox_ssh\nschema_version: 1.1.0\nhost: {engines.SSH_HOST}\nplatform: local\n",
    "ssh-docker": f"schema_type: mlbox_ssh\nschema_version: 1.1.0\nhost: {engines.SSH_HOST}\nplatform: docker\n",
}


class CommandLines:
    """Every command line of this machine, again and again, and where a secret was in one."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self.rounds = 0
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.look)

    def __enter__(self) -> CommandLines:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        self.thread.join()

    def look(self) -> None:
        while not self.is_over.is_set():
            self.rounds += 1
            for name in filter(str.isdigit, os.listdir("/proc")):
                try:
                    line = Path("/proc", name, "cmdline").read_bytes()
                except OSError:
                    continue
                if HIDDEN.encode() in line:
                    self.found.add(line.replace(b"\0", b" ").decode()[:200])
            time.sleep(0.02)


@pytest.fixture
def box(make_box: MakeBox) -> Path:
    docker = (
        f'FROM {engines.BASE_IMAGE}\nCOPY echo.py /\nRUN chmod a+r /echo.py\nENTRYPOINT ["python3", "/echo.py"]\n'
    )
    platforms = {
        f"platforms/{name}.yaml": text + ENVIRONMENT for name, text in PLATFORMS.items() if "ssh" not in name
    }
    hosts = {f"platforms/{name}.yaml": text + ENVIRONMENT for name, text in PLATFORMS.items() if "ssh" in name}
    recipe = (
        f"Bootstrap: docker\nFrom: {engines.REGISTRY}/{engines.BASE_IMAGE}\n\n%files\n    build/echo.py /echo.py\n"
    )
    recipe += '\n%runscript\n    exec python3 /echo.py "$@"\n'
    files = {"build/echo.py": PROGRAM, "build/Dockerfile": docker, "recipe": recipe, **platforms, **hosts}
    return make_box(files)


@pytest.fixture
def tidy() -> Iterator[None]:
    yield
    shutil.rmtree(HOME / DIRECTORY, ignore_errors=True)
    for engine in ("docker", "podman"):
        if not engines.absent(engine):
            subprocess.run([engine, "rmi", "--force", IMAGE], check=False, capture_output=True)


def everything_in(*places: Path) -> Iterator[tuple[Path, bytes]]:
    for place in places:
        for path in sorted(place.rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield path, path.read_bytes()


@pytest.mark.parametrize(
    "platform",
    [
        "local",
        pytest.param("docker", marks=pytest.mark.engine("docker")),
        pytest.param("podman", marks=pytest.mark.engine("podman")),
        pytest.param("apptainer", marks=pytest.mark.engine("apptainer")),
        pytest.param("ssh", marks=pytest.mark.engine("ssh")),
        pytest.param("ssh-docker", marks=pytest.mark.engine("ssh", "docker")),
    ],
)
@pytest.mark.usefixtures("tidy")
def test_a_secret_is_the_task_s_alone(
    platform: str, box: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "ssh" in platform:
        there = box / f"platforms/{platform}.yaml"
        there.write_text(there.read_text() + f"directory: {DIRECTORY}\n")
        monkeypatch.setenv(SSH_CONFIG_VARIABLE, str(engines.ssh_config()))
    if platform == "apptainer":
        words = [
            "build",
            "--fakeroot",
            "--mksquashfs-args=-noI -noD -noF -no-fragments",
            "workspace/a.sif",
            "recipe",
        ]
        subprocess.run(["apptainer", *words], cwd=box, check=True, capture_output=True)
    variables = {**os.environ, "API_TOKEN": SECRETS["API_TOKEN"], "TMPDIR": str(tmp_path / "scratch")}
    variables["MLCOMMONS_BOX_CACHE"] = str(tmp_path / "cache")
    (tmp_path / "scratch").mkdir()
    said = ""

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        nonlocal said
        done = subprocess.run(
            [*MLBOX, *words], env=variables, capture_output=True, text=True, check=False, cwd=tmp_path
        )
        said += done.stdout + done.stderr
        return done

    on = f"--platform={platform}"
    call("run", str(box), on, "--dry-run", "-v")
    with CommandLines() as lines:
        done = call("run", str(box), on, "-v")
    assert done.returncode == 0, done.stderr
    expected = hashlib.sha256("".join(SECRETS.values()).encode()).hexdigest()
    assert (box / "workspace/out/copy.txt").read_text() == expected
    assert lines.rounds > 10
    assert not lines.found
    for words in (["show"], ["show", "--json"], ["runs", "--json"], ["logs"], ["describe"], ["describe", "--json"]):
        call(*words, "--mlbox", str(box))
    call("why", "--mlbox", str(box), on, "--task=copy")
    call("report", str(box), "--output=report.html")
    assert HIDDEN not in said
    left = [path for path, content in everything_in(tmp_path, HOME / DIRECTORY) if HIDDEN.encode() in content]
    # Where somebody wrote it by hand, and what is remembered of these files for their reader alone.
    assert [path for path in left if not {"platforms", "definitions"} & set(path.parts)] == []
    assert HIDDEN not in (tmp_path / "report.html").read_text()


def test_a_crash_file_has_no_variable_of_the_caller(make_box: MakeBox, tmp_path: Path) -> None:
    """It has the lines of our own source that were being run, and the message."""
    program = (
        "import sys\n"
        "from mlcommons_box.cli import describe, main\n"
        "def broken(arguments):\n"
        "    import os\n"
        "    secret = os.environ['API_TOKEN']\n"
        "    raise ZeroDivisionError('a defect')\n"
        "describe.execute = broken\n"
        "sys.exit(main.main(['describe', sys.argv[1]]))\n"
    )
    variables = {**os.environ, **SECRETS, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", program, str(make_box())]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 70
    (file,) = tmp_path.glob("mlbox-crash-*")
    assert "a defect" in file.read_text()
    assert HIDDEN not in file.read_text() + done.stderr
    assert file.stat().st_mode & 0o077 == 0


def test_a_password_in_an_argument_is_in_no_record(make_box: MakeBox) -> None:
    """What a platform file hands to an engine as it is written."""
    platform = (
        PLATFORMS["docker"] + f"arguments: ['--label', 'url=https://u:{HIDDEN}3@h', '--my-token={HIDDEN}4']\n"
    )
    root = make_box({"platforms/docker.yaml": platform, "run/copy.yaml": ECHO_BOX["run/copy.yaml"]})
    words = [*MLBOX, "run", str(root), "--platform=docker", "--dry-run"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--my-token=***" in done.stdout
    assert HIDDEN not in done.stdout + done.stderr
