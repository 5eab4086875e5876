"""The container runners keep the promises of every runner, on engines that are plain processes.

What an engine isolates is tried on the real ones, in tests/integration/test_real_engines.py.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from mlcommons_box.contract import RunnerContract, Scene
from mlcommons_box.errors import Interrupted, PreparationError, UnavailableError
from mlcommons_box.model import DockerOptions, Platform, SingularityOptions
from mlcommons_box.planning import plan_setup
from mlcommons_box.runners.interface import Outcome
from tests.conftest import write_files

PROGRAM = Path(__file__).with_name("fake_engine.py")


class FakeEngine(RunnerContract):
    """A fake engine first on the path."""

    box_files: ClassVar[Mapping[str, str]] = {"build/Dockerfile": "", "build/Singularity.recipe": ""}
    engine: ClassVar[str]

    @pytest.fixture(autouse=True)
    def state(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        state = tmp_path / "engine"
        wrapper = f'#!/bin/sh\nexec {sys.executable} {PROGRAM} {self.engine} "$@"\n'
        write_files(state, {f"bin/{self.engine}": wrapper})
        (state / "bin" / self.engine).chmod(0o755)
        monkeypatch.setenv("FAKE_ENGINE", str(state))
        monkeypatch.setenv("PATH", f"{state / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin")
        return state

    def calls(self, state: Path) -> list[str]:
        """The commands that the engine was given, in order, but for those that ask what the task runs in."""
        given = [json.loads(line) for line in (state / "calls").read_text().splitlines()]
        return [words[1] for words in given if not {"--format", "--version"} & {*words[1:4]}]

    def test_a_warm_run_is_one_call_of_the_engine(self, scene: Scene, state: Path) -> None:
        scene.act("")
        (state / "calls").unlink()
        assert scene.act("") == Outcome(status="succeeded", exit_status=0)
        assert self.calls(state) == ["run"]

    def test_what_is_missing_is_prepared_by_the_run_itself(self, scene: Scene, state: Path) -> None:
        assert scene.act("print('ran')").status == "succeeded"
        assert "build" in self.calls(state)
        assert self.calls(state)[-1] == "run"
        assert scene.recorder.text("stderr") == b""
        assert any("image" in step for step in scene.recorder.steps)

    def test_a_preparation_that_fails_says_why_and_is_recorded(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FAKE_BUILD", "echo 'certificate verify failed' >&2; exit 1")
        with pytest.raises(PreparationError, match="certificate verify failed") as caught:
            scene.act("")
        assert "--ca-bundle=host" in str(caught.value.hint)
        assert scene.record().status == "failed"

    def test_an_interrupted_preparation_is_a_cancelled_run(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FAKE_BUILD", f"kill -INT {os.getpid()}; sleep 600")
        with pytest.raises(Interrupted):
            scene.act("")
        assert scene.record().status == "cancelled"

    def test_an_engine_that_cannot_start_the_task_is_told_apart_from_the_task(self, scene: Scene) -> None:
        scene.act("")
        scene.platform = Platform(
            name=scene.platform.name,
            runner=scene.platform.runner,
            options=scene.platform.options,
            arguments=("--no-such-option",),
        )
        with pytest.raises(UnavailableError, match="--no-such-option"):
            scene.act("")
        assert scene.record().status == "failed"

    def test_a_change_of_the_code_is_said_until_the_image_is_made_anew(self, scene: Scene) -> None:
        scene.act("")
        assert scene.runner.notes(scene.plan("")) == []
        scene.write({"build/helper.py": "changed = True\n"})
        (note,) = scene.runner.notes(scene.plan(""))
        assert "build/ has changed since" in note
        scene.runner.prepare(plan_setup(scene.plan("").box, scene.platform), scene.recorder)
        assert scene.runner.notes(scene.plan("")) == []


class DockerFake(FakeEngine):
    @pytest.fixture
    def platform(self) -> Platform:
        return Platform(name="p", runner="docker", options=DockerOptions(image="act", executable=self.engine))


class TestDocker(DockerFake):
    engine = "docker"


class TestPodman(DockerFake):
    engine = "podman"


class TestApptainer(FakeEngine):
    engine = "apptainer"

    @pytest.fixture
    def platform(self) -> Platform:
        return Platform(name="p", runner="singularity", options=SingularityOptions(image="images/act.sif"))

    def test_variables_that_the_caller_has_for_every_container_are_not_for_this_one(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("APPTAINERENV_STRAY", "x")
        monkeypatch.setenv("APPTAINER_BINDPATH", "/etc")
        scene.act("import os; print('STRAY' in os.environ)")
        assert scene.recorder.text("stdout") == b"False\n"
        removed = scene.runner.commands(scene.plan(""))[-2].removed
        assert removed == ("APPTAINERENV_STRAY", "APPTAINER_BINDPATH")

    def test_an_image_is_whole_or_not_there(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FAKE_BUILD", 'echo half > "$1"; exit 1')
        with pytest.raises(PreparationError):
            scene.act("")
        assert list((scene.root / "workspace/images").iterdir()) == []

    def test_a_change_of_the_code_makes_the_image_again(self, scene: Scene, state: Path) -> None:
        scene.act("")
        plan = plan_setup(scene.plan("").box, scene.platform)
        scene.runner.prepare(plan, scene.recorder)
        assert self.calls(state).count("build") == 1
        scene.write({"build/helper.py": ""})
        scene.runner.prepare(plan, scene.recorder)
        assert self.calls(state).count("build") == 2
