"""Docker: a client, a daemon that may be elsewhere, and a builder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlcommons_box.command import redacted
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
from mlcommons_box.runners.docker_command import SELINUX
from mlcommons_box.runners.engine_failures import failures_of
from mlcommons_box.value import Value

OLDEST_CLIENT = (20, 10)
"""The first whose ``docker run`` has ``--pull``."""
BUILT_IN_BUILDKIT = ((18, 9), (23, 0))
"""From the first version to before the second, BuildKit is in the client; later it is the plugin buildx."""
FAILURES = failures_of("docker")
_HANGS = "restart the daemon (sudo systemctl restart docker), and look at DOCKER_HOST and 'docker context ls'"
_DISGUISED = "write 'docker_runtime: podman' in the platform file, and use 'podman'"


class DockerEvidence(Value):
    """What was found.  ``endpoint`` is the daemon's address, where it is not the usual one.

    ``info`` is what ``docker info`` says; None when the client did not even say its version.
    """

    executable: Path
    version: Answer
    info: Answer | None
    endpoint: str | None = None
    selinux: bool = False
    has_gpu_hook: bool = False


def examine(tools: Tools, gpus: Callable[[], Gpus]) -> Diagnosis:
    """Ask the client, and through it the daemon."""
    executable = tools.where("docker")
    if executable is None:
        return absent(
            "docker", "there is no program 'docker' here", "install Docker (docs.docker.com/engine/install)"
        )
    version = tools.ask(executable, "--version")
    info = tools.ask(executable, "info", "--format", "{{json .}}") if version.succeeded else None
    evidence = DockerEvidence(
        executable=executable,
        version=version,
        info=info,
        endpoint=_endpoint(tools, executable, info),
        selinux=_enforced(SELINUX),
        has_gpu_hook=tools.where("nvidia-container-runtime-hook") is not None,
    )
    return diagnosis(evidence, gpus())


def _endpoint(tools: Tools, executable: Path, info: Answer | None) -> str | None:
    if tools.environ.get("DOCKER_HOST"):
        return tools.environ["DOCKER_HOST"]
    context = (facts(info).get("ClientInfo") or {}).get("Context") or "default"
    if context == "default" or info is None or info.timed_out:
        return None
    answer = tools.ask(executable, "context", "inspect", context, "--format", "{{.Endpoints.docker.Host}}")
    return answer.out.strip() if answer.succeeded else None


def _enforced(file: Path) -> bool:
    try:
        return file.read_text().strip() == "1"
    except OSError:
        return False


def facts(answer: Answer | None) -> dict[str, Any]:
    """The JSON object in an answer, whatever stands before or after it; empty where there is none."""
    import json

    text = answer.out if answer else ""
    try:
        found, _ = json.JSONDecoder().raw_decode(text, max(0, text.find("{")))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def diagnosis(evidence: DockerEvidence, gpus: Gpus) -> Diagnosis:
    """What that means."""
    if evidence.info is None:
        hint = "install Docker again, or put another 'docker' before this one on PATH"
        return diagnosed(
            "docker", evidence.executable, None, [], [unanswered("docker", evidence.version, FAILURES, hint)]
        )
    info = facts(evidence.info)
    options = [str(option) for option in info.get("SecurityOptions") or ()]
    client = info.get("ClientInfo") or {}
    answers = bool(info.get("ServerVersion"))
    details: list[tuple[str, str | None]] = [
        ("daemon", f"{info['ServerVersion']}" if answers else None),
        ("endpoint", redacted(evidence.endpoint) if evidence.endpoint else None),
        ("context", client.get("Context")),
        ("builder", builder(evidence.version.out, client)),
        ("rootless", "yes" if _has(options, "rootless") else None),
        ("SELinux", "enforcing" if evidence.selinux or _has(options, "selinux") else None),
        ("GPUs", "NVIDIA Container Toolkit" if _reaches_gpus(info, evidence) else None),
    ]
    findings = client_findings(evidence.version.out, client)
    if _is_podman(evidence.version.out):
        if not evidence.info.succeeded:
            findings.append(unanswered("docker", evidence.info, failures_of("podman"), _DISGUISED))
    elif not answers:
        findings.append(unanswered("the Docker daemon", _as_daemon(evidence.info, info), FAILURES, _HANGS))
    else:
        findings += daemon_findings(evidence, info, gpus)
    return diagnosed("docker", evidence.executable, version_in(evidence.version.out), details, findings)


def builder(version: str, client: Mapping[str, Any]) -> str | None:
    """What builds images: the client's plugin, the client itself, or the daemon's old builder.

    None where it is not known.
    """
    if _is_podman(version) or not client:
        return None
    plugins = {plugin.get("Name"): plugin for plugin in client.get("Plugins") or () if isinstance(plugin, dict)}
    if "buildx" in plugins:
        return f"BuildKit (buildx {plugins['buildx'].get('Version', '')}".strip() + ")"
    first, last = BUILT_IN_BUILDKIT
    numbers = version_numbers(version)
    return "BuildKit" if numbers and first <= numbers < last else "without BuildKit"


def client_findings(version: str, client: Mapping[str, Any]) -> list[Finding]:
    """What is wrong with the client."""
    if _is_podman(version):
        message = "this 'docker' is Podman by another name, which takes other options to keep files yours"
        return [Finding(severity="warning", message=message, hint=_DISGUISED)]
    numbers = version_numbers(version)
    if numbers and numbers < OLDEST_CLIENT:
        message = f"this client is too old: docker {version_in(version)}"
        return [Finding(severity="error", message=message, hint="install Docker 20.10 or newer")]
    if builder(version, client) == "without BuildKit":
        message = (
            "this client builds without BuildKit: 'RUN --mount' in a Dockerfile fails, and certificates that "
            "a build is given stay in the image"
        )
        return [Finding(severity="warning", message=message, hint="install Docker's plugin 'buildx'")]
    return []


def daemon_findings(evidence: DockerEvidence, info: Mapping[str, Any], gpus: Gpus) -> list[Finding]:
    """What is wrong with a daemon that answers."""
    findings = []
    if _has([str(option) for option in info.get("SecurityOptions") or ()], "rootless"):
        findings.append(
            Finding(
                severity="warning",
                message="this daemon is rootless: what a task writes may belong to a subordinate user, not to you",
                hint="use Podman, which keeps files yours without root ('docker_runtime: podman')",
            )
        )
    if (evidence.endpoint or "").startswith(("tcp://", "ssh://", "http://", "https://")):
        findings.append(known("bind source path does not exist", FAILURES, "warning"))
    if gpus.names and not _reaches_gpus(info, evidence):
        findings.append(known("could not select device driver: gpu", FAILURES, "warning"))
    return findings


def _as_daemon(answer: Answer, info: Mapping[str, Any]) -> Answer:
    """The answer with the errors alone: until version 23 they are in the JSON, and the status is 0."""
    said = "\n".join(map(str, info.get("ServerErrors") or ())) or answer.err or ("" if info else answer.out)
    return Answer(status=answer.status, err=said.strip(), timed_out=answer.timed_out, patience=answer.patience)


def _reaches_gpus(info: Mapping[str, Any], evidence: DockerEvidence) -> bool:
    """By a registered runtime, by the hook that ``--gpus`` uses, or by CDI devices (Docker 28)."""
    found = [device for device in info.get("DiscoveredDevices") or () if isinstance(device, dict)]
    devices = [str(device.get("ID", "")) for device in found]
    registered = "nvidia" in (info.get("Runtimes") or {})
    return registered or evidence.has_gpu_hook or any(device.startswith("nvidia.com/gpu") for device in devices)


def _has(options: list[str], name: str) -> bool:
    """Whether a security option is on, as in ``name=seccomp,profile=default``."""
    return any(option.split(",")[0] == f"name={name}" for option in options)


def _is_podman(version: str) -> bool:
    return "podman" in version.lower()
