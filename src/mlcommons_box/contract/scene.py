"""A box that runs any script as its task.

Its ``build/act.py`` is started as ``act --script=PATH --out=PATH`` and runs the script, which finds the path of its
output as ``out``, its own as ``script`` and the arguments as ``argv``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import uuid4

from mlcommons_box.definition.loader import load_box, load_run_configuration
from mlcommons_box.execution import execute
from mlcommons_box.model import Platform
from mlcommons_box.planning import RunPlan, plan_run
from mlcommons_box.process import Stream
from mlcommons_box.record import RunRecord
from mlcommons_box.run_store import RunStore
from mlcommons_box.runners.interface import Outcome, Runner
from mlcommons_box.runners.registry import runner_for

BOX: Mapping[str, str] = {
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
script = open(paths["script"]).read()
exec(compile(script, "script", "exec"), {"out": paths["out"], "argv": sys.argv, "script": paths["script"]})
""",
}
SLEEPER = """\
import subprocess, sys
def sleeper(**more):
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", {token!r}], **more)
"""


class Recorder:
    """An observer that keeps everything."""

    def __init__(self) -> None:
        self.chunks: list[tuple[Stream, bytes]] = []
        self.native_id: str | None = None
        self.steps: list[str] = []
        self.on_output: Callable[[bytes], None] = lambda chunk: None

    def preparing(self, what: str) -> None:
        """Keep the step."""
        self.steps.append(what)

    def preparation_output(self, chunk: bytes) -> None:
        """Nothing of it is promised."""

    def prepared(self) -> None:
        """Nothing of it is promised."""

    def started(self, native_id: str) -> None:
        """Keep the id."""
        self.native_id = native_id

    def output(self, stream: Stream, chunk: bytes) -> None:
        """Keep the chunk, and tell the test of it."""
        self.chunks.append((stream, chunk))
        self.on_output(chunk)

    def text(self, stream: Stream) -> bytes:
        """All that came on a stream."""
        return b"".join(chunk for name, chunk in self.chunks if name == stream)


class Scene:
    """A box that runs any script as its task, on one platform.

    ``token`` is an argument of every process that :data:`SLEEPER` starts, by which it is found on this machine,
    in whatever container it is.
    """

    def __init__(self, root: Path, platform: Platform, files: Mapping[str, str]) -> None:
        self.root = root
        self.platform = platform
        self.files = files
        self.recorder = Recorder()
        self.token = f"mlbox-contract-{uuid4()}"
        self.write({**BOX, **files})

    def write(self, files: Mapping[str, str]) -> None:
        """Write files of the box."""
        for name, content in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")

    @property
    def runner(self) -> Runner:
        """The runner of the platform."""
        return runner_for(self.platform)

    def plan(self, script: str, timeout: float | None = None, rebind: Mapping[str, str] | None = None) -> RunPlan:
        """The plan of a run of a script."""
        self.write({"workspace/script.py": SLEEPER.format(token=self.token) + script})
        box = load_box(self.root)
        run = load_run_configuration(self.root / "run/act.yaml", box)
        return plan_run(box, run, self.platform, timeout=timeout, rebind=rebind)

    def act(self, script: str, timeout: float | None = None) -> Outcome:
        """Run a script to its end."""
        return self.run(self.plan(script, timeout))

    def run(self, plan: RunPlan) -> Outcome:
        """Run a plan to its end."""
        return execute(plan, self.runner, self.recorder)

    def record(self) -> RunRecord:
        """The record of the latest run."""
        return RunStore(self.root / "workspace").find(None)

    def out(self, name: str) -> str:
        """What the script wrote to a file of its output."""
        return (self.root / "workspace/out" / name).read_text()

    def sleepers(self) -> list[int]:
        """The processes on this machine that the script started and that are alive."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    arguments = (entry / "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if self.token.encode() in arguments:
                    found.append(int(entry.name))
        return found


def is_alive(pid: int) -> bool:
    """Whether a process of this machine is there and not yet dead."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def eventually(condition: Callable[[], bool], seconds: float = 10) -> bool:
    """Whether a condition comes true within some seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()
