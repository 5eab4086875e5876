"""``mlbox sweep``: what it refuses, what it plans, and what it shows without running anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlcommons_box.cli.main import main
from mlcommons_box.errors import (
    EX_CANNOT_CREATE,
    EX_CONFIGURATION,
    EX_DEFINITION,
    EX_MISSING_INPUT,
    EX_USAGE,
)
from tests.conftest import MakeBox
from tests.unit.test_trials import FILES, RUN, SWEEP

SEARCH = """\
schema_type: mlbox_sweep
schema_version: 1.0.0
run: copy
method: search
parameters_file: source
parameters: {rate: {low: 0.1, high: 1, log: true}, model.width: {low: 1, high: 8}}
trials: 5
metric: loss
direction: maximize
"""


@pytest.fixture
def root(make_box: MakeBox) -> Path:
    return make_box({**FILES, "run/copy.yaml": RUN})


def test_a_plan_is_a_table_and_commands(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", f"--mlbox={root}", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "trial   rate   model.width\n"
        "──────────────────────────\n"
        "    1   0.1    4          \n"
        "    2   0.1    8          \n"
        "    3   0.2    4          \n"
        "    4   0.2    8          \n"
        "\n# trial 1\nmkdir -p -- "
    )
    place = root / "workspace/sweeps/a/2"
    assert f"tee {place}/source/in.yaml <<'MLBOX'\n# all of them\nrate: 0.1\nmodel: {{width: 8}}\nMLBOX\n" in out
    assert f"--target={place}/target/copy.txt --logs={place}/logs" in out
    assert not (root / "workspace/sweeps").exists()


def test_a_plan_as_data(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "a", f"--mlbox={root}", "--dry-run", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [each["trial"] for each in data] == [1, 2, 3, 4]
    assert data[3]["values"] == {"rate": 0.2, "model.width": 8}
    assert len(data[0]["commands"]) >= 3


def test_a_search_shows_its_space(make_box: MakeBox, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_box({**FILES, "run/copy.yaml": RUN, "sweeps/a.yaml": SEARCH})
    assert main(["sweep", f"--mlbox={root}", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "rate              0.1 to 1, on a logarithmic scale" in out
    assert "model.width       1 to 8, whole numbers" in out
    assert out.endswith("\n5 trials, to maximize loss\n")
    assert main(["sweep", f"--mlbox={root}", "--detach"]) == EX_USAGE
    assert "a search needs the result of one trial for the next" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dry-run", "--detach"], "--dry-run and --detach exclude each other"),
        (["--dry-run", "--results"], "--dry-run and --results exclude each other"),
        (["--detach", "--json"], "--detach and --json exclude each other"),
        (["--results", "--again"], "--results and --again exclude each other"),
        (["--json", "--csv=-"], "--json and --csv=- both print the results"),
        (["--jobs=0"], "--jobs takes a number from 1 on"),
        (["--timeout=soon"], "--timeout takes a time"),
        (["b"], "there is no sweep 'b'"),
        (["--detach"], "a trial with the local runner ends with the command that started it"),
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_refused(
    root: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["sweep", f"--mlbox={root}", *words]) == EX_USAGE
    assert said in capsys.readouterr().err


def test_a_csv_that_cannot_be_written_is_known_before_the_trials(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", f"--mlbox={root}", f"--csv={root}/no/such.csv"]) == EX_CANNOT_CREATE
    assert "there is no such directory" in capsys.readouterr().err


def test_the_sweep_has_to_be_named_when_there_are_several(
    make_box: MakeBox, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_box({**FILES, "run/copy.yaml": RUN, "sweeps/alice/b.yaml": SWEEP})
    assert main(["sweep", f"--mlbox={root}"]) == EX_USAGE
    assert "choose one:\n    a\n    alice/b\n" in capsys.readouterr().err
    assert main(["sweep", "b", f"--mlbox={root}", "--dry-run"]) == 0
    assert "/workspace/sweeps/alice/b/1/" in capsys.readouterr().out
    assert main(["sweep", str(root)]) == EX_USAGE
    capsys.readouterr()
    assert main(["sweep", str(root), f"--mlbox={root}"]) == EX_USAGE
    assert f"a box is named with --mlbox={root}" in capsys.readouterr().err
    assert main(["sweep", f"--mlbox={make_box(name='without')}"]) == EX_USAGE
    assert "the box has no sweeps" in capsys.readouterr().err


def test_an_input_that_every_trial_needs_is_missed_before_the_first(
    make_box: MakeBox, capsys: pytest.CaptureFixture[str]
) -> None:
    task = "inputs: [{name: source, type: file}, {name: data, type: directory}]"
    root = make_box(
        {
            **FILES,
            "tasks/copy.yaml": "schema_version: 1.0.0\nschema_type: mlbox_task\n"
            f"{task}\noutputs: [{{name: target, type: file}}, {{name: logs, type: directory}}]\n",
            "run/copy.yaml": RUN.replace("in.yaml}", "in.yaml, data: data}"),
        }
    )
    assert main(["sweep", f"--mlbox={root}"]) == EX_MISSING_INPUT
    assert capsys.readouterr().err.count("the input 'data' does not exist") == 1
    assert not (root / "workspace/sweeps").exists()


def test_results_of_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", f"--mlbox={root}", "--results"]) == 0
    assert "no trial of 'a' has run in this workspace" in capsys.readouterr().err
    assert main(["sweep", f"--mlbox={root}", "--results", "--csv=-"]) == 0
    assert capsys.readouterr().out == "trial,status,duration,exit_status,run_id\n"


def test_names_are_checked_against_the_file(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "sweeps/a.yaml").write_text(SWEEP.replace("rate:", "rat:"))
    for words in (["sweep", f"--mlbox={root}"], ["validate", str(root)]):
        assert main(words) == EX_DEFINITION
        captured = capsys.readouterr()
        assert "did you mean 'rate'?" in captured.out + captured.err
    assert main(["validate", str(root), "--no-inputs"]) == 0


def test_data_in_volume_claims_needs_kubernetes(make_box: MakeBox, capsys: pytest.CaptureFixture[str]) -> None:
    run = RUN.replace("logs: logs", "logs: {path: logs, k8s: {pvc: claim}}")
    assert main(["sweep", f"--mlbox={make_box({**FILES, 'run/copy.yaml': run})}"]) == EX_CONFIGURATION
    assert "use a Kubernetes platform" in capsys.readouterr().err


def test_what_sweeps_have_made_can_be_removed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = root / "workspace/sweeps/a/1/logs"
    place.mkdir(parents=True)
    assert main(["clean", str(root), "--yes"]) == 0
    assert f"{root}/workspace/sweeps/a  (sweep, 0 B)" in capsys.readouterr().out
    assert not place.exists()


def test_a_box_is_described_with_its_sweeps(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", str(root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sweeps"] == [
        {"name": "a", "run": "copy", "method": "grid", "description": None}
    ]
    assert main(["describe", str(root)]) == 0
    assert "Sweeps" in capsys.readouterr().out
    assert main(["validate", str(root)]) == 0
    assert "1 run, 0 platforms, 1 sweep" in capsys.readouterr().err
