"""What every runner promises about the life of a task, tried on each of them with real processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlcommons_box.definition.loader import load_box, load_run_configuration
from mlcommons_box.errors import EX_TIMED_OUT, UnavailableError
from mlcommons_box.execution import execute
from mlcommons_box.model import LocalOptions, Platform
from mlcommons_box.planning import RunPlan, plan_run
from mlcommons_box.process import Stream
from mlcommons_box.runners.interface import Outcome, Runner
from mlcommons_box.runners.registry import runner_for
from tests.conftest import write_files

BOX = {
    "mlbox.yaml": """\
schema_version: 1.0.0
schema_type: mlbox_root
name: act
author: somebody
version: 0.1.0
mlbox_spec_version: 0.1.0
tasks: [tasks/act.yaml]
""",
    "tasks/act.yaml": """\
schema_version: 1.0.0
schema_type: mlbox_task
inputs: [{name: script, type: file}]
outputs: [{name: out, type: directory}]
""",
    "run/act.yaml": """\
schema_version: 1.0.0
schema_type: mlbox_invoke
task_name: act
input_binding: {script: script.py}
output_binding: {out: out}
""",
    "build/act.py": """\
import sys
paths = dict(argument[2:].split("=", 1) for argument in sys.argv[2:])
exec(compile(open(paths["script"]).read(), "script", "exec"), {"out": paths["out"], "argv": sys.argv})
""",
}
PLATFORMS = {"local": Platform(name="local", runner="local", options=LocalOptions())}


class Recorder:
    """An observer that keeps everything, with the time when it came."""

    def __init__(self) -> None:
        self.chunks: list[tuple[float, Stream, bytes]] = []
        self.native_id: str | None = None
        self.steps: list[str] = []
        self.on_output: Callable[[bytes], None] = lambda chunk: None

    def preparing(self, what: str) -> None:
        self.steps.append(what)

    def preparation_output(self, chunk: bytes) -> None:
        pass

    def prepared(self) -> None:
        pass

    def started(self, native_id: str) -> None:
        self.native_id = native_id

    def output(self, stream: Stream, chunk: bytes) -> None:
        self.chunks.append((time.monotonic(), stream, chunk))
        self.on_output(chunk)

    def text(self, stream: Stream) -> bytes:
        return b"".join(chunk for _, name, chunk in self.chunks if name == stream)


class Scene:
    """A box that runs any script as its task, on one platform."""

    def __init__(self, root: Path, platform: Platform) -> None:
        self.root = write_files(root, BOX)
        self.platform = platform
        self.recorder = Recorder()

    @property
    def runner(self) -> Runner:
        return runner_for(self.platform)

    def plan(self, script: str, timeout: float | None = None) -> RunPlan:
        write_files(self.root, {"workspace/script.py": script})
        box = load_box(self.root)
        run = load_run_configuration(self.root / "run/act.yaml", box)
        return plan_run(box, run, self.platform, timeout=timeout)

    def act(self, script: str, timeout: float | None = None) -> Outcome:
        return execute(self.plan(script, timeout), self.runner, self.recorder)

    def out(self, name: str) -> str:
        return (self.root / "workspace/out" / name).read_text()


@pytest.fixture(params=sorted(PLATFORMS))
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Scene:
    return Scene(tmp_path / "box", PLATFORMS[request.param])


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def eventually(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def test_success(scene: Scene) -> None:
    outcome = scene.act("print('hello'); open(out + '/x', 'w').write('made')")
    assert outcome == Outcome(status="succeeded", exit_status=0)
    assert scene.recorder.text("stdout") == b"hello\n"
    assert scene.out("x") == "made"
    assert (scene.root / "workspace/out/x").stat().st_uid == os.getuid()
    assert scene.recorder.native_id


@pytest.mark.parametrize("status", [1, 3, 65, 124, 130, 255])
def test_the_task_s_own_exit_status_comes_through(scene: Scene, status: int) -> None:
    outcome = scene.act(f"raise SystemExit({status})")
    assert (outcome.status, outcome.exit_status) == ("failed", status)


def test_a_task_that_a_signal_ends_has_failed(scene: Scene) -> None:
    outcome = scene.act("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert (outcome.status, outcome.exit_status) == ("failed", 128 + signal.SIGKILL)
    assert outcome.reason == "signal 9 ended it"


def test_a_timeout_ends_the_task_and_everything_that_it_started(scene: Scene) -> None:
    script = """
