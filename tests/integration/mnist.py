"""The MNIST box for tests: a copy of it, its local runs, and what it left."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY

MLBOX = [sys.executable, "-m", "mlcommons_box"]


def copy_of_the_box(directory: Path) -> Path:
    """The box as it is published, without what runs left in it."""
    root = directory / "mnist"
    ignored = shutil.ignore_patterns("data", "model", "*_logs", ".mlbox")
    return Path(shutil.copytree(REPOSITORY / "examples/mnist", root, ignore=ignored))


def run(root: Path, *words: str, offline: bool = False) -> subprocess.CompletedProcess[str]:
    """Run the box locally; ``offline`` takes the network away from everything that it starts."""
    prefix = ["unshare", "--net", "--map-root-user"] if offline else []
    command = [*prefix, *MLBOX, "run", str(root), "--platform=local", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def metrics(root: Path, name: str = "model") -> dict[str, object]:
    """The metrics in a model directory."""
    content: dict[str, object] = json.loads((root / "workspace" / name / "metrics.json").read_text())
    return content


def sha256(file: Path) -> str:
    """A file's SHA-256."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
