"""What a result was measured on: figures of two machines, or of two versions, say nothing beside each other."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

from mlcommons_box import __version__

TOOLS = {
    "docker": ["docker", "version", "--format", "client {{.Client.Version}}, server {{.Server.Version}}"],
    "podman": ["podman", "--version"],
    "apptainer": ["apptainer", "--version"],
    "slurm": ["srun", "--version"],
    "ssh": ["ssh", "-V"],
    "rsync": ["rsync", "--version"],
}


def machine() -> dict[str, object]:
    """Cores, model, memory, system and kernel; no name and no address."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cores": os.cpu_count(),
        "cpu": model.group(1) if model else platform.machine(),
        "memory_gib": round(memory),
        "system": _distribution(),
        "kernel": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
    }


def versions() -> dict[str, str]:
    """Of this software, of Python, and of the engines that are here."""
    found = {"mlcommons-box": __version__, "commit": _commit(), "python": platform.python_version()}
    for name, command in TOOLS.items():
        try:
            said = subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        line = (said.stdout or said.stderr).strip().splitlines()[0]
        number = re.search(r"\d[\w.+~-]*", line)
        found[name] = line if name == "docker" or not number else number.group()
    return {name: text for name, text in found.items() if text}


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform()


def _commit() -> str:
    """The last commit that changed the software; with a plus when files of it are not as in a commit."""
    asked = ["git", "-C", str(Path(__file__).parent.parent)]
    said = []
    for words in (["log", "-1", "--format=%h", "--abbrev=12"], ["status", "--porcelain"]):
        try:
            done = subprocess.run([*asked, *words, "--", "src"], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return ""
        said.append(done.stdout.strip())
    return said[0] + ("+" if said[1] else "")
