"""A run as objects of Kubernetes: a Job, and beside it a Secret and a network policy where they are needed.

All of it is plain data, and nothing here asks a cluster.  Texts that a Pod would expand (``$(NAME)``) are escaped.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from mlcommons_box.command import redacted
from mlcommons_box.model import KubernetesOptions, Toleration
from mlcommons_box.planning import RunPlan
from mlcommons_box.runners.container_run import USER_NAME, Caller
from mlcommons_box.runners.kubernetes_identity import Identity, container_security, identity, pod_security
from mlcommons_box.runners.kubernetes_scripts import PATIENCE, WAIT, first_script
from mlcommons_box.runners.kubernetes_volumes import CLAIMS, TRANSFER, Layout, layout

Data = dict[str, Any]

TASK = "task"
"""The container with the task."""
FIRST = "mlbox-first"
"""The container that comes before it, and that takes what is sent."""
TRANSFER_CONTAINER = "mlbox-transfer"
"""The container beside it, from which outputs are fetched."""
RUN_LABEL = "org.mlcommons.box/run"
HOME = "/tmp"  # noqa: S108  # in the container, where any user may write
KEPT = 24 * 3600
"""Seconds after which the cluster removes a Job that has ended and that nobody has removed."""
GRACE = 10
"""Seconds between asking a task to end and killing it, as with Docker."""

_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


def job_name(run_id: str) -> str:
    """The name of a run's Job, which is also that of its Secret and its network policy."""
    safe = re.sub(r"[^a-z0-9]+", "-", run_id.lower()).strip("-")[:40].strip("-")
    if safe != run_id.lower():
        safe = f"{safe}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}".strip("-")
    return f"mlbox-{safe}"


def selector(plan: RunPlan) -> str:
    """What finds everything of a run, for ``kubectl --selector``."""
    return f"{RUN_LABEL}={_run_label(plan)}"


def manifest(plan: RunPlan, environ: Mapping[str, str], caller: Caller, *, shown: bool = False) -> list[Data]:
    """All objects of a run, what the Job needs before the Job.  Where it is ``shown``, secrets are ``***``."""
    items = []
    secrets = secret_variables(plan, environ)
    if secrets:
        items.append(_secret(plan, dict.fromkeys(secrets, "***") if shown else secrets))
    if plan.network == "none":
        items.append(_network_policy(plan))
    items.append(job(plan, environ, caller))
    return items


def as_text(objects: list[Data]) -> bytes:
    """Objects as ``kubectl`` reads them, one after another: to check a list it would fetch a large schema."""
    return b"".join(json.dumps(each, indent=2).encode() + b"\n" for each in objects)


