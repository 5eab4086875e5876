"""The promises of every runner about the life of a task."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from mlcommons_box import process
from mlcommons_box.command import Command
from mlcommons_box.contract.scene import Scene, eventually
from mlcommons_box.errors import EX_TIMED_OUT, EX_UNAVAILABLE, BoxError, ProblemsError
from mlcommons_box.model import EnvironmentVariable, Platform
from mlcommons_box.process import Stream
from mlcommons_box.run_store import RunStore
from mlcommons_box.runners.interface import Outcome
from mlcommons_box.value import replace

ODD_NAMES = (
    "with space",
    "quotes ' and \"",
    "$(touch x)",
    "`touch x`; touch y",
    "colon:colon",
    "comma,comma",
    "new\nline",
    "-leading-dash",
    "--option=value",
    "données-数据-😀",
    "back\\slash",
    "*?[a]",
    "$HOME",
    "#comment",
    "&|<>",
    "%PATH%",
)


class RunnerContract:
    """The promises of every runner."""

    box_files: ClassVar[Mapping[str, str]] = {}
    """What the box needs beside its program, such as a recipe."""
    slack: ClassVar[float] = 2.0
    """Seconds in which a task has surely started."""
    is_remote: ClassVar[bool] = False
    """Whether tasks run on another host: files are brought there and back, and proxies are those of that host."""

    @pytest.fixture
    def platform(self) -> Platform:
        """The platform to run on."""
        raise NotImplementedError

    @pytest.fixture
    def scene(self, platform: Platform, tmp_path: Path) -> Scene:
        """A box on the platform."""
        return Scene(tmp_path / "box", platform, self.box_files)

    def test_success(self, scene: Scene) -> None:
        outcome = scene.act("print('hello'); open(out + '/x', 'w').write('made')")
        assert outcome == Outcome(status="succeeded", exit_status=0)
        assert scene.recorder.text("stdout") == b"hello\n"
        assert scene.out("x") == "made"
        assert (scene.root / "workspace/out/x").stat().st_uid == os.geteuid()
        assert scene.recorder.native_id

    @pytest.mark.parametrize("status", [1, 3, 65, 124, 125, 126, 127, 130, 255])
    def test_the_task_s_own_exit_status_comes_through(self, scene: Scene, status: int) -> None:
        outcome = scene.act(f"raise SystemExit({status})")
        assert (outcome.status, outcome.exit_status) == ("failed", status)

    def test_a_task_that_talks_like_an_engine_is_a_task_all_the_same(self, scene: Scene) -> None:
        words = "Error: it did not work\n"
        outcome = scene.act(f"import sys; sys.stderr.write({words!r}); sys.exit(125)")
        assert (outcome.status, outcome.exit_status) == ("failed", 125)
        assert scene.recorder.text("stderr").decode() == words

    def test_a_task_that_a_signal_ends_has_failed(self, scene: Scene) -> None:
        outcome = scene.act("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        assert (outcome.status, outcome.exit_status) == ("failed", 128 + signal.SIGKILL)
        assert outcome.reason == "signal 9 ended it"

    def test_a_timeout_ends_the_task_and_everything_that_it_started(self, scene: Scene) -> None:
        script = "sleeper(); sleeper(start_new_session=True).wait()"
        outcome = scene.act(script, timeout=self.slack)
        assert (outcome.status, outcome.exit_status) == ("failed", EX_TIMED_OUT)
        assert outcome.reason == f"it ran longer than {self.slack:g} s"
        assert eventually(lambda: not scene.sleepers())

    def test_a_task_that_ignores_the_request_to_end_is_killed(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(process, "GRACE", 0.5)
        script = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nsleeper(); time.sleep(600)"
        assert scene.act(script, timeout=self.slack).exit_status == EX_TIMED_OUT
        assert eventually(lambda: not scene.sleepers())

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_an_interrupt_ends_everything_and_is_told_apart_from_a_failure(self, scene: Scene, number: int) -> None:
        scene.recorder.on_output = lambda _: os.kill(os.getpid(), number)
        outcome = scene.act("sleeper(); print('ready', flush=True); sleeper().wait()")
        assert outcome == Outcome(status="cancelled", exit_status=128 + number, reason="interrupted")
        assert eventually(lambda: not scene.sleepers())
        assert scene.record().status == "cancelled"

    def test_a_task_can_end_in_its_own_way_when_it_is_asked_to(self, scene: Scene) -> None:
        script = """
import signal, time
def end(*_):
    open(out + "/checkpoint", "w").write("saved")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(600)
"""
        scene.recorder.on_output = lambda _: os.kill(os.getpid(), signal.SIGINT)
        assert scene.act(script).status == "cancelled"
        assert scene.out("checkpoint") == "saved"

    def test_what_a_task_leaves_running_is_ended_with_it(self, scene: Scene) -> None:
        outcome = scene.act("sleeper(start_new_session=True)")
        assert (outcome.status, outcome.exit_status) == ("succeeded", 0)
        assert eventually(lambda: not scene.sleepers())

    def test_output_comes_as_it_is_written(self, scene: Scene) -> None:
        script = """
