"""Python environments of the local runner, built for real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from mlcommons_box.errors import CannotCreateError, PreparationError
from mlcommons_box.runners.python_environment import PythonEnvironment, python_environment
from tests.conftest import write_files


class Watcher:
    """A build observer that counts."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.said = b""

    def preparing(self, what: str) -> None:
        self.steps.append(what)

    def preparation_output(self, chunk: bytes) -> None:
        self.said += chunk

    def prepared(self) -> None:
        pass


@pytest.fixture(params=["uv", "pip"])
def environ(request: pytest.FixtureRequest, tmp_path: Path) -> Mapping[str, str]:
    """The caller's environment with one installer and an empty cache."""
    installer = {"MLCOMMONS_BOX_INSTALLER": "pip"} if request.param == "pip" else {}
    return {**os.environ, **installer, "MLCOMMONS_BOX_CACHE": str(tmp_path / "cache")}


def environment(build: Path, environ: Mapping[str, str], python: str | None = None) -> PythonEnvironment:
    requirements = build / "requirements.txt"
    return python_environment(
        build, requirements=requirements if requirements.exists() else None, python=python, environ=environ
    )


def says(wanted: PythonEnvironment, code: str) -> str:
    return subprocess.check_output([str(wanted.interpreter), "-c", code], text=True).strip()


def test_it_holds_what_the_requirements_say_and_nothing_of_ours(tmp_path: Path, environ: Mapping[str, str]) -> None:
    build = write_files(tmp_path / "build", {"requirements.txt": "six==1.17.0\n"})
    wanted, watcher = environment(build, environ), Watcher()
    assert (wanted.installer is None) == (environ.get("MLCOMMONS_BOX_INSTALLER") == "pip")
    wanted.ensure(watcher)
    assert wanted.is_ready()
    assert says(wanted, "import six; print(six.__version__)") == "1.17.0"
    assert says(wanted, "import importlib.util as u; print(u.find_spec('mlcommons_box'))") == "None"
    wanted.ensure(watcher)
    assert len(watcher.steps) == 1


def test_a_package_of_the_box_itself_is_built_once(tmp_path: Path, environ: Mapping[str, str]) -> None:
    """Its build leaves files beside its code, which are no code."""
    build = write_files(
        tmp_path / "build",
        {
            "requirements.txt": "-r more.txt  # shared\n",
            "more.txt": "./net\n",
            "net/pyproject.toml": '[build-system]\nrequires = ["setuptools"]\n'
            'build-backend = "setuptools.build_meta"\n'
            '[project]\nname = "net"\nversion = "1"\n[tool.setuptools]\npy-modules = ["net"]\n',
            "net/net.py": "layers = 2\n",
        },
    )
    wanted = environment(build, environ)
    wanted.ensure(Watcher())
    assert says(wanted, "import net; print(net.layers)") == "2"
    assert environment(build, environ).is_ready()
    (build / "net/net.py").write_text("layers = 3\n")
    assert not environment(build, environ).is_ready()


def test_without_requirements_it_has_the_standard_library(tmp_path: Path, environ: Mapping[str, str]) -> None:
    wanted = environment(write_files(tmp_path, {"main.py": ""}), environ)
    wanted.ensure(Watcher())
    assert says(wanted, "import sys; print(sys.prefix)") == str(wanted.directory)


def test_a_failed_build_says_why_and_leaves_nothing(tmp_path: Path, environ: Mapping[str, str]) -> None:
    build = write_files(tmp_path / "build", {"requirements.txt": "no-such-package-of-mlcommons-box==1\n"})
    wanted = environment(build, environ)
    with pytest.raises(PreparationError, match="no-such-package-of-mlcommons-box"):
        wanted.ensure(Watcher())
    assert not wanted.directory.exists()


