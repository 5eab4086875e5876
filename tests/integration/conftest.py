"""What the tests of the real engines need: this project as an ordinary user finds it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlcommons_box.cache import CACHE_VARIABLE
from tests.conftest import REPOSITORY
from tests.integration import mnist

SYSTEM_PYTHON = "/usr/bin/python3"
"""An interpreter that every user may run; that of the tests may lie in a home directory."""


@pytest.fixture(scope="session")
def ordinary_directory() -> Iterator[Path]:
    """A directory that an ordinary user can read; pytest's own are for their maker alone."""
    directory = Path(tempfile.mkdtemp(prefix="mlbox-ordinary-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def ordinary_checkout(ordinary_directory: Path) -> Path:
    """A copy of this checkout that an ordinary user can read."""
    checkout = ordinary_directory / "checkout"
    ignored = shutil.ignore_patterns("__pycache__", ".mlbox", "data", "model", "*_logs", "chats")
    for name in ("src", "tests", "examples"):
        shutil.copytree(REPOSITORY / name, checkout / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements-dev.lock"):
        shutil.copy(REPOSITORY / name, checkout / name)
    subprocess.run(["chmod", "-R", "a+rX", str(checkout)], check=True)
    return checkout


@pytest.fixture(scope="session")
def ordinary_bin(ordinary_directory: Path, ordinary_checkout: Path) -> Path:
    """The programs of an environment with this project in it, for an ordinary user."""
    uv = Path(sys.executable).parent / "uv"
    environment = ordinary_directory / "venv"
    interpreter = environment / "bin/python"
    install = [str(uv), "pip", "install", "--quiet", "--link-mode=copy", "--python", str(interpreter)]
    for command in (
        [str(uv), "venv", "--quiet", "--python", SYSTEM_PYTHON, str(environment)],
        [*install, "--require-hashes", "-r", str(ordinary_checkout / "requirements-dev.lock")],
        [*install, "--no-deps", "--no-build-isolation", str(ordinary_checkout)],
    ):
        subprocess.run(command, check=True)
    subprocess.run(["chmod", "-R", "a+rX", str(environment)], check=True)
    return environment / "bin"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A copy of the MNIST box in which everything has run locally."""
    root = mnist.copy_of_the_box(tmp_path_factory.mktemp("mnist"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(cache))
        result = mnist.run(root, "--all")
    assert result.returncode == 0, result.stdout + result.stderr
    shutil.copytree(root, pristine(root), symlinks=True)
    return root


def pristine(trained: Path) -> Path:
    """The same box as it was then, whatever tests have run in it since."""
    return trained.with_name("pristine mnist")
