"""What all engines share: GPUs, disks, and what the network asks for."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from mlcommons_box.cache import CACHE_VARIABLE, cache_directory
from mlcommons_box.diagnosis.asking import Answer, Tools
from mlcommons_box.diagnosis.findings import Finding, Machine
from mlcommons_box.runners.engine_failures import CERTIFICATES, NO_SPACE
from mlcommons_box.runners.failures import tail
from mlcommons_box.runners.site_settings import CA_BUNDLE_VARIABLE, PROXY_VARIABLES, present
from mlcommons_box.value import Value

LITTLE_SPACE = 5_000_000_000
"""Bytes; the environment of a small neural network takes 0.6 GB, its image several times that."""
_CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")
_GPU = re.compile(r"^GPU \d+: (.+?)(?: \(UUID: [^)]*\))?\s*$", re.MULTILINE)


class Gpus(Value):
    """The names of the GPUs, and what keeps them from being seen."""

    names: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


class Disk(Value):
    """A directory that has to have room; ``free`` is in bytes, None where nothing can be learned."""

    what: str
    path: Path
    free: int | None
    variable: str
    exists: bool = True


def find_gpus(tools: Tools) -> Gpus:
    """Ask NVIDIA's tool, where it is."""
    program = tools.where("nvidia-smi")
    return Gpus() if program is None else gpus_in(tools.ask(program, "-L"))


def gpus_in(answer: Answer) -> Gpus:
    """The GPUs that ``nvidia-smi -L`` lists."""
    if answer.succeeded:
        return Gpus(names=tuple(_GPU.findall(answer.out)))
    said = tail(answer.said, lines=1).strip()
    reason = f"it gave no answer within {answer.patience:g} s" if answer.timed_out else said or "it fails"
    finding = Finding(
        severity="warning",
        message=f"nvidia-smi does not list the GPUs: {reason}",
        hint="the driver is not loaded, or does not fit: restart the machine, or install the driver again",
    )
    return Gpus(findings=(finding,))


def examine(environ: Mapping[str, str], gpus: Gpus) -> Machine:
    """Look at the disks and the variables; starts nothing."""
    disks = (
        _disk("cache", cache_directory(environ), CACHE_VARIABLE),
        _disk("temporary", Path(environ.get("TMPDIR") or "/tmp"), "TMPDIR"),  # noqa: S108
    )
    lost = [name for name in present(_CERTIFICATES, environ) if not os.path.isfile(environ[name])]
    return machine(disks, gpus, environ, lost)


def machine(disks: tuple[Disk, ...], gpus: Gpus, environ: Mapping[str, str], lost: list[str]) -> Machine:
    """What there is to say; ``lost`` are the variables that name a bundle of certificates that is not there."""
    proxies, certificates = present(PROXY_VARIABLES, environ), present(_CERTIFICATES, environ)
    details = [
        ("GPUs", _counted(gpus.names)),
        *((disk.what, f"{disk.path}, {_room(disk)}") for disk in disks),
        ("proxies", ", ".join(proxies)),
        ("certificates", ", ".join([*certificates, *present((CA_BUNDLE_VARIABLE,), environ)])),
    ]
    findings = [*gpus.findings]
    for disk in disks:
        findings += _disk_findings(disk)
    findings += [
        Finding(
            severity="warning",
            message=f"{name} names a file that is not there",
            hint=f"unset {name}, or name this machine's bundle of certificates, in PEM form",
        )
        for name in lost
    ]
    if certificates and not lost and not environ.get(CA_BUNDLE_VARIABLE):
        findings.append(
            Finding(
                severity="warning",
                message=f"the network seems to have a certificate authority of its own ({certificates[0]} is set), "
                "which no image knows",
                hint=CERTIFICATES.remedy,
            )
        )
    return Machine(details=tuple((name, value) for name, value in details if value), findings=tuple(findings))


def _disk_findings(disk: Disk) -> list[Finding]:
    elsewhere = f"set {disk.variable} to a directory that you can write to"
    if not disk.exists:
        message = f"there is no directory {str(disk.path)!r}, which {disk.variable} names"
        return [Finding(severity="warning", message=message, hint=f"make it, or {elsewhere}")]
    if disk.free is not None and disk.free < LITTLE_SPACE:
        message = f"{_gigabytes(disk.free)} GB are free for {str(disk.path)!r}: too little for most images"
        return [Finding(severity="warning", message=message, hint=f"{NO_SPACE.remedy}; or {elsewhere}")]
    return []


def nearest(path: Path) -> Path:
    """The path, or the nearest directory above it that is there."""
    return next(each for each in (path, *path.parents) if os.path.exists(each))


def _disk(what: str, path: Path, variable: str) -> Disk:
    # A cache is made when it is needed; a directory for temporary files has to be there.
    exists = variable == CACHE_VARIABLE or os.path.isdir(path)
    try:
        status = os.statvfs(nearest(path))
        free = status.f_bavail * status.f_frsize
    except (OSError, StopIteration):
        free = None
    return Disk(what=what, path=path, free=free, variable=variable, exists=exists)


def _room(disk: Disk) -> str:
    return "free space unknown" if disk.free is None else f"{_gigabytes(disk.free)} GB free"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f}"


def _counted(names: tuple[str, ...]) -> str:
    """``2 x NVIDIA A100``."""
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names)) or "none"