def test_what_a_killed_build_left_is_not_taken_for_finished(tmp_path: Path, environ: Mapping[str, str]) -> None:
    build = write_files(tmp_path / "build", {"requirements.txt": "six==1.17.0\n"})
    wanted = environment(build, environ)
    script = f"""
import os, signal
from pathlib import Path
from mlcommons_box.runners.python_environment import PythonEnvironment
wanted = PythonEnvironment(
    directory=Path({str(wanted.directory)!r}), build=Path({str(build)!r}),
    requirements=Path({str(wanted.requirements)!r}), python={wanted.python!r}, installer={wanted.installer!r},
)
class Killer:
    def preparing(self, what): pass
    def preparation_output(self, chunk): pass
    def prepared(self): pass
PythonEnvironment._mark_complete = lambda self: os.kill(os.getpid(), signal.SIGKILL)
wanted.ensure(Killer())
"""
    killed = subprocess.run([sys.executable, "-c", script], env=dict(environ), check=False)
    assert killed.returncode == -signal.SIGKILL
    assert wanted.directory.exists()
    assert not wanted.is_ready()
    watcher = Watcher()
    wanted.ensure(watcher)
    assert wanted.is_ready()
    assert len(watcher.steps) == 1


def test_two_at_once_build_once(tmp_path: Path, environ: Mapping[str, str]) -> None:
    build = write_files(tmp_path / "box/build", {"requirements.txt": "six==1.17.0\n", "main.py": "print('ran')"})
    box = write_files(
        build.parent,
        {
            "mlbox.yaml": "schema_version: 1.0.0\nschema_type: mlbox_root\nname: b\nauthor: a\nversion: 1.0.0\n"
            "mlbox_spec_version: 1.0.0\ntasks: [tasks/t.yaml]\n",
            "tasks/t.yaml": "schema_version: 1.0.0\nschema_type: mlbox_task\ninputs: []\noutputs: []\n",
        },
    )
    command = [sys.executable, "-m", "mlcommons_box", "configure", "--platform=local", str(box)]
    started = [subprocess.Popen(command, env=dict(environ), stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert sum("==> building" in text and "building a Python environment" in text for text in said) == 1
    environments = list((tmp_path / "cache/environments").glob("*/complete.json"))
    assert len(environments) == 1


def test_an_interrupt_ends_a_build_and_leaves_nothing(tmp_path: Path, environ: Mapping[str, str]) -> None:
    build = write_files(
        tmp_path / "build",
        {
            "requirements.txt": "./slow\n",
            "slow/setup.py": "import time; time.sleep(600)",
            "slow/pyproject.toml": "[build-system]\nrequires = []\n"
            "build-backend = 'backend'\nbackend-path = ['.']\n",
            "slow/backend.py": "import time, pathlib\npathlib.Path(__file__).with_name('started').touch()\n"
            "time.sleep(600)\n",
        },
    )
    box = write_files(
        tmp_path,
        {
            "mlbox.yaml": "schema_version: 1.0.0\nschema_type: mlbox_root\nname: b\nauthor: a\nversion: 1.0.0\n"
            "mlbox_spec_version: 1.0.0\ntasks: [tasks/t.yaml]\n",
            "tasks/t.yaml": "schema_version: 1.0.0\nschema_type: mlbox_task\ninputs: []\noutputs: []\n",
            "build/main.py": "",
        },
    )
    command = [sys.executable, "-m", "mlcommons_box", "configure", "--platform=local", str(box)]
    process = subprocess.Popen(command, env=dict(environ), stderr=subprocess.PIPE, text=True)
    for _ in range(3000):
        if list(build.parent.rglob("started")) or list(tmp_path.rglob("started")):
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert "interrupted" in said
    assert [path.suffix for path in (tmp_path / "cache/environments").iterdir()] == [".lock"]


def test_a_cache_that_cannot_be_written_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, where a directory should be")
    wanted = environment(tmp_path, {**os.environ, "MLCOMMONS_BOX_CACHE": str(tmp_path / "cache")})
    with pytest.raises(CannotCreateError) as caught:
        wanted.ensure(Watcher())
    assert "MLCOMMONS_BOX_CACHE" in str(caught.value.hint)
