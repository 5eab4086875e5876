from __future__ import annotations

import pytest

from mlcommons_box.definition.loader import load_box, load_sweep
from mlcommons_box.definition.problems import Problems
from mlcommons_box.definition.sweeps import read_sweep
from mlcommons_box.errors import DefinitionError
from mlcommons_box.model import Sweep, SweepRange
from tests.conftest import MakeBox
from tests.unit.definition.definition_corpus import TRAIN, VALID

FOLDER = VALID / "sweep"
SWEEPS = [
    Sweep(
        name="grid",
        file=FOLDER / "grid.yaml",
        run="train",
        method="grid",
        parameters_file="parameters_file",
        parameters=(
            ("optimizer", ("adam", "sgd")),
            ("batch_size", ("32", "64", "128")),
            ("augment", ("true", "false")),
        ),
    ),
    Sweep(
        name="grid_with_metric",
        file=FOLDER / "grid_with_metric.yaml",
        run="train",
        method="grid",
        metric="test.accuracy",
        direction="maximize",
        parameters_file="parameters_file",
        parameters=(("model.width", ("8", "16")),),
    ),
    Sweep(
        name="list_of_bindings",
        file=FOLDER / "list_of_bindings.yaml",
        run="train",
        method="list",
        parameters=(
            ("data_dir", ("$WORKSPACE/a", "$WORKSPACE/b")),
            ("parameters_file", ("a.yaml", "b.yaml")),
        ),
    ),
    Sweep(
        name="random",
        file=FOLDER / "random.yaml",
        run="train",
        method="random",
        trials=20,
        seed=0,
        description="Twenty points.",
        parameters_file="parameters_file",
        parameters=(
            ("learning_rate", SweepRange(low=1e-5, high=0.1, logarithmic=True)),
            ("dropout", SweepRange(low=0, high=0.5)),
            ("offset", SweepRange(low=-1, high=1.5)),
            ("optimizer", ("adam",)),
        ),
    ),
    Sweep(
        name="search",
        file=FOLDER / "search.yaml",
        run="train",
        method="search",
        trials=16,
        seed=42,
        metric="test_loss",
        direction="minimize",
        parameters_file="parameters_file",
        parameters=(("batch_size", ("16", "32")), ("rate", SweepRange(low=0.001, high=1))),
    ),
]


@pytest.mark.parametrize("expected", SWEEPS, ids=lambda sweep: sweep.name)
def test_a_sweep_has_every_value_of_its_file(expected: Sweep) -> None:
    problems = Problems()

    assert read_sweep(expected.file, VALID, [TRAIN], problems) == expected
    assert problems == []


def test_a_sweep_in_a_box_without_runs_has_none_to_repeat() -> None:
    problems = Problems()

    assert read_sweep(FOLDER / "grid.yaml", VALID, [], problems) is None
    assert [problem.code for problem in problems] == ["unknown-run"]


def test_a_sweep_is_called_by_its_path_below_the_sweeps(make_box: MakeBox) -> None:
    text = (FOLDER / "list_of_bindings.yaml").read_text("utf-8")
    text = text.replace("train", "copy").replace("data_dir", "source").split("  parameters_file")[0]
    root = make_box({"sweeps/alice/sources.yaml": text})

    sweep, run = load_sweep(root / "sweeps/alice/sources.yaml", load_box(root))

    assert (sweep.name, run.name) == ("alice/sources", "copy")
    assert [place.line for place in sweep.places] == [6]


def test_a_run_that_is_wrong_is_no_run_that_does_not_exist(make_box: MakeBox) -> None:
    text = (FOLDER / "list_of_bindings.yaml").read_text("utf-8").replace("train", "copy")
    root = make_box({"sweeps/one.yaml": text, "run/copy.yaml": "task_name: copy\n"})

    with pytest.raises(DefinitionError) as caught:
        load_sweep(root / "sweeps/one.yaml", load_box(root))
    assert {problem.code for problem in caught.value.problems} == {"unknown-run", "missing-key"}
