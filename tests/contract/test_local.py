"""The local runner keeps the promises of every runner."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlcommons_box.contract import RunnerContract, Scene
from mlcommons_box.contract.scene import is_alive
from mlcommons_box.errors import UnavailableError
from mlcommons_box.model import LocalOptions, Platform
from mlcommons_box.value import replace


class TestLocal(RunnerContract):
    @pytest.fixture
    def platform(self) -> Platform:
        return Platform(name="local", runner="local", options=LocalOptions())

    def test_a_tool_that_is_missing_is_named_before_anything_starts(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """The tool is the box's own program here."""
        options = LocalOptions(entrypoint=("no-such-program-anywhere", "x"))
        scene.platform = replace(scene.platform, options=options)
        with pytest.raises(UnavailableError, match="no-such-program-anywhere"):
            scene.act("")
        assert scene.record().status == "failed"

    def test_it_says_how_many_processes_a_task_left_running(self, scene: Scene) -> None:
        outcome = scene.act("print(sleeper(start_new_session=True).pid)")
        assert outcome.reason == "it left a process running, which we ended"
        assert not is_alive(int(scene.recorder.text("stdout")))
