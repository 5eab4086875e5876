"""The local runner: needs a Python, something that installs packages, and a place to put environments."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from mlcommons_box.cache import CACHE_VARIABLE, cache_directory
from mlcommons_box.diagnosis.asking import Answer, Tools
from mlcommons_box.diagnosis.findings import Diagnosis, Finding, diagnosed, unanswered, version_in
from mlcommons_box.diagnosis.machine import Gpus, nearest
from mlcommons_box.runners.python_environment import INSTALLER_VARIABLE, NO_PIP, find_uv
from mlcommons_box.value import Value


class LocalEvidence(Value):
    """What was found.  ``uv`` is what it says of its version, None where there is none.

    ``cache_writable`` is whether the cache directory, or the nearest one above it, can be written to.
    """

    executable: Path
    python: str
    uv_path: str | None
    uv: Answer | None
    has_venv: bool
    has_pip: bool
    cache: Path
    cache_writable: bool


def examine(tools: Tools, gpus: Callable[[], Gpus]) -> Diagnosis:
    """Look at this Python and what is beside it."""
    from importlib.util import find_spec

    uv = find_uv(tools.environ)
    cache = cache_directory(tools.environ)
    above = nearest(cache)
    return diagnosis(
        LocalEvidence(
            executable=Path(sys.executable),
            python=platform.python_version(),
            uv_path=uv,
            uv=tools.ask(uv, "--version") if uv else None,
            has_venv=find_spec("venv") is not None,
            has_pip=find_spec("ensurepip") is not None,
            cache=cache,
            cache_writable=os.path.isdir(above) and os.access(above, os.W_OK | os.X_OK),
        )
    )


def diagnosis(evidence: LocalEvidence) -> Diagnosis:
    """What that means."""
    findings = []
    if evidence.uv is not None and not evidence.uv.succeeded:
        hint = f"install it again, or set {INSTALLER_VARIABLE}=pip to do without"
        findings.append(unanswered(str(evidence.uv_path), evidence.uv, (), hint))
    elif evidence.uv is None and not (evidence.has_venv and evidence.has_pip):
        findings.append(Finding(severity="error", message=NO_PIP.meaning, hint=NO_PIP.remedy))
    if not evidence.cache_writable:
        findings.append(
            Finding(
                severity="error",
                message=f"the cache {str(evidence.cache)!r} cannot be written to",
                hint=f"set {CACHE_VARIABLE} to a directory that you can write to",
            )
        )
    details: list[tuple[str, str | None]] = [("installer", _installer(evidence)), ("cache", str(evidence.cache))]
    return diagnosed("local", evidence.executable, f"Python {evidence.python}", details, findings)


def _installer(evidence: LocalEvidence) -> str | None:
    if evidence.uv is not None:
        return f"uv {version_in(evidence.uv.out) or '(version unknown)'}, {evidence.uv_path}"
    return "venv and pip (uv is faster)" if evidence.has_venv and evidence.has_pip else None
