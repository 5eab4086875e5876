"""What a cluster says of the image and the node of a run, as a record has it.  Pure.

The node's own object is not shown to everybody: without it, its name is known and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mlcommons_box.runners.identity import Identity

_UNITS = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
"""Of quantities (kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity)."""
_QUANTITY = re.compile(r"([0-9]{1,30})([A-Za-z]{0,2})")
_GPU, _GPU_NAME = "nvidia.com/gpu", "nvidia.com/gpu.product"


def identity_of_pod(image_id: str | None, node_name: str | None, node: Mapping[str, Any] | None) -> Identity:
    """What the task of a pod was in, from its ``imageID``, its ``nodeName``, and the object of that node."""
    image: dict[str, Any] = {}
    if image_id:
        named = image_id.rpartition("://")[2]
        name, _, image["id"] = named.rpartition("@")
        if name:
            image["digests"] = [named]
    engine = {"name": "kubernetes"}
    machine: dict[str, Any] = {"host": node_name} if node_name else {}
    information = _mapping(_mapping(node, "status"), "nodeInfo")
    if information:
        engine["version"] = _text(information, "kubeletVersion")
        runtime, _, version = _text(information, "containerRuntimeVersion").partition("://")
        engine["runtime"] = f"{runtime} {version}".strip()
        machine |= _machine(_mapping(node, "metadata"), _mapping(_mapping(node, "status"), "capacity"), information)
    return Identity(image=image, engine=engine, machine=machine)


def _machine(
    metadata: Mapping[str, Any], capacity: Mapping[str, Any], information: Mapping[str, Any]
) -> dict[str, Any]:
    gpus = _amount(capacity.get(_GPU)) or 0
    name = _text(_mapping(metadata, "labels"), _GPU_NAME) or "GPU"
    return {
        "system": _text(information, "operatingSystem").capitalize(),
        "release": _text(information, "kernelVersion"),
        "architecture": _text(information, "architecture"),
        "processors": _amount(capacity.get("cpu")),
        "memory": _amount(capacity.get("memory")),
        "gpus": [name] * min(gpus, 64),
    }


def _amount(quantity: object) -> int | None:
    found = _QUANTITY.fullmatch(str(quantity))
    return None if found is None or found[2] not in _UNITS else int(found[1]) * _UNITS[found[2]]


def _mapping(data: Mapping[str, Any] | None, key: str) -> Mapping[str, Any]:
    value = None if data is None else data.get(key)
    return value if isinstance(value, Mapping) else {}


def _text(data: Mapping[str, Any], key: str) -> str:
    return str(data.get(key) or "")
