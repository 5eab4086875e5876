"""What each trial of a sweep reads and writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlcommons_box.definition.built_in import built_in_platform
from mlcommons_box.definition.loader import load_box, load_platform, load_sweep
from mlcommons_box.errors import BoxError, ConfigurationError, MissingInputError
from mlcommons_box.model import Platform
from mlcommons_box.pipeline import Pipeline
from mlcommons_box.sweep import Values, value_sets, values_key
from mlcommons_box.trials import Trial, TrialPlanner, numbered, trial_planner
from tests.conftest import MakeBox

SWEEP = """\
schema_type: mlbox_sweep
schema_version: 1.0.0
run: copy
method: grid
parameters_file: source
parameters: {rate: [0.1, 0.2], model.width: [4, 8]}
metric: loss
direction: minimize
"""
PARAMETERS = "# all of them\nrate: 0.5\nmodel: {width: 1}\n"
FILES = {"sweeps/a.yaml": SWEEP, "workspace/in.yaml": PARAMETERS}
RUN = """\
schema_version: 1.0.0
schema_type: mlbox_invoke
task_name: copy
input_binding: {source: $WORKSPACE/in.yaml}
output_binding: {target: $WORKSPACE/out/copy.txt, logs: logs}
"""


def planner_of(root: Path, platform: Platform | None = None, name: str = "a") -> TrialPlanner:
    box = load_box(root)
    sweep, run = load_sweep(root / f"sweeps/{name}.yaml", box)
    return trial_planner(sweep, box, run, platform or built_in_platform("local"))


def trials_of(planner: TrialPlanner) -> list[Trial]:
    sets = value_sets(planner.sweep, planner.space)
    return [planner.trial(number, values) for number, values in enumerate(sets, 1)]


@pytest.fixture
def root(make_box: MakeBox) -> Path:
    return make_box({**FILES, "run/copy.yaml": RUN})


def test_every_trial_has_places_of_its_own(root: Path) -> None:
    trials = trials_of(planner_of(root))
    place = root / "workspace/sweeps/a/2"
    assert {each.name: each.path for each in trials[1].plan.parameters} == {
        "source": place / "source/in.yaml",
        "target": place / "target/copy.txt",
        "logs": place / "logs",
    }
    assert Pipeline([trial.plan for trial in trials]).order == (0, 1, 2, 3)
    assert len({trial.plan.id for trial in trials}) == 4


def test_every_trial_has_its_own_file_with_its_values(root: Path) -> None:
    trial = trials_of(planner_of(root))[1]
    assert trial.values == (("rate", 0.1), ("model.width", 8))
    assert trial.file == root / "workspace/sweeps/a/2/source/in.yaml"
    assert not trial.file.exists()
    trial.make_ready()
    assert trial.file.read_text() == "# all of them\nrate: 0.1\nmodel: {width: 8}\n"
    assert (root / "workspace/in.yaml").read_text() == PARAMETERS


def test_what_an_earlier_run_has_left_is_not_taken_for_a_result(root: Path) -> None:
    trial = trials_of(planner_of(root))[0]
    for output in trial.plan.outputs:
        output.directory.mkdir(parents=True)
        (output.directory / "metrics.json").write_text("{}")
    (root / "outside").mkdir()
    (root / "outside/kept").touch()
    logs = next(each.path for each in trial.plan.outputs if each.name == "logs")
    (logs / "metrics.json").unlink()
    logs.rmdir()
    logs.symlink_to(root / "outside")
    trial.make_ready()
    assert not logs.exists()
    assert (root / "outside/kept").exists()


def test_the_record_will_say_which_trial_it_is(root: Path) -> None:
    planner = planner_of(root)
    assert dict(planner.trial(7, (("rate", 0.1), ("model.width", 4))).plan.group) == {
        "kind": "sweep",
        "name": "a",
        "id": planner.id,
        "trial": 7,
        "values": {"rate": 0.1, "model.width": 4},
        "metric": "loss",
        "direction": "minimize",
    }


def test_without_a_file_the_values_are_bindings(make_box: MakeBox) -> None:
    sweep = SWEEP.replace("parameters_file: source\n", "")
    sweep = sweep.replace("{rate: [0.1, 0.2], model.width: [4, 8]}", "{source: [in.txt, /data/x.txt]}")
    planner = planner_of(make_box({"sweeps/a.yaml": sweep}))
    trials = trials_of(planner)
    workspace = planner.template.workspace
    assert [trial.plan.inputs[0].path for trial in trials] == [workspace / "in.txt", Path("/data/x.txt")]
    assert [trial.file for trial in trials] == [None, None]


def test_a_file_that_is_not_there_is_a_missing_input(root: Path) -> None:
    (root / "workspace/in.yaml").unlink()
    with pytest.raises(MissingInputError):
        planner_of(root)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {
                "platforms/k8s.yaml": "schema_type: mlbox_kubernetes\nschema_version: 1.0.0\nimage: a/b\n"
                "workspace_claim: c\n"
            },
            "the input 'source' is not on this machine",
        ),
        (
            {
                "tasks/copy.yaml": "schema_version: 1.0.0\nschema_type: mlbox_task\n"
                "inputs: [{name: source, type: file}]\n"
                "outputs: [{name: target, type: file}, {name: ../logs, type: directory}]\n",
                "run/copy.yaml": RUN.replace("logs: logs", "../logs: logs"),
            },
            "the output '../logs' cannot have a directory of its name",
        ),
        (
            {
                "tasks/copy.yaml": "schema_version: 1.0.0\nschema_type: mlbox_task\n"
                "inputs: [{name: source, type: directory}]\n"
                "outputs: [{name: target, type: file}, {name: logs, type: directory}]\n",
            },
            "the input 'source' is a directory",
        ),
    ],
)
def test_what_cannot_have_trials_says_why(make_box: MakeBox, files: dict[str, str | None], said: str) -> None:
    root = make_box({**FILES, "run/copy.yaml": RUN, **files})
    platform = load_platform(root / "platforms/k8s.yaml") if "platforms/k8s.yaml" in files else None
    with pytest.raises((ConfigurationError, BoxError), match=said):
        planner_of(root, platform)


def test_trials_keep_their_numbers_when_values_are_added() -> None:
    def sets(*values: int) -> list[Values]:
        return [(("a", value),) for value in values]

    known: dict[object, int] = {values_key(each): number for number, each in enumerate(sets(1, 3), 1)}
    assert numbered(sets(1, 3), {}) == [(1, sets(1)[0]), (2, sets(3)[0])]
    assert numbered(sets(1, 2, 3), known) == [(1, sets(1)[0]), (2, sets(3)[0]), (3, sets(2)[0])]
    assert numbered(sets(2), known) == [(3, sets(2)[0])]
