"""A box whose runs are played in this process, so that their records prove something without an engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlcommons_box import execution
from mlcommons_box.command import Command
from mlcommons_box.definition.loader import load_box, load_run_configuration
from mlcommons_box.errors import Problem
from mlcommons_box.model import LocalOptions, Platform
from mlcommons_box.planning import RunPlan, SetupPlan, plan_run
from mlcommons_box.record import RunRecord
from mlcommons_box.run_store import RunStore
from mlcommons_box.runners.identity import Identity
from mlcommons_box.runners.interface import Observer, Outcome, Runner, Unheard
from mlcommons_box.up_to_date import Checker, LastRuns, Verdict
from tests.conftest import write_files

BOX = {
    "mlbox.yaml": """\
schema_version: 1.0.0
schema_type: mlbox_root
name: digits
author: somebody
version: 0.1.0
mlbox_spec_version: 0.1.0
tasks: [tasks/train.yaml]
""",
    "tasks/train.yaml": """\
schema_version: 1.1.0
schema_type: mlbox_task
environment: {THREADS: 2}
inputs:
  - {name: data, type: directory}
  - {name: settings, type: file}
outputs:
  - {name: model, type: directory}
  - {name: log, type: file, reproducible: false}
""",
    "run/train.yaml": """\
schema_version: 1.0.0
schema_type: mlbox_invoke
task_name: train
input_binding: {data: $WORKSPACE/data, settings: $WORKSPACE/settings.yaml}
output_binding: {model: $WORKSPACE/model, log: $WORKSPACE/out/log.txt}
""",
    "build/train.py": "print(1)\n",
    "build/lib/net.py": "layers = 2\n",
    "workspace/data/a.txt": "1\n",
    "workspace/data/b/c.txt": "2\n",
    "workspace/settings.yaml": "rate: 0.1\noptimizer: {name: adam, betas: [0.9, 0.99]}\n",
}
LOCAL = Platform(name="local", runner="local", options=LocalOptions())
PYTHON = {"python": "3.11.7", "packages": {"numpy": "1.26.0"}}
GOOD = Outcome(status="succeeded", exit_status=0)


def train(plan: RunPlan) -> Outcome:
    """What the task does: the same for the same inputs, but for its log."""
    paths = {each.name: each.path for each in plan.parameters}
    write_files(paths["model"], {"weights": paths["settings"].read_text(), "metrics.json": '{"accuracy": 0.9}'})
    paths["log"].write_text(f"trained in {plan.id}\n")
    return GOOD


class PlayingRunner:
    """Plays the task in this process; it knows what it runs in."""

    def __init__(self, does: Callable[[RunPlan], Outcome] = train) -> None:
        self.does = does
        self.image: Mapping[str, Any] = PYTHON
        self.engine: Mapping[str, Any] = {"name": "player", "version": "1"}
        self.fails: BaseException | None = None
        self.runs: list[RunPlan] = []
        self.prepared: list[SetupPlan] = []

    def is_available(self, plan: SetupPlan) -> bool:
        """It always is."""
        return True

    def check(self, plan: SetupPlan) -> list[Problem]:
        """Nothing stands in its way."""
        return []

    def notes(self, plan: SetupPlan) -> list[str]:
        """Nothing to tell."""
        return []

    def commands(self, plan: SetupPlan) -> list[Command]:
        """What it would do."""
        return [Command(argv=("play",))]

    def prepare(self, plan: SetupPlan, observer: Observer) -> None:
        """Remember it."""
        self.prepared.append(plan)

    def built(self, plan: SetupPlan) -> list[object]:
        """Nothing is."""
        return []

    def run(self, plan: RunPlan, observer: Observer) -> Outcome:
        """Play it."""
        self.runs.append(plan)
        observer.started("7")
        return self.does(plan)

    def identity(self, plan: SetupPlan) -> Identity:
        """What a test says."""
        if self.fails is not None:
            raise self.fails
        return Identity(image=self.image, engine=self.engine)


class Nameless(PlayingRunner):
    """A runner that cannot say what it runs in, as those on another machine."""

    identity = None  # type: ignore[assignment]


class Bench:
    """A box, a runner, and what there is to ask of both."""

    def __init__(self, root: Path, files: Mapping[str, str] | None = None) -> None:
        self.root = write_files(root, {**BOX, **(files or {})})
        self.workspace = self.root / "workspace"
        self.platform = LOCAL
        self.player = PlayingRunner()

    @property
    def runner(self) -> Runner:
        """The player, as others see it."""
        runner: Any = self.player
        return runner  # type: ignore[no-any-return]

    @property
    def store(self) -> RunStore:
        """The records of the workspace, read anew."""
        return RunStore(self.workspace)

    def plan(self, rebind: Mapping[str, str] | None = None) -> RunPlan:
        """The plan of the next run."""
        box = load_box(self.root)
        run = load_run_configuration(self.root / "run/train.yaml", box)
        return plan_run(box, run, self.platform, workspace=self.workspace, rebind=rebind)

    def run(self, plan: RunPlan | None = None) -> RunRecord:
        """Run it, and read its record."""
        plan = plan or self.plan()
        execution.execute(plan, self.runner, Unheard())
        return self.store.read(plan.id)

    def why(self, plan: RunPlan | None = None) -> Verdict:
        """Whether it would run again."""
        return Checker(self.runner, LastRuns(self.store)).check(plan or self.plan())

    def reasons(self, plan: RunPlan | None = None) -> list[tuple[str, str, str]]:
        """All that speaks against it."""
        return [(each.kind, each.name, each.says) for each in self.why(plan).changes]

    def rewrite(self, record: RunRecord, **changes: Any) -> RunRecord:
        """Put something else into a record, as a stranger may."""
        self.store.journal.append([{"id": record.id, **json.loads(json.dumps(changes))}])
        return self.store.read(record.id)