import os, subprocess, sys, time
loop = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
plain = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
escaped = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(os.getpid(), plain.pid, escaped.pid, flush=True)
time.sleep(600)
"""
    outcome = scene.act(script, timeout=1.5)
    assert (outcome.status, outcome.exit_status) == ("failed", EX_TIMED_OUT)
    assert outcome.reason == "it ran longer than 1.5 s"
    pids = list(map(int, scene.recorder.text("stdout").split()))
    assert len(pids) == 3
    assert eventually(lambda: not any(map(is_alive, pids)))


def test_a_task_that_ignores_the_request_to_end_is_killed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlcommons_box import process

    monkeypatch.setattr(process.stream, "__kwdefaults__", {**(process.stream.__kwdefaults__ or {}), "grace": 0.5})
    script = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
time.sleep(600)
"""
    outcome = scene.act(script, timeout=1)
    assert outcome.exit_status == EX_TIMED_OUT
    assert not is_alive(int(scene.recorder.text("stdout")))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_the_whole_tree_and_is_told_apart_from_a_failure(scene: Scene, number: int) -> None:
    script = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
"""
    scene.recorder.on_output = lambda _: os.kill(os.getpid(), number)
    outcome = scene.act(script)
    assert outcome == Outcome(status="cancelled", exit_status=128 + number, reason="interrupted")
    assert eventually(lambda: not any(map(is_alive, map(int, scene.recorder.text("stdout").split()))))


def test_a_task_can_end_in_its_own_way_when_it_is_asked_to(scene: Scene) -> None:
    script = """
import signal, sys, time
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


def test_what_a_task_leaves_running_is_ended_with_it(scene: Scene) -> None:
    script = """
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True).pid)
"""
    outcome = scene.act(script)
    assert outcome == Outcome(status="succeeded", exit_status=0, reason="it left a process running, which we ended")
    assert not is_alive(int(scene.recorder.text("stdout")))


def test_output_comes_as_it_is_written(scene: Scene) -> None:
    script = """
import os, time
print("waiting", flush=True)
for _ in range(2000):
    if os.path.exists(out + "/seen"):
        break
    time.sleep(0.01)
else:
    raise SystemExit("nobody saw the output")
"""
    seen = scene.root / "workspace/out/seen"
    scene.recorder.on_output = lambda _: seen.touch()
    assert scene.act(script).status == "succeeded"


def test_much_output_on_both_streams_arrives_whole(scene: Scene) -> None:
    script = """
import sys, threading
def write(stream, letter):
    for _ in range(160):
        stream.buffer.write(letter * 65536)
threads = [threading.Thread(target=write, args=pair) for pair in ((sys.stdout, b"o"), (sys.stderr, b"e"))]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
"""
    assert scene.act(script).status == "succeeded"
    assert scene.recorder.text("stdout") == b"o" * 160 * 65536
    assert scene.recorder.text("stderr") == b"e" * 160 * 65536


def test_output_is_bytes_and_passes_unchanged(scene: Scene) -> None:
    scene.act("import sys; sys.stdout.buffer.write(bytes(range(256)))")
    assert scene.recorder.text("stdout") == bytes(range(256))


def test_the_task_has_no_standard_input_to_wait_for(scene: Scene) -> None:
    scene.act("import sys; print(repr(sys.stdin.read()))")
    assert scene.recorder.text("stdout") == b"''\n"


ODD_NAMES = [
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
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_names_and_nothing_else(name: str, scene: Scene, tmp_path: Path) -> None:
    scene = Scene(tmp_path / name / "box", scene.platform)
    box = load_box(write_files(scene.root, {f"workspace/{name}.py": "open(out + '/ran', 'w').write(argv[1])"}))
    run = load_run_configuration(scene.root / "run/act.yaml", box)
    rebind = {"script": f"$WORKSPACE/{name}.py", "out": f"$WORKSPACE/{name}/out"}
    plan = plan_run(box, run, scene.platform, rebind=rebind)
    assert execute(plan, scene.runner, scene.recorder).status == "succeeded"
    assert (scene.root / "workspace" / name / "out" / "ran").read_text() == "act"
    stray = {path.name for path in tmp_path.rglob("*")} & {"x", "y"}
    assert not stray


def test_a_program_that_is_not_there_is_our_error_and_not_the_task_s(tmp_path: Path) -> None:
    options = LocalOptions(entrypoint=("no-such-program-anywhere", "x"))
    scene = Scene(tmp_path / "box", Platform(name="local", runner="local", options=options))
    with pytest.raises(UnavailableError, match="no-such-program-anywhere"):
        scene.act("")


def test_runs_work_outside_the_main_thread(scene: Scene) -> None:
    outcomes: list[Outcome] = []
    plan = scene.plan("print('hello')")
    thread = threading.Thread(target=lambda: outcomes.append(execute(plan, scene.runner, scene.recorder)))
    thread.start()
    thread.join()
    assert outcomes == [Outcome(status="succeeded", exit_status=0)]
