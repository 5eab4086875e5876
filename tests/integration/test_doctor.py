"""``mlbox doctor`` as a user calls it: with bad programs on PATH, and with this machine's engines."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mlcommons_box.diagnosis.examination import examine
from mlcommons_box.diagnosis.findings import ENGINES
from mlcommons_box.errors import EX_INTERRUPTED, EX_UNAVAILABLE
from tests import engines

MLBOX = [sys.executable, "-m", "mlcommons_box", "doctor"]

DOCKER = """\
#!/bin/sh
case "$1" in
--version) echo "Docker version 28.2.2, build e6534b4" ;;
info) {info} ;;
*) exit 64 ;;
esac
"""
CLIENT = '{"ServerVersion": "", "ClientInfo": {"Context": "default", "Plugins": [{"Name": "buildx"}]}}'
SILENT = f"echo '{CLIENT}'; echo 'Cannot connect to the Docker daemon at unix:///x' >&2; exit 1"
FORBIDDEN = (
    f"echo '{CLIENT}'; echo 'permission denied while trying to connect to the Docker daemon socket at "
    "unix:///var/run/docker.sock: connect: permission denied' >&2; exit 1"
)
PODMAN = """\
#!/bin/sh
[ "$1" = --version ] && echo "podman version 5.2.0" && exit
echo 'cannot find UID/GID for user ada: no subuid ranges found for user "ada" in /etc/subuid' >&2
echo '{"host": {"security": {"rootless": true}, "cgroupControllers": ["cpu", "memory"],
  "idMappings": {"uidmap": [{"container_id": 0, "host_id": 1001, "size": 1}]},
  "pasta": {"executable": "/usr/bin/pasta"}}, "store": {"graphDriverName": "overlay"}}'
"""
SINGULARITY = """\
#!/bin/sh
[ "$1" = --version ] && echo "singularity version 3.5.2" && exit
echo "SINGULARITY_SUID_INSTALL=1"
"""


@pytest.fixture
def programs(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Makes an environment whose PATH has these programs, and no others but the shell's own."""

    def make(**texts: str) -> dict[str, str]:
        directory = tmp_path / "programs"
        directory.mkdir()
        for name in ("sh", "sleep"):
            found = shutil.which(name)
            assert found
            (directory / name).symlink_to(found)
        for name, text in texts.items():
            (directory / name).write_text(text)
            (directory / name).chmod(0o755)
        environ = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
        return {**environ, "PATH": str(directory)}

    return make


def doctor(*words: str, env: Mapping[str, str] = os.environ) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*MLBOX, *words], capture_output=True, text=True, check=False, env=env, timeout=60)


def as_data(*words: str, env: Mapping[str, str] = os.environ) -> dict[str, Any]:
    result = doctor(*words, "--json", env=env)
    assert result.stderr == ""
    data: dict[str, Any] = json.loads(result.stdout)
    assert bool(data["usable"]) == (result.returncode == 0)
    assert result.returncode in (0, EX_UNAVAILABLE)
    return data


def test_a_machine_without_engines_runs_boxes_locally(programs: Callable[..., dict[str, str]]) -> None:
    result = doctor(env={**programs(), "MLCOMMONS_BOX_PLATFORM": ""})
    assert result.returncode == 0
    assert result.stdout.count("not here") == 3
    assert result.stdout.endswith("\nfirst choice for a box here: local\n")
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize(
    ("engine", "texts", "message", "remedy"),
    [
        pytest.param(
            "docker",
            {"docker": DOCKER.format(info=SILENT)},
            "the Docker daemon does not answer",
            "sudo systemctl start docker",
            id="no-daemon",
        ),
        pytest.param(
            "docker",
            {"docker": DOCKER.format(info=FORBIDDEN)},
            "you may not use the Docker daemon",
            "usermod -aG docker",
            id="no-permission",
        ),
        pytest.param(
            "podman",
            {"podman": PODMAN},
            "your account has no range of subordinate user ids",
            "usermod --add-subuids",
            id="no-subuid",
        ),
        pytest.param(
            "singularity",
            {"singularity": SINGULARITY},
            "this Singularity is too old",
            "install Apptainer 1.1",
            id="old-singularity",
        ),
        pytest.param(
            "docker", {"docker": "\x7fELF no program"}, "cannot start ", "install Docker again", id="broken"
        ),
    ],
)
def test_a_problem_is_named_with_its_remedy(
    programs: Callable[..., dict[str, str]], engine: str, texts: dict[str, str], message: str, remedy: str
) -> None:
    env = programs(**texts)
    result = doctor(engine, env=env)
    assert result.returncode == EX_UNAVAILABLE
    assert f"{engine:16}problem" in result.stdout
    lines = result.stdout.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith(f"  error: {message}"))
    assert lines[place + 1].startswith("    = help: ")
    assert remedy in lines[place + 1]
    everything = doctor(env=env)
    assert everything.returncode == 0
    assert f"  error: {message}" in everything.stdout


