"""Podman: no daemon, but what an ordinary user needs to do without root."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlcommons_box.diagnosis.asking import Answer, Tools
from mlcommons_box.diagnosis.docker import facts
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
from mlcommons_box.runners.engine_failures import failures_of
from mlcommons_box.value import Value

OLDEST = (4, 0)
"""The first whose ``podman rm`` has ``--time``."""
FAILURES = failures_of("podman")
_HANGS = "look for podman processes that hang ('ps -C podman') and end them, then try 'podman info'"
_INIT = ("/usr/libexec/podman", "/usr/local/libexec/podman", "/usr/local/lib/podman", "/usr/lib/podman")
"""Where Podman looks for its programs, before PATH (containers.conf(5), ``helper_binaries_dir``)."""
_SETTINGS = ("/usr/share/containers/containers.conf", "/etc/containers/containers.conf")
_CDI = ("/etc/cdi", "/var/run/cdi")


class PodmanEvidence(Value):
    """What was found.  ``info`` is None when Podman did not even say its version."""

    executable: Path
    version: Answer
    info: Answer | None
    has_init: bool = True
    has_tun: bool = True
    has_gpu_devices: bool = False


def examine(tools: Tools, gpus: Callable[[], Gpus]) -> Diagnosis:
    """Ask Podman, and look for what it needs."""
    executable = tools.where("podman")
    if executable is None:
        return absent("podman", "there is no program 'podman' here", "install Podman (podman.io)")
    version = tools.ask(executable, "--version")
    evidence = PodmanEvidence(
        executable=executable,
        version=version,
        info=tools.ask(executable, "info", "--format", "json", client=True) if version.succeeded else None,
        has_init=_has_init(tools),
        has_tun=os.access("/dev/net/tun", os.R_OK | os.W_OK),
        has_gpu_devices=any(list(Path(place).glob("*nvidia*")) for place in _CDI),
    )
    return diagnosis(evidence, gpus())


def _has_init(tools: Tools) -> bool:
    """Whether Podman finds an init program, or is told of one."""
    if tools.where("catatonit") or any(os.access(f"{place}/catatonit", os.X_OK) for place in _INIT):
        return True
    own = os.path.join(tools.environ.get("XDG_CONFIG_HOME") or os.path.join(_home(tools), ".config"), "containers")
    for file in (*_SETTINGS, f"{own}/containers.conf"):
        try:
            if re.search(r"^\s*init_path\s*=", Path(file).read_text("utf-8", "replace"), re.MULTILINE):
                return True
        except OSError:
            continue
    return False


def _home(tools: Tools) -> str:
    return tools.environ.get("HOME") or os.path.expanduser("~")


def diagnosis(evidence: PodmanEvidence, gpus: Gpus) -> Diagnosis:
    """What that means."""
    answer = evidence.info if evidence.info is not None else evidence.version
    info = facts(evidence.info)
    if not answer.succeeded or not info:
        hint = _HANGS if answer.timed_out else "run 'podman info' to see more; install Podman again if it cannot"
        version = version_in(evidence.version.out) if evidence.version.succeeded else None
        return diagnosed("podman", evidence.executable, version, [], [unanswered("podman", answer, FAILURES, hint)])
    host, store = _part(info, "host"), _part(info, "store")
    rootless, remote = _is_rootless(host), bool(host.get("serviceIsRemote"))
    details: list[tuple[str, str | None]] = [
        ("rootless", "yes" if rootless else "no"),
        ("service", "remote" if remote else None),
        ("user ids", f"{_mapped(host)}" if rootless else None),
        ("network", network(host) if rootless else None),
        ("storage", storage(store)),
        ("SELinux", "on" if _part(host, "security").get("selinuxEnabled") else None),
        ("GPUs", "CDI devices" if evidence.has_gpu_devices else None),
    ]
    findings = version_findings(evidence.version.out)
    if not remote:
        findings += host_findings(evidence, host, store)
    if gpus.names and not evidence.has_gpu_devices:
        findings.append(known("unresolvable CDI devices", FAILURES, "warning"))
    return diagnosed("podman", evidence.executable, version_in(evidence.version.out), details, findings)


def version_findings(version: str) -> list[Finding]:
    """Whether it is too old."""
    numbers = version_numbers(version)
    if numbers is None or numbers >= OLDEST:
        return []
    message = f"Podman {version_in(version)} is old: the container of a task that is interrupted may stay behind"
    return [Finding(severity="warning", message=message, hint="install Podman 4.0 or newer")]


def host_findings(evidence: PodmanEvidence, host: Mapping[str, Any], store: Mapping[str, Any]) -> list[Finding]:
    """What is missing on this machine, most of it for those who are not root."""
    findings = []
    if not evidence.has_init:
        findings.append(known("container-init binary not found", FAILURES))
    if not _is_rootless(host):
        return findings
    if _mapped(host) < 2:
        findings.append(known("potentially insufficient UIDs or GIDs", FAILURES))
    if network(host) is None or not evidence.has_tun:
        findings.append(known("/dev/net/tun", FAILURES, "warning"))
    if store.get("graphDriverName") == "vfs":
        findings.append(
            Finding(
                severity="warning",
                message="Podman copies whole images for every container (storage driver vfs), which is slow",
                hint="install fuse-overlayfs and set 'driver = \"overlay\"' in ~/.config/containers/storage.conf; "
                "'podman system reset', which removes all images, makes the change",
            )
        )
    if not {"cpu", "memory"} <= set(host.get("cgroupControllers") or ()):
        findings.append(
            Finding(
                severity="warning",
                message="Podman cannot limit CPUs and memory for you here "
                f"(control groups {host.get('cgroupVersion', 'unknown')})",
                hint="leave 'cpus' and 'memory' out of 'resources', or ask for both in control groups v2",
            )
        )
    return findings


def network(host: Mapping[str, Any]) -> str | None:
    """What makes networks for those who are not root."""
    found = [name for name in ("pasta", "slirp4netns") if _part(host, name).get("executable")]
    return " or ".join(found) or None


def storage(store: Mapping[str, Any]) -> str | None:
    """The driver, and the program that mounts for it."""
    driver = store.get("graphDriverName")
    options = _part(store, "graphOptions")
    program = next((value for key, value in options.items() if key.endswith("mount_program")), None)
    path = program.get("Executable") if isinstance(program, dict) else program
    return f"{driver} ({Path(str(path)).name})" if driver and path else driver


def _is_rootless(host: Mapping[str, Any]) -> bool:
    return bool(_part(host, "security").get("rootless"))


def _mapped(host: Mapping[str, Any]) -> int:
    """How many user ids a container can have."""
    entries = _part(host, "idMappings").get("uidmap")
    sizes = [each.get("size") for each in entries if isinstance(each, dict)] if isinstance(entries, list) else []
    return sum(size for size in sizes if isinstance(size, int))


def _part(whole: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = whole.get(name)
    return part if isinstance(part, dict) else {}
