"""The Kubernetes runner by a real ``kubectl``, on a cluster that is an emulator.

What a real API server and a real kubelet do is not tried here.  The pod's template is run by a real engine in
``test_kubernetes_pod.py``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlcommons_box.contract import RunnerContract, Scene
from mlcommons_box.contract.runner import ODD_NAMES
from mlcommons_box.contract.scene import BOX, eventually
from mlcommons_box.errors import ProblemsError
from mlcommons_box.model import EnvironmentVariable, KubernetesOptions, Platform
from mlcommons_box.runners.interface import Outcome
from mlcommons_box.value import replace
from tests.conftest import write_files
from tests.integration.kubernetes_emulator import Server

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


def test_an_interrupted_preparation(server: Server) -> None:
    assert Outcome(status="lost", exit_status=75).status == "lost"