import time
print("working", flush=True)
time.sleep(1.5)
open(out + "/ended", "w").write(repr(time.time()))
"""
        seen: list[float] = []
        scene.recorder.on_output = lambda _: seen.append(time.time())
        assert scene.act(script).status == "succeeded"
        assert seen[0] < float(scene.out("ended"))

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
        store, record = RunStore(scene.root / "workspace"), scene.record()
        streams: tuple[tuple[Stream, bytes], ...] = (("stdout", b"o"), ("stderr", b"e"))
        for stream, letter in streams:
            assert scene.recorder.text(stream) == letter * 160 * 65536
            assert store.log(record.id, stream).read_bytes() == letter * 160 * 65536

    def test_output_is_bytes_and_passes_unchanged(self, scene: Scene) -> None:
        scene.act("sys.stdout.buffer.write(bytes(range(256)))")
        assert scene.recorder.text("stdout") == bytes(range(256))

    def test_the_task_has_no_standard_input_to_wait_for(self, scene: Scene) -> None:
        scene.act("print(repr(sys.stdin.read()))")
        assert scene.recorder.text("stdout") == b"''\n"

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_odd_names_are_names_and_nothing_else(self, name: str, platform: Platform, tmp_path: Path) -> None:
        variables = (EnvironmentVariable(name="ODD", value=name),)
        scene = Scene(tmp_path / name / "box", replace(platform, environment=variables), self.box_files)
        scene.write(
            {f"workspace/{name}.py": "import os; open(out + '/ran', 'w').write(os.environ['ODD'] + argv[1])"}
        )
        rebind = {"script": f"$WORKSPACE/{name}.py", "out": f"$WORKSPACE/{name}/out"}
        assert scene.run(scene.plan("", rebind=rebind)).status == "succeeded"
        assert (scene.root / "workspace" / name / "out" / "ran").read_text() == f"{name}act"
        stray = {path.name for path in tmp_path.rglob("*")} & {"x", "y"}
        assert not stray

    def test_a_tool_that_is_missing_is_named_before_anything_starts(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        plan = scene.plan("")
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(BoxError) as caught:
            scene.run(plan)
        assert caught.value.exit_status == EX_UNAVAILABLE
        error = caught.value
        said = error.problems[0].message if isinstance(error, ProblemsError) else error.message
        assert "no program" in said or "neither" in said
        assert not RunStore(scene.root / "workspace").ids()

    def test_the_environment_is_what_the_box_and_the_platform_say(
        self, platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MINE", "mine")
        monkeypatch.setenv("API_TOKEN", "geheim")
        monkeypatch.setenv("https_proxy", "http://user:geheim@localhost:1")
        variables = (
            EnvironmentVariable(name="GIVEN", value="two words"),
            EnvironmentVariable(name="MY_TOKEN", value="geheim"),
            EnvironmentVariable(name="API_TOKEN", value=None),
            EnvironmentVariable(name="NOT_SET", value=None),
        )
        scene = Scene(tmp_path / "box", replace(platform, environment=variables), self.box_files)
        names = ["MINE", "API_TOKEN", "https_proxy", "GIVEN", "MY_TOKEN", "NOT_SET"]
        plan = scene.plan(f"import os; print([os.environ.get(name) for name in {names}])")
        assert scene.run(plan).status == "succeeded"
        proxy = None if self.is_remote else "http://user:geheim@localhost:1"
        expected = [None, "geheim", proxy, "two words", "geheim", None]
        assert scene.recorder.text("stdout").decode() == f"{expected}\n"
        shown = [command.shell() for command in scene.runner.commands(plan)]
        assert "geheim" not in str(shown)
        assert "geheim" not in RunStore(scene.root / "workspace").journal.file.read_text()

    def test_home_can_be_written_to(self, scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        script = "import os, tempfile; open(os.path.expanduser('~/x'), 'w'); tempfile.TemporaryFile()"
        assert scene.act(script).status == "succeeded"

    def test_the_record_says_what_happened(self, scene: Scene) -> None:
        plan = scene.plan("print('to be kept'); sys.exit(3)")
        running: list[str] = []
        scene.recorder.on_output = lambda _: running.append(scene.record().status)
        scene.run(plan)
        record = scene.record()
        assert running[0] == "running"
        assert (record.id, record.status, record.exit_status) == (plan.id, "failed", 3)
        assert record.native_id == scene.recorder.native_id
        assert record.ended_at is not None
        assert record.started_at <= record.ended_at
        assert record.commands
        assert RunStore(scene.root / "workspace").log(plan.id, "stdout").read_bytes() == b"to be kept\n"

    def test_runs_work_outside_the_main_thread(self, scene: Scene) -> None:
        outcomes: list[Outcome] = []
        plan = scene.plan("print('hello')")
        thread = threading.Thread(target=lambda: outcomes.append(scene.run(plan)))
        thread.start()
        thread.join()
        assert outcomes == [Outcome(status="succeeded", exit_status=0)]

    def test_the_commands_shown_do_the_same_when_pasted_into_a_shell(self, scene: Scene) -> None:
        plan = scene.plan("open(out + '/ran', 'w').write('by hand')")
        scene.runner.prepare(plan, scene.recorder)
        (scene.root / "workspace/out").mkdir()
        for command in scene.runner.commands(plan):
            line = Command(argv=("sh", "-ec", command.shell()))
            completed, said = process.capture(line)
            assert completed.exit_status == 0, said
        assert scene.out("ran") == "by hand"