def secret_variables(plan: RunPlan, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that come from the caller or whose names tell of a secret, with their values."""
    found = {}
    for variable in plan.environment:
        value = environ.get(variable.name) if variable.value is None else variable.value
        if value is not None and (variable.value is None or _is_secret(variable.name, value)):
            found[variable.name] = value
    return found


def job(plan: RunPlan, environ: Mapping[str, str], caller: Caller) -> Data:
    """The Job."""
    where = layout(plan)
    spec: Data = {"backoffLimit": 0, "ttlSecondsAfterFinished": KEPT}
    if plan.timeout is not None:  # with outputs to fetch, the limit of the task is ours to watch
        spec["activeDeadlineSeconds"] = max(1, math.ceil(plan.timeout)) + (PATIENCE if where.sent else 0)
    spec["template"] = {"metadata": _metadata(plan, name=False), "spec": _pod(plan, where, environ, caller)}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": _metadata(plan), "spec": spec}


def _pod(plan: RunPlan, where: Layout, environ: Mapping[str, str], caller: Caller) -> Data:
    options = options_of(plan)
    who = identity(plan.platform.user, caller) or Identity(uid=caller.uid, gid=caller.gid)
    pod: Data = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE,
        "enableServiceLinks": False,
        "automountServiceAccountToken": options.service_account is not None,
        "securityContext": pod_security(who),
    }
    if options.service_account is not None:
        pod["serviceAccountName"] = options.service_account
    if options.node_selector:
        pod["nodeSelector"] = dict(options.node_selector)
    if options.tolerations:
        pod["tolerations"] = [_toleration(each) for each in options.tolerations]
    if options.pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in options.pull_secrets]
    first = _first(plan, where, who)
    if first:
        pod["initContainers"] = [first]
    pod["containers"] = [_task(plan, where, environ, who)]
    if where.sent:
        pod["containers"].append(_helper(plan, who, TRANSFER_CONTAINER, ("sh", "-c", WAIT), [_transfer_mount()]))
    volumes: list[Data] = [
        {"name": _volume(claim, where), "persistentVolumeClaim": {"claimName": claim}} for claim in where.claims
    ]
    if where.sent:
        volumes.append({"name": _volume(None, where), "emptyDir": {}})
    if volumes:
        pod["volumes"] = volumes
    return pod


def _task(plan: RunPlan, where: Layout, environ: Mapping[str, str], who: Identity) -> Data:
    container: Data = {
        "name": TASK,
        "image": options_of(plan).image,
        "args": [_literal(word) for word in (plan.task.name, *where.arguments)],
        "env": _environment(plan, environ),
        "securityContext": container_security(who),
        "terminationMessagePolicy": "File",
    }
    resources = _resources(plan)
    if resources:
        container["resources"] = {"requests": resources, "limits": resources}
    mounts = []
    for each in where.mounts:
        mount: Data = {"name": _volume(each.claim, where), "mountPath": str(each.target)}
        if each.sub_path:
            mount["subPath"] = each.sub_path
        if not each.writable:
            mount["readOnly"] = True
        mounts.append(mount)
    if mounts:
        container["volumeMounts"] = mounts
    return container


def _first(plan: RunPlan, where: Layout, who: Identity) -> Data | None:
    command = first_script(where)
    if not command:
        return None
    written = {place.claim for place in where.places if place.parameter.direction == "output"}
    mounts: list[Data] = [
        {"name": _volume(claim, where), "mountPath": str(CLAIMS / claim)}
        | ({} if claim in written else {"readOnly": True})
        for claim in where.claims
    ]
    return _helper(plan, who, FIRST, command, [*mounts, _transfer_mount()] if where.sent else mounts)


def _helper(plan: RunPlan, who: Identity, name: str, command: tuple[str, ...], mounts: list[Data]) -> Data:
    """A container of ours, in the image of the task."""
    container: Data = {
        "name": name,
        "image": options_of(plan).image,
        "command": [_literal(word) for word in command],
        "securityContext": container_security(who),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }
    small = {"cpu": "100m", "memory": "256Mi"}
    limits = {key: text if name == FIRST else small[key] for key, text in _resources(plan).items() if key in small}
    if limits:  # where a quota asks for limits, it asks for those of every container
        container["resources"] = {"requests": limits, "limits": limits}
    return container


def _environment(plan: RunPlan, environ: Mapping[str, str]) -> list[Data]:
    """The task's variables: plain ones as they are, and those of the Secret by reference."""
    secrets = secret_variables(plan, environ)
    plain = {"HOME": HOME, "USER": USER_NAME, "LOGNAME": USER_NAME}
    plain |= {each.name: each.value for each in plan.environment if each.value is not None}
    found: list[Data] = [
        {"name": name, "value": _literal(value)} for name, value in plain.items() if name not in secrets
    ]
    for number, name in enumerate(secrets):
        reference = {"name": job_name(plan.id), "key": _secret_key(number)}
        found.append({"name": name, "valueFrom": {"secretKeyRef": reference}})
    return found


def _resources(plan: RunPlan) -> dict[str, str]:
    asked = plan.platform.resources
    found = {}
    if asked.cpus is not None:
        found["cpu"] = f"{asked.cpus:g}"
    if asked.memory is not None:
        found["memory"] = str(asked.memory)
    if isinstance(asked.gpus, int) and asked.gpus:
        found["nvidia.com/gpu"] = str(asked.gpus)
    return found


def _secret(plan: RunPlan, values: Mapping[str, str]) -> Data:
    content = {_secret_key(number): value for number, value in enumerate(values.values())}
    metadata = _metadata(plan)
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "stringData": content}


def _network_policy(plan: RunPlan) -> Data:
    """No traffic, in or out, for the Pods of this run."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(plan),
        "spec": {
            "podSelector": {"matchLabels": {RUN_LABEL: _run_label(plan)}},
            "policyTypes": ["Ingress", "Egress"],
        },
    }


def _metadata(plan: RunPlan, *, name: bool = True) -> Data:
    labels = {"app.kubernetes.io/managed-by": "mlcommons-box", RUN_LABEL: _run_label(plan)}
    annotations = {}
    texts = (("box", plan.box.name), ("task", plan.task.name), ("run", plan.id))
    for key, text in texts:
        if _LABEL_VALUE.fullmatch(text):
            labels[f"org.mlcommons.box/{key}"] = text
        else:
            annotations[f"org.mlcommons.box/{key}"] = text
    metadata: Data = {"labels": labels}
    if name:
        metadata = {"name": job_name(plan.id), "labels": labels}
        namespace = options_of(plan).namespace
        if namespace is not None:
            metadata["namespace"] = namespace
    return metadata | ({"annotations": annotations} if annotations else {})


def _run_label(plan: RunPlan) -> str:
    return plan.id if _LABEL_VALUE.fullmatch(plan.id) else job_name(plan.id)


def _volume(claim: str | None, where: Layout) -> str:
    return "mlbox-transfer" if claim is None else f"claim-{where.claims.index(claim)}"


def _transfer_mount() -> Data:
    return {"name": "mlbox-transfer", "mountPath": str(TRANSFER)}


def _toleration(toleration: Toleration) -> Data:
    fields = ("key", "operator", "value", "effect")
    return {name: getattr(toleration, name) for name in fields if getattr(toleration, name) is not None}


def _secret_key(number: int) -> str:
    return f"variable-{number}"


def _is_secret(name: str, value: str) -> bool:
    return redacted(f"{name}={value}") != f"{name}={value}"


def _literal(text: str) -> str:
    """A text that is the same after the expansion of ``$(NAME)`` and ``$$``."""
    return text.replace("$", "$$")


def options_of(plan: RunPlan) -> KubernetesOptions:
    """What the platform says."""
    options = plan.platform.options
    if not isinstance(options, KubernetesOptions):
        raise TypeError("the Kubernetes runner takes a Kubernetes platform")
    return options
