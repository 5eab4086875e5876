"""The image and the node of a run, as a cluster tells them."""

from __future__ import annotations

from typing import Any

import pytest

from mlcommons_box.runners.identity import Identity
from mlcommons_box.runners.kubernetes_evidence import identity_of_pod

DIGEST = f"sha256:{'ab' * 32}"
NODE: dict[str, Any] = {
    "metadata": {"labels": {"nvidia.com/gpu.product": "Tesla-T4"}},
    "status": {
        "capacity": {"cpu": "8", "memory": "32786120Ki", "nvidia.com/gpu": "2"},
        "nodeInfo": {
            "architecture": "arm64",
            "containerRuntimeVersion": "cri-o://1.29.1",
            "kernelVersion": "6.1.0",
            "kubeletVersion": "v1.29.3",
            "operatingSystem": "linux",
        },
    },
}


def test_a_node_that_is_shown() -> None:
    assert identity_of_pod(f"docker.io/library/python@{DIGEST}", "n1", NODE) == Identity(
        image={"id": DIGEST, "digests": [f"docker.io/library/python@{DIGEST}"]},
        engine={"name": "kubernetes", "version": "v1.29.3", "runtime": "cri-o 1.29.1"},
        machine={
            "host": "n1",
            "system": "Linux",
            "release": "6.1.0",
            "architecture": "arm64",
            "processors": 8,
            "memory": 32786120 * 1024,
            "gpus": ["Tesla-T4", "Tesla-T4"],
        },
    )


def test_a_node_that_is_not_shown_has_a_name() -> None:
    found = identity_of_pod(DIGEST, "n1", None)
    assert (found.image, found.engine, found.machine) == ({"id": DIGEST}, {"name": "kubernetes"}, {"host": "n1"})


@pytest.mark.parametrize(
    ("image_id", "image"),
    [
        (f"docker-pullable://python@{DIGEST}", {"id": DIGEST, "digests": [f"python@{DIGEST}"]}),
        (f"docker://{DIGEST}", {"id": DIGEST}),
        ("something-new", {"id": "something-new"}),
        (None, {}),
    ],
)
def test_every_runtime_has_its_own_way_to_name_an_image(image_id: str | None, image: dict[str, Any]) -> None:
    assert identity_of_pod(image_id, None, {}).image == image


@pytest.mark.parametrize("node", [{"status": []}, {"status": {"nodeInfo": {"a": 1}, "capacity": {"cpu": "7500m"}}}])
def test_a_node_that_says_something_else_says_nothing(node: dict[str, Any]) -> None:
    machine = identity_of_pod(DIGEST, "n1", node).machine
    assert machine["host"] == "n1"
    assert not machine.get("processors")
