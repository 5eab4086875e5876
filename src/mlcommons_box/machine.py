"""What a machine is, as far as it may matter for a result: read from files of Linux, without starting a process."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

SCRIPT = """\
uname -n
uname -s
uname -r
uname -m
echo "$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)"
echo "$(getconf _NPROCESSORS_ONLN)"
echo "$(sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo)"
sed -n 's/^Model:[[:space:]]*//p' /proc/driver/nvidia/gpus/*/information"""
"""The same for a shell, one fact a line; a line may be empty, and GPUs come last, a line each."""
_FACTS = 7


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def this_machine() -> dict[str, Any]:
    """Host, system, processors that this process may use, memory in bytes, and the names of GPUs."""
    system = os.uname()
    gpus = [
        found[1].strip()
        for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
        if (found := re.search(r"^Model:(.*)$", _text(file), re.MULTILINE))
    ]
    memory = re.search(r"^MemTotal:\s*(\d+) kB", _text(Path("/proc/meminfo")), re.MULTILINE)
    model = re.search(r"^model name\s*:\s*(.*)$", _text(Path("/proc/cpuinfo")), re.MULTILINE)
    return {
        "host": system.nodename,
        "system": system.sysname,
        "release": system.release,
        "architecture": system.machine,
        "processor": model[1] if model else None,
        "processors": processors(),
        "memory": int(memory[1]) * 1024 if memory else None,
        "gpus": gpus,
    }


def machine_of(said: str) -> dict[str, Any]:
    """What :data:`SCRIPT` has said; empty when it was cut off."""
    lines = said.splitlines()
    if len(lines) < _FACTS:
        return {}
    host, system, release, architecture, processor, processors, memory = lines[:_FACTS]
    return {
        "host": host,
        "system": system,
        "release": release,
        "architecture": architecture,
        "processor": processor or None,
        "processors": _whole(processors),
        "memory": None if _whole(memory) is None else int(memory) * 1024,
        "gpus": [line.strip() for line in lines[_FACTS:] if line.strip()],
    }


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def _text(file: Path) -> str:
    with suppress(OSError), file.open("rb") as stream:
        return stream.read(1 << 16).decode("utf-8", "replace")
    return ""