def test_engines_that_hang_keep_nobody_waiting(programs: Callable[..., dict[str, str]]) -> None:
    hanging = "#!/bin/sh\n[ $1 = --version ] && echo version 28.0 && exit\nexec sleep 61\n"
    names = ("docker", "podman", "apptainer", "nvidia-smi")
    environ = programs(**dict.fromkeys(names, hanging))
    begun = time.monotonic()
    found = examine(environ=environ, patience=1.0)
    assert time.monotonic() - begun < 5
    for diagnosis in found.engines[:2]:
        assert not diagnosis.usable
        assert "gave no answer within 1 s" in diagnosis.findings[0].message
    assert found.usable[-1] == "local"
    assert found.machine is not None
    assert any("nvidia-smi" in finding.message for finding in found.machine.findings)


def test_an_interrupt_ends_it_and_what_it_asks(programs: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    environ = programs(
        docker=DOCKER.format(info=f'echo $$ > "{asked}.new"; mv "{asked}.new" "{asked}"; exec sleep 62')
    )
    environ["PATH"] += os.pathsep + "/usr/bin" + os.pathsep + "/bin"
    with subprocess.Popen([*MLBOX, "docker"], env=environ, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 30
        while not asked.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=5)
    assert process.returncode == EX_INTERRUPTED
    assert err == "error: interrupted\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int(asked.read_text()), 0)


def test_what_is_on_this_machine() -> None:
    """With the real engines, where they are."""
    data = as_data()
    found = {each["engine"]: each for each in data["engines"]}
    assert list(found) == list(ENGINES)
    programs = {"docker": ("docker",), "podman": ("podman",), "singularity": ("apptainer", "singularity")}
    for engine, names in programs.items():
        executable = next(filter(None, map(shutil.which, names)), None)
        assert found[engine]["executable"] == executable
        probe = "apptainer" if engine == "singularity" else engine
        if executable is None:
            assert found[engine]["status"] == "not here"
        elif engines.absent(probe) is None:
            assert found[engine]["status"] == "ok"
            assert found[engine]["version"] in version_of(executable)
        else:
            assert found[engine]["status"] == "problem"
    assert found["local"]["usable"]
    for part in (*data["engines"], data["machine"]):
        assert all(finding["hint"] for finding in part["findings"])


def version_of(executable: str) -> str:
    return subprocess.run([executable, "--version"], capture_output=True, text=True, check=True).stdout


def test_nothing_is_changed(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    data = as_data("local", env={**os.environ, "MLCOMMONS_BOX_CACHE": str(cache)})
    assert data["engines"][0]["details"]["cache"] == str(cache)
    assert not cache.exists()


@pytest.mark.engine("podman", "ordinary-user")
def test_an_ordinary_user_has_podman_without_root() -> None:
    """The package is read where it is: of all the modules, only those that need nothing else are loaded."""
    code = (
        "import sys; sys.dont_write_bytecode = True; sys.path.insert(0, sys.argv[1])\n"
        "from mlcommons_box.diagnosis.examination import examine\n"
        "found, = examine('podman').engines\n"
        "print(found.status, dict(found.details)['rootless'], found.findings)"
    )
    source = Path(__file__).parents[2] / "src"
    command = engines.as_ordinary_user("python3", "-c", code, str(source))
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.stdout.startswith("ok yes "), result.stdout + result.stderr
