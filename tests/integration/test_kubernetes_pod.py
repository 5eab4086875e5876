"""The very pod template of the Kubernetes runner, run by a real engine: ``podman kube play``, as root.

Podman 4.3 knows neither ``subPath`` nor ``emptyDir`` nor the expansion of ``$$``, and not all of a security
context.  So the test makes of each mounted part of a volume a volume of its own, which is a directory of this
machine, and writes ``$`` for ``$$``.  The image, the commands, the arguments, the variables, the user, the
capabilities and the places in the container are those of the manifest; data is sent and fetched by the runner's own
code, with ``podman exec`` for ``kubectl exec``.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlcommons_box.command import Command
from mlcommons_box.contract.scene import eventually
from mlcommons_box.definition.loader import load_box, load_run_configuration
from mlcommons_box.model import KubernetesOptions, Platform
from mlcommons_box.planning import RunPlan, plan_run
from mlcommons_box.runners.container_run import Caller
from mlcommons_box.runners.kubernetes_client import Client
from mlcommons_box.runners.kubernetes_manifest import FIRST, TASK, job
from mlcommons_box.runners.kubernetes_transfer import fetch, send
from mlcommons_box.runners.kubernetes_volumes import layout
from tests.integration import mnist
from tests.integration.mnist import MLBOX

MODEL = "f027c0cefb8a3e41b6ad0e39cae955e08fa90ee640b6445699197894321cf136"
IMAGE = "mlperf/mlbox:mnist"
POD = "mlbox-test-pod"
PODMAN = f"""\
schema_type: mlbox_docker
schema_version: 1.0.0
image: {IMAGE}
docker_runtime: podman
"""

pytestmark = [
    pytest.mark.engine("podman"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a pod's directories of this machine are for root"),
]


class PodmanClient(Client):
    """``kubectl exec``, done by Podman."""

    def command(self, *words: str, request_timeout: int | None = 30, stdin: bytes | None = None) -> Command:
        verb, *options, container, end, program, flag, script = words[: words.index("-c") + 2]
        assert (verb, end, program, flag) == ("exec", "--", "sh", "-c")
        name = f"{options[-1]}-{container.partition('=')[2]}"
        rest = (program, flag, script, *words[words.index("-c") + 2 :])
        return Command(argv=("podman", "exec", "--interactive", name, *rest), input=stdin)


def podman(*words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["podman", *words], input=stdin, capture_output=True, text=True, check=False)


@pytest.fixture
def root(trained: Path) -> Iterator[Path]:
    """The trained MNIST box, and its image for Podman."""
    (trained / "platforms/podman.yaml").write_text(PODMAN)
    command = [*MLBOX, "configure", str(trained), "--platform=podman", "--ca-bundle=host"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    yield trained
    podman("pod", "rm", "--force", POD)


def plan_for(root: Path, name: str, claim: str | None) -> RunPlan:
    box = load_box(root)
    options = KubernetesOptions(image=IMAGE, workspace_claim=claim)
    platform = Platform(name="k", runner="kubernetes", options=options)
    rebind = {"model_dir": f"{name}/model", "log_dir": f"{name}/logs"}
    return plan_run(box, load_run_configuration(root / "run/train.yaml", box), platform, rebind=rebind)


def pod_for(plan: RunPlan, volumes: dict[str, Path]) -> str:
    """The pod that Podman 4.3 runs in place of that of a plan; ``volumes`` are directories by the volume's name."""
    template = job(plan, {}, Caller(uid=os.geteuid(), gid=os.getegid()))["spec"]["template"]
    spec = json.loads(json.dumps(template["spec"]).replace("$$", "$"))
    assert {volume["name"] for volume in spec["volumes"]} == set(volumes)
    parts: dict[Path, str] = {}
    for container in (*spec["initContainers"], *spec["containers"]):
        container["image"] = f"localhost/{container['image']}"
        container["imagePullPolicy"] = "Never"
        for mount in container["volumeMounts"]:
            path = volumes[mount["name"]] / mount.pop("subPath", "")
            path.parent.mkdir(parents=True, exist_ok=True)
            mount["name"] = parts.setdefault(path, f"part-{len(parts)}")
    files = {"FileOrCreate": ".yaml", "DirectoryOrCreate": ""}
    spec["volumes"] = [
        {"name": part, "hostPath": {"path": str(path), "type": kind}}
        for path, part in parts.items()
        for kind, suffix in files.items()
        if path.suffix == suffix
    ]
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD}, "spec": spec})


def check_the_task_s_container() -> None:
    """It ended well, had no privilege, and could not write to its inputs."""
    status = podman("wait", f"{POD}-{TASK}").stdout.strip()
    said = podman("logs", f"{POD}-{TASK}")
    assert status == "0", said.stdout + said.stderr
    (made,) = json.loads(podman("inspect", f"{POD}-{TASK}").stdout)
    assert not made["EffectiveCaps"]
    assert "no-new-privileges" in made["HostConfig"]["SecurityOpt"]
    read_only = sorted(mount["Destination"] for mount in made["Mounts"] if not mount["RW"])
    assert read_only == ["/mlbox_io0/data", "/mlbox_io1/default.parameters.yaml"]


def test_a_workspace_in_a_claim(root: Path) -> None:
    """The first container makes the outputs' directories; the model is that of every other runner."""
    plan = plan_for(root, "claimed", "workspace")
    played = podman("kube", "play", "-", stdin=pod_for(plan, {"claim-0": root / "workspace"}))
    assert played.returncode == 0, played.stderr
    check_the_task_s_container()
    assert mnist.sha256(root / "workspace/claimed/model/model.keras") == MODEL


def test_data_that_is_sent(root: Path, tmp_path: Path) -> None:
    """The scripts of the pod do their work with the shell and the tar of a real image."""
    plan = plan_for(root, "sent", None)
    client = PodmanClient(KubernetesOptions(image=IMAGE))
    with subprocess.Popen(["podman", "kube", "play", "-"], stdin=subprocess.PIPE, text=True) as play:
        play.stdin.write(pod_for(plan, {"mlbox-transfer": tmp_path / "volume"}))  # type: ignore[union-attr]
        play.stdin.close()  # type: ignore[union-attr]
        assert eventually(lambda: podman("exec", f"{POD}-{FIRST}", "true").returncode == 0)
        send(client, POD, layout(plan), plan.workspace, lambda: None)
        assert play.wait() == 0
    check_the_task_s_container()
    assert not (root / "workspace/sent/model/model.keras").exists()
    assert fetch(client, POD, layout(plan), plan.workspace) == []
    assert mnist.sha256(root / "workspace/sent/model/model.keras") == MODEL
    assert "test accuracy" in (root / "workspace/sent/logs/train.log").read_text()
