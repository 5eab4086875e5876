"""Apptainer and Singularity: one program, and what the kernel lets an ordinary user do."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Callable
from pathlib import Path

from mlcommons_box.diagnosis.asking import Answer, Tools
from mlcommons_box.diagnosis.findings import (
    Diagnosis,
    Finding,
    absent,
    diagnosed,
    known,
    unanswered,
    version_in,
    version_numbers,
)
from mlcommons_box.diagnosis.machine import Gpus
from mlcommons_box.runners.engine_failures import SINGULARITY_FAILURES as FAILURES
from mlcommons_box.runners.singularity_command import EXECUTABLES
from mlcommons_box.value import Value

_PROFILES = Path("/etc/apparmor.d")


class Kernel(Value):
    """What this machine lets an ordinary user do; a setting is None where the kernel does not have it."""

    max_user_namespaces: int | None = None
    userns_clone: int | None = None
    apparmor_restricts: int | None = None
    has_profile: bool = False

    @property
    def allows_namespaces(self) -> bool:
        """Whether user namespaces can be made at all."""
        return self.max_user_namespaces != 0 and self.userns_clone != 0


class SingularityEvidence(Value):
    """What was found.  ``settings`` is what ``buildcfg`` says; None when the version was not even told."""

    executable: Path
    version: Answer
    settings: Answer | None
    is_root: bool
    kernel: Kernel
    has_fuse: bool = True
    has_squashfuse: bool = True
    has_mksquashfs: bool = True
    has_subordinates: bool = True


def examine(tools: Tools, gpus: Callable[[], Gpus]) -> Diagnosis:
    """Ask the program, and look at what it needs."""
    executable = next(filter(None, map(tools.where, EXECUTABLES)), None)
    if executable is None:
        return absent(
            "singularity",
            "there is neither 'apptainer' nor 'singularity' here",
            "install Apptainer (apptainer.org)",
        )
    version = tools.ask(executable, "--version")
    settings = tools.ask(executable, "buildcfg") if version.succeeded else None
    return diagnosis(
        SingularityEvidence(
            executable=executable,
            version=version,
            settings=settings,
            is_root=os.geteuid() == 0,
            kernel=_kernel(),
            has_fuse=os.access("/dev/fuse", os.R_OK | os.W_OK),
            has_squashfuse=_has_squashfuse(tools, settings),
            has_mksquashfs=tools.where("mksquashfs") is not None,
            has_subordinates=all(_subordinate(_text(f"/etc/{name}")) for name in ("subuid", "subgid")),
        )
    )


def _kernel() -> Kernel:
    def number(file: str) -> int | None:
        text = _text(f"/proc/sys/{file}").strip()
        return int(text) if text.isdigit() else None

    return Kernel(
        max_user_namespaces=number("user/max_user_namespaces"),
        userns_clone=number("kernel/unprivileged_userns_clone"),
        apparmor_restricts=number("kernel/apparmor_restrict_unprivileged_userns"),
        has_profile=any(list(_PROFILES.glob(f"*{name}*")) for name in EXECUTABLES),
    )


def _has_squashfuse(tools: Tools, settings: Answer | None) -> bool:
    """Whether there is one on PATH, or among the engine's own programs."""
    names = ("squashfuse_ll", "squashfuse")
    own = setting(settings.out, "LIBEXECDIR") if settings else None
    places = [Path(own, name, "bin") for name in EXECUTABLES] if own else []
    return any(tools.where(name) or any(os.path.exists(place / name) for place in places) for name in names)


def _text(file: str) -> str:
    try:
        return Path(file).read_text("utf-8", "replace")
    except OSError:
        return ""


def _subordinate(text: str) -> bool:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a number without a name
        name = ""
    return has_subordinates(text, name, os.getuid())


def has_subordinates(text: str, name: str, uid: int) -> bool:
    """Whether a file like /etc/subuid gives a user a range: ``name:first:count`` or ``uid:first:count``."""
    for line in text.splitlines():
        owner, _, span = line.partition(":")
        if owner in (name, str(uid)) and owner and span.rpartition(":")[2].strip() not in ("", "0"):
            return True
    return False


def setting(text: str, name: str) -> str | None:
    """A line ``NAME=value`` of ``buildcfg``."""
    found = re.search(rf"^(?:APPTAINER_|SINGULARITY_)?{name}=(.*)$", text, re.MULTILINE)
    return found.group(1).strip() if found else None


def diagnosis(evidence: SingularityEvidence) -> Diagnosis:
    """What that means."""
    if evidence.settings is None:
        hint = "install Apptainer again (apptainer.org)"
        finding = unanswered(evidence.executable.name, evidence.version, FAILURES, hint)
        return diagnosed("singularity", evidence.executable, None, [], [finding])
    setuid = setting(evidence.settings.out, "SUID_INSTALL") == "1"
    details: list[tuple[str, str | None]] = [
        ("program", product(evidence.version.out)),
        ("installation", "setuid" if setuid else "without setuid"),
        ("/dev/fuse", "usable" if evidence.has_fuse else "not usable"),
        ("namespaces", "allowed" if evidence.kernel.allows_namespaces else "not allowed"),
    ]
    findings = version_findings(evidence.version.out)
    if not evidence.is_root:
        findings += [] if setuid else _unprivileged_findings(evidence)
        if not evidence.has_subordinates:
            findings.append(known("/etc/subuid", FAILURES, "warning"))
    if not evidence.has_mksquashfs:
        findings.append(known("mksquashfs", FAILURES, "warning"))
    return diagnosed("singularity", evidence.executable, version_in(evidence.version.out), details, findings)


def product(version: str) -> str:
    """Which of the programs of this family says that version."""
    name = version.lower()
    if "apptainer" in name:
        return "Apptainer"
    return "SingularityCE" if "singularity-ce" in name else "Singularity"


def version_findings(version: str) -> list[Finding]:
    """Whether it is too old for ``--mount`` and ``--no-eval``."""
    numbers = version_numbers(version)
    oldest = (1, 1) if product(version) == "Apptainer" else (3, 10)
    return [known("unknown flag: --mount", FAILURES)] if numbers and numbers < oldest else []


def _unprivileged_findings(evidence: SingularityEvidence) -> list[Finding]:
    """What an installation without setuid needs from the kernel."""
    findings = []
    kernel = evidence.kernel
    if not kernel.allows_namespaces:
        findings.append(known("max_user_namespaces", FAILURES))
    elif kernel.apparmor_restricts and not kernel.has_profile:
        findings.append(
            Finding(
                severity="warning",
                message="AppArmor restricts user namespaces, and no profile of it names this program",
                hint="install Apptainer from its package for your system, which brings a profile; or ask for "
                "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
            )
        )
    if not (evidence.has_fuse and evidence.has_squashfuse):
        findings.append(known("/dev/fuse", FAILURES, "warning"))
    return findings
