"""The Kubernetes runner by a real ``kubectl``, on a cluster that is an emulator.

What a real API server and a real kubelet do is not tried here.  The pod's template is run by a real engine in
``test_kubernetes_pod.py``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlcommons_box import execution
from mlcommons_box.contract import RunnerContract, Scene
from mlcommons_box.contract.runner import ODD_NAMES
from mlcommons_box.contract.scene import BOX, eventually
from mlcommons_box.errors import ConfigurationError, MissingInputError, ProblemsError, UnavailableError
from mlcommons_box.model import EnvironmentVariable, KubernetesOptions, Platform
from mlcommons_box.run_store import RunStore
from mlcommons_box.runners import kubernetes_manifest, kubernetes_run, kubernetes_transfer
from mlcommons_box.value import replace
from tests.conftest import records_of, write_files
from tests.integration.kubernetes_emulator import Refused, Server

pytestmark = pytest.mark.engine("kubectl")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A cluster whose only image runs any script."""
    directory = write_files(tmp_path / "emulator", {"act.py": BOX["build/act.py"]})
    server = Server(directory, program=("/usr/bin/env", "python3", str(directory / "act.py")))
    server.cluster.grace = 0.5
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig))
    yield server
    server.close()


class KubernetesContract(RunnerContract):
    """What is promised of every runner; the two output streams of a task are one in Kubernetes."""

    slack = 5.0

    @pytest.fixture(autouse=True)
    def _cluster(self, server: Server) -> Server:
        return server

    def test_a_task_that_talks_like_an_engine_is_a_task_all_the_same(self, scene: Scene) -> None:
        words = "Error from server (NotFound): it did not work\n"
        outcome = scene.act(f"import sys; sys.stderr.write({words!r}); sys.exit(1)")
        assert (outcome.status, outcome.exit_status) == ("failed", 1)
        assert scene.recorder.text("stdout").decode() == words

    def test_much_output_on_both_streams_arrives_whole(self, scene: Scene) -> None:
        script = """
import threading
def write(stream, letter):
    for _ in range(160):
        stream.buffer.write(letter * 65536)
threads = [threading.Thread(target=write, args=pair) for pair in ((sys.stdout, b"o"), (sys.stderr, b"e"))]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
"""
        assert scene.act(script).status == "succeeded"
        text = scene.recorder.text("stdout")
        assert (text.count(b"o"), text.count(b"e"), len(text)) == (160 << 16, 160 << 16, 320 << 16)

    def test_the_environment_is_what_the_box_and_the_platform_say(
        self, platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The proxies of this machine are not those of a cluster."""
        monkeypatch.setenv("MINE", "mine")
        monkeypatch.setenv("API_TOKEN", "geheim")
        monkeypatch.setenv("https_proxy", "http://user:geheim@localhost:1")
        variables = (
            EnvironmentVariable(name="GIVEN", value="two $(HOME) $$ words$"),
            EnvironmentVariable(name="MY_TOKEN", value="geheim"),
            EnvironmentVariable(name="API_TOKEN", value=None),
            EnvironmentVariable(name="NOT_SET", value=None),
        )
        scene = Scene(tmp_path / "box", replace(platform, environment=variables), self.box_files)
        names = ["MINE", "API_TOKEN", "https_proxy", "GIVEN", "MY_TOKEN", "NOT_SET"]
        plan = scene.plan(f"import os; print([os.environ.get(name) for name in {names}])")
        assert scene.run(plan).status == "succeeded"
        expected = [None, "geheim", None, "two $(HOME) $$ words$", "geheim", None]
        assert scene.recorder.text("stdout").decode() == f"{expected}\n"
        shown = [command.shell() for command in scene.runner.commands(plan)]
        assert "geheim" not in str(shown)
        assert "geheim" not in RunStore(scene.root / "workspace").journal.file.read_text()

    def test_the_commands_shown_do_the_same_when_pasted_into_a_shell(self, scene: Scene) -> None:
        """What is shown creates the job, which then goes its own way."""
        plan = scene.plan("open(out + '/ran', 'w').write('by hand')")
        scene.runner.prepare(plan, scene.recorder)
        (command,) = scene.runner.commands(plan)
        (scene.root / "workspace/out").mkdir()
        subprocess.run(["sh", "-c", command.shell()], check=True, capture_output=True)
        if scene.platform.options == KubernetesOptions(image="act:1", workspace_claim="ws"):
            assert eventually(lambda: (scene.root / "workspace/out/ran").exists())

    @pytest.mark.parametrize("name", [name for name in ODD_NAMES if ":" not in name])
    def test_odd_names_are_names_and_nothing_else(self, name: str, platform: Platform, tmp_path: Path) -> None:
        super().test_odd_names_are_names_and_nothing_else(name, platform, tmp_path)

    def test_a_colon_in_a_name_is_refused(self, scene: Scene) -> None:
        with pytest.raises(ProblemsError, match="Kubernetes allows no colon"):
            scene.run(scene.plan("", rebind={"out": "$WORKSPACE/a:b"}))

    def test_nothing_is_left_in_the_cluster(self, platform: Platform, tmp_path: Path, server: Server) -> None:
        variables = (EnvironmentVariable(name="API_TOKEN", value="geheim"),)
        scene = Scene(tmp_path / "box", replace(platform, environment=variables, network="none"), self.box_files)
        for status in (0, 3):
            scene.act(f"raise SystemExit({status})")
            assert eventually(lambda: not server.cluster.remaining()), server.cluster.remaining()
        secrets = [each for each in server.cluster.created if each["kind"] == "Secret"]
        assert secrets[0]["stringData"] == {"variable-0": "geheim"}
        assert "geheim" not in str([each for each in server.cluster.created if each["kind"] != "Secret"])


class TestSentData(KubernetesContract):
    """The data is sent before the task and fetched after it."""

    @pytest.fixture
    def platform(self) -> Platform:
        return Platform(name="k", runner="kubernetes", options=KubernetesOptions(image="act:1"))

    def test_output_comes_as_it_is_written(self, scene: Scene) -> None:
        """What this machine does to an output while the task runs is not seen by the task."""
        script = "import time\nprint('waiting', flush=True)\ntime.sleep(600)"
        scene.recorder.on_output = lambda _: os.kill(os.getpid(), signal.SIGINT)
        assert scene.act(script).status == "cancelled"


class TestWorkspaceInAClaim(KubernetesContract):
    """The workspace is a volume claim, which here is the workspace of this machine."""

    @pytest.fixture
    def platform(self) -> Platform:
        options = KubernetesOptions(image="act:1", workspace_claim="ws")
        return Platform(name="k", runner="kubernetes", options=options)

    @pytest.fixture(autouse=True)
    def _claim(self, server: Server, tmp_path: Path, request: pytest.FixtureRequest) -> None:
        name = getattr(request.node, "callspec", None) and request.node.callspec.params.get("name")
        root = tmp_path / name / "box" if name else tmp_path / "box"
        (root / "workspace").mkdir(parents=True)
        (server.cluster.state / "claims").mkdir(parents=True)
        (server.cluster.state / "claims/ws").symlink_to(root / "workspace")


@pytest.mark.parametrize("is_shown", [True, False])
def test_a_record_names_image_and_node(sent: Scene, server: Server, is_shown: bool) -> None:
    server.cluster.shows_nodes = is_shown
    execution.execute(sent.plan(""), sent.runner, sent.recorder)
    (record,) = records_of(sent.root / "workspace")
    digest = f"sha256:{'ab' * 32}"
    assert record.image["id"] == digest
    assert record.image["reference"] == "act:1"
    assert record.image["digests"][0].endswith(f"@{digest}")
    assert record.machine["host"] == "node-1"
    assert record.machine.get("processors") == (64 if is_shown else None)
    assert record.engine.get("version") == ("v1.32.3" if is_shown else None)


# ---- A cluster that has trouble -------------------------------------------------------------------


@pytest.fixture
def sent(server: Server, tmp_path: Path) -> Scene:
    """A box whose data is sent."""
    return Scene(
        tmp_path / "box", Platform(name="k", runner="kubernetes", options=KubernetesOptions(image="act:1")), {}
    )


def test_a_connection_that_breaks_off_in_the_log(sent: Scene, server: Server) -> None:
    server.cluster.cut_log_after = 1
    script = "import time\nfor number in range(20):\n    print(number, flush=True)\n    time.sleep(0.05)"
    assert sent.act(script).status == "succeeded"
    assert sent.recorder.text("stdout").split() == [str(number).encode() for number in range(20)]
    assert server.cluster.cut_log_after is None


def test_outputs_that_come_in_two_parts(sent: Scene, server: Server) -> None:
    server.cluster.cut_output_after = 300_000
    assert sent.act("open(out + '/x', 'wb').write(bytes(range(256)) * 4000)").status == "succeeded"
    assert (sent.root / "workspace/out/x").read_bytes() == bytes(range(256)) * 4000
    assert server.cluster.cut_output_after is None


def test_a_piece_that_arrives_short_is_sent_again(sent: Scene, server: Server) -> None:
    server.cluster.lose_pieces = 2
    assert sent.act("print('ran')").status == "succeeded"
    assert sent.recorder.text("stdout") == b"ran\n"


def test_many_pieces(sent: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_transfer, "PIECE", 50_000)
    (sent.root / "workspace/out").mkdir(parents=True)
    (sent.root / "workspace/out/there").write_bytes(bytes(range(256)) * 1000)
    script = "import hashlib; print(hashlib.sha256(open(out + '/there', 'rb').read()).hexdigest())"
    assert sent.act(script).status == "succeeded"
    expected = hashlib.sha256(bytes(range(256)) * 1000).hexdigest()
    assert sent.recorder.text("stdout").decode().strip() == expected


def test_an_image_without_tar(sent: Scene, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = server.cluster.state / "bin"
    tools.mkdir(parents=True)
    for name in ("sh", "mkdir", "cat", "ls", "sleep", "wc", "mv"):
        (tools / name).symlink_to(str(shutil.which(name)))
    server.cluster.path = str(tools)
    with pytest.raises(UnavailableError, match="the image has no program 'tar'") as caught:
        sent.act("")
    assert "workspace_claim" in str(caught.value.hint)
    assert eventually(lambda: not server.cluster.remaining())


def test_an_input_that_is_not_in_its_claim(server: Server, tmp_path: Path) -> None:
    options = KubernetesOptions(image="act:1", workspace_claim="ws")
    scene = Scene(tmp_path / "box", Platform(name="k", runner="kubernetes", options=options), {})
    with pytest.raises(MissingInputError, match=r"the input 'script' .* in the volume claim 'ws'.* is not a file"):
        scene.act("")
    assert eventually(lambda: not server.cluster.remaining())


SCHEDULED = {"type": "PodScheduled", "status": "True"}


def pod(task: object, phase: str = "Pending", **more: object) -> dict[str, Any]:
    """The status of a pod whose task's container is in a state."""
    containers = [{"name": "task", "state": task}] if task else []
    return {"phase": phase, "conditions": [SCHEDULED], "containerStatuses": containers, **more}


WAITING = "Back-off pulling image"
TROUBLE: list[tuple[str, list[dict[str, Any] | None], str, str]] = [
    (
        "image",
        [pod({"waiting": {"reason": "ImagePullBackOff", "message": WAITING}})],
        'Failed to pull image "act:1": manifest unknown',
        "there is no such image in the registry",
    ),
    (
        "pull secret",
        [pod({"waiting": {"reason": "ErrImagePull", "message": "401"}})],
        "pull access denied, authorization failed",
        "the cluster may not pull the image",
    ),
    (
        "name of the image",
        [pod({"waiting": {"reason": "InvalidImageName", "message": "couldn't parse image name"}})],
        "Failed to apply default image tag",
        "the image's name is none",
    ),
    (
        "settings",
        [pod({"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "x" not found'}})],
        'Error: secret "x" not found',
        "the container's settings cannot be made",
    ),
    (
        "no program",
        [
            pod(
                {"terminated": {"exitCode": 128, "reason": "StartError", "message": 'exec: "run": not found'}},
                "Failed",
            )
        ],
        "",
        "the image has no program that can be started",
    ),
    (
        "quota",
        [None],
        'pods "x" is forbidden: exceeded quota: team, requested: cpu=4',
        "the quota of the namespace",
    ),
    ("security", [None], 'pods "x" is forbidden: violates PodSecurity "restricted:latest"', "forbids such a pod"),
]


@pytest.mark.parametrize(
    ("states", "event", "message"), [row[1:] for row in TROUBLE], ids=[row[0] for row in TROUBLE]
)
def test_a_pod_that_cannot_start(
    sent: Scene,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    states: list[dict[str, Any] | None],
    event: str,
    message: str,
) -> None:
    monkeypatch.setattr(kubernetes_run, "_REFUSED_AFTER", 0.1)
    server.cluster.replay = lambda looks: states[min(looks, len(states) - 1)]
    plan = sent.plan("")
    name = kubernetes_manifest.job_name(plan.id)
    owner = name if states[-1] is None else f"{name}-abcde"
    reason = "FailedCreate" if states[-1] is None else "Failed"
    if event:
        involved = {"involvedObject": {"name": owner}, "metadata": {"name": "e"}, "type": "Warning"}
        server.cluster.events = [{**involved, "reason": reason, "message": event}]
    with pytest.raises(UnavailableError, match=message) as caught:
        sent.run(plan)
    assert event in caught.value.message
    assert caught.value.hint
    assert sent.record().status == "failed"
    assert eventually(lambda: not server.cluster.remaining())


UNSCHEDULABLE = {
    "phase": "Pending",
    "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}],
}
ENDS: list[tuple[str, list[dict[str, Any] | None], tuple[str, int], str]] = [
    (
        "memory",
        [pod({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, "Failed")],
        ("failed", 137),
        "out of memory",
    ),
    (
        "evicted",
        [pod(None, "Failed", reason="Evicted", message="The node was low on resource: memory.")],
        ("failed", 75),
        "low on resource",
    ),
    (
        "node",
        [pod({"running": {}}, "Unknown", reason="NodeLost", message="Node x is lost")],
        ("lost", 75),
        "Node x is lost",
    ),
    (
        "preempted",
        [
            pod(
                {"terminated": {"exitCode": 0, "reason": "Completed"}},
                "Failed",
                conditions=[{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}],
            )
        ],
        ("failed", 75),
        "PreemptionByScheduler",
    ),
    (
        "deadline",
        [
            pod(
                None,
                "Failed",
                job={"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]},
            )
        ],
        ("failed", 124),
        "longer than",
    ),
    ("nobody knows", [pod(None, "Succeeded")], ("lost", 75), "nobody says how"),
]


@pytest.mark.parametrize(("states", "ending", "reason"), [row[1:] for row in ENDS], ids=[row[0] for row in ENDS])
def test_a_task_that_the_cluster_ends(
    sent: Scene, server: Server, states: list[dict[str, Any] | None], ending: tuple[str, int], reason: str
) -> None:
    server.cluster.replay = lambda looks: [UNSCHEDULABLE, *states][min(looks, len(states))]
    outcome = sent.act("")
    assert (outcome.status, outcome.exit_status) == ending
    assert reason in str(outcome.reason)
    assert "waiting: no node for it: 0/3 nodes are available" in sent.recorder.steps
    assert eventually(lambda: not server.cluster.remaining())


def test_a_limit_ends_the_waiting_for_a_node(sent: Scene, server: Server) -> None:
    server.cluster.replay = lambda looks: UNSCHEDULABLE
    outcome = sent.act("", timeout=1.5)
    assert (outcome.status, outcome.exit_status) == ("failed", 124)
    assert sent.recorder.steps.count("waiting: no node for it: 0/3 nodes are available") == 1
    assert eventually(lambda: not server.cluster.remaining())


def test_a_job_that_somebody_removes_is_lost(sent: Scene, server: Server) -> None:
    def remove(chunk: bytes) -> None:
        for key in list(server.cluster.objects):
            if key[0] == "jobs":
                server.cluster.delete(*key)

    sent.recorder.on_output = remove
    script = (
        "import signal, time\nsignal.signal(15, lambda *_: exit(0))\nprint('ready', flush=True)\ntime.sleep(60)"
    )
    outcome = sent.act(script)
    assert (outcome.status, outcome.exit_status) == ("lost", 75)
    assert "somebody removed its Job" in str(outcome.reason)


# ---- kubectl itself -----------------------------------------------------------------------------


def on(scene: Scene, context: str | None = None, namespace: str | None = None) -> Scene:
    """The same box on another cluster."""
    options = KubernetesOptions(image="act:1", context=context, namespace=namespace)
    scene.platform = replace(scene.platform, options=options)
    return scene


def test_a_context_that_is_not_there(sent: Scene) -> None:
    with pytest.raises(ConfigurationError, match="there is no such context") as caught:
        on(sent, context="moon").act("")
    assert "kubectl config get-contexts" in str(caught.value.hint)


def test_a_namespace_that_is_not_there(sent: Scene) -> None:
    with pytest.raises(ConfigurationError, match="there is no such namespace"):
        on(sent, namespace="absent").act("")


def test_no_cluster_at_all(sent: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(UnavailableError, match="kubectl knows no cluster"):
        sent.act("")


def test_a_cluster_that_does_not_answer(sent: Scene, server: Server) -> None:
    text = server.kubeconfig.read_text()
    server.kubeconfig.write_text(text.replace(str(server.server.server_port), "1"))
    with pytest.raises(UnavailableError, match="the cluster cannot be reached"):
        sent.act("")


def test_a_right_that_one_has_not(sent: Scene, server: Server) -> None:
    def refuse(method: str, path: str) -> None:
        if method == "POST" and path.endswith("/jobs"):
            raise Refused(403, "Forbidden", 'jobs.batch is forbidden: User "me" cannot create resource "jobs"')

    server.cluster.refuse = refuse
    with pytest.raises(UnavailableError, match="you may not do that in this namespace"):
        sent.act("")
    server.cluster.is_allowed = False
    with pytest.raises(UnavailableError, match="does not let you create jobs"):
        sent.runner.prepare(sent.plan(""), sent.recorder)


def test_a_moment_of_weakness_ends_nothing(sent: Scene, server: Server) -> None:
    asked = []

    def refuse(method: str, path: str) -> None:
        if method == "GET" and path.endswith("/pods"):
            asked.append(path)
            if len(asked) < 3:
                raise Refused(503, "ServiceUnavailable", "the server is currently unable to handle the request")

    server.cluster.refuse = refuse
    assert sent.act("print('ran')").status == "succeeded"
