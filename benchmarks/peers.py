"""The other tools: each in an environment of its own, made by uv below one directory."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.timing import last_words, plain_environ

UV = Path(sys.executable).with_name("uv")
PROGRAM = {"mlcommons-box 0.2.3": "mlcommons_box", "mlcube 0.0.9": "mlcube"}
"""What a tool's program is called, when not as the tool."""
NEEDS = {
    # What the release of 2020 imports has moved on, or is not in its own requirements.
    "mlcommons-box 0.2.3": (
        "mlcommons-box==0.2.3",
        "mlcommons-box-docker>=0.2,<0.3",
        "tornado",
        "semver<3",
        "marshmallow<3.14",
        "python-box<5",
        "setuptools<81",
    ),
    "mlcube 0.0.9": ("mlcube==0.0.9", "mlcube-docker==0.0.9"),
    "cwltool": ("cwltool",),
    "snakemake": ("snakemake",),
    "dvc": ("dvc",),
    "mlflow": ("mlflow",),
}


@dataclass
class Peers:
    """Those that are installed, and why the others are not."""

    place: Path
    absent: dict[str, str] = field(default_factory=dict)

    def program(self, tool: str, name: str | None = None) -> str:
        """The path of a tool's program."""
        return str(self._environment(tool) / "bin" / (name or PROGRAM.get(tool, tool)))

    def __contains__(self, tool: str) -> bool:
        return tool in NEEDS and tool not in self.absent

    def _environment(self, tool: str) -> Path:
        return self.place / tool.replace(" ", "-")

    def install(self, tool: str) -> None:
        """Install a tool once, with its modules compiled, as an installer that is not in a hurry leaves them."""
        environment = self._environment(tool)
        complete = environment / "complete"
        if not complete.exists():
            try:
                _uv("venv", "--clear", "--python", sys.executable, str(environment))
                python = str(environment / "bin/python")
                _uv("pip", "install", "--compile-bytecode", "--python", python, *NEEDS[tool])
            except subprocess.CalledProcessError as error:
                self.absent[tool] = f"cannot be installed: {last_words(error.stderr)}"
                return
            complete.touch()

    def version(self, tool: str) -> str:
        """The version that is installed."""
        distribution = NEEDS[tool][0].partition("=")[0]
        code = f"import importlib.metadata as m; print(m.version({distribution!r}))"
        python = str(self._environment(tool) / "bin/python")
        return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def _uv(*words: str) -> None:
    subprocess.run([str(UV), "--quiet", *words], check=True, capture_output=True, text=True)


def environ(place: Path) -> dict[str, str]:
    """Variables with which all tools keep their files below a directory, and tell nobody that they were used."""
    place.mkdir(parents=True, exist_ok=True)
    return {
        **plain_environ(),
        "MLCOMMONS_BOX_CACHE": str(place / "mlbox"),
        "XDG_CACHE_HOME": str(place / "cache"),
        "MLCUBE_SYSTEM_SETTINGS": str(place / "mlcube.yaml"),
        "DVC_NO_ANALYTICS": "1",
        "DVC_GLOBAL_CONFIG_DIR": str(place / "dvc"),
        "DVC_SITE_CACHE_DIR": str(place / "dvc-site"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{place}/mlflow.db",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
