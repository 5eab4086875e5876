"""What came out of a sweep, as tables, CSV and JSON."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from mlcommons_box.model import Direction, Sweep
from mlcommons_box.report.sweeps import (
    TrialResult,
    best_of,
    best_text,
    results_csv,
    results_json,
    results_table,
    shown_metrics,
    space_table,
)
from mlcommons_box.sweep import Bounds
from mlcommons_box.value import replace

SWEEP = Sweep(
    name="a", file=Path("a.yaml"), run="train", method="grid", parameters=(), metric="loss", direction="minimize"
)
RESULTS = [
    TrialResult(
        number=1,
        values=(("rate", 0.1), ("model.width", 8)),
        status="succeeded",
        duration=61.2,
        metrics={"loss": 0.5, "seed": 3, "parameters.rate": 0.1, "accuracy": 0.75},
        run_id="20260101T000000-aa",
        exit_status=0,
    ),
    TrialResult(
        number=2,
        values=(("rate", 1e-05), ("model.width", 8)),
        status="succeeded",
        duration=2.0,
        metrics={"loss": 0.12345678, "seed": 3, "parameters.rate": 1e-05, "accuracy": 0.5},
        run_id="20260101T000001-bb",
        exit_status=0,
    ),
    TrialResult(
        number=3,
        values=(("rate", 1.0), ("model.width", 8)),
        status="failed",
        duration=0.25,
        metrics={"loss": 0.0},
        run_id="20260101T000002-cc",
        exit_status=1,
        reason="it ran longer than 1 s",
    ),
    TrialResult(number=4, values=(("rate", 2.0), ("model.width", 8)), metrics={}),
]


def printed(table: Table) -> str:
    text = io.StringIO()
    Console(file=text, width=200).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def test_the_table_marks_the_best_trial() -> None:
    assert (
        printed(results_table(RESULTS, SWEEP))
        == """\
trial   rate    model.width   status        duration       loss   accuracy
──────────────────────────────────────────────────────────────────────────
    1   0.1     8             succeeded       1m 01s        0.5       0.75
  * 2   1e-05   8             succeeded        2.0 s   0.123457        0.5
    3   1.0     8             failed           0.2 s          0
    4   2.0     8             not started"""
    )


@pytest.mark.parametrize(("direction", "number"), [("minimize", 2), ("maximize", 1)])
def test_the_best_is_one_that_has_succeeded(direction: Direction, number: int) -> None:
    best = best_of(RESULTS, replace(SWEEP, direction=direction))
    assert best is not None
    assert best.number == number


def test_without_a_metric_or_a_success_there_is_no_best() -> None:
    assert best_of(RESULTS, replace(SWEEP, metric=None, direction=None)) is None
    assert best_of(RESULTS[2:], SWEEP) is None
    assert best_of(RESULTS, replace(SWEEP, metric="other")) is None


def test_a_table_has_the_metrics_that_tell_trials_apart() -> None:
    assert shown_metrics(RESULTS, SWEEP) == ["loss", "accuracy"]
    assert shown_metrics(RESULTS, replace(SWEEP, metric="accuracy")) == ["accuracy", "loss"]
    alone = shown_metrics(RESULTS[:1], replace(SWEEP, metric=None))
    assert alone == ["loss", "seed", "parameters.rate", "accuracy"]


def test_the_best_in_a_line() -> None:
    assert best_text(RESULTS[1], SWEEP) == "the best trial is 2: loss 0.123457 (rate 1e-05, model.width 8)"


def test_csv_has_all_of_it() -> None:
    assert (
        results_csv(RESULTS[1:])
        == """\
trial,status,duration,exit_status,run_id,values.rate,values.model.width,metrics.loss,metrics.seed,\
metrics.parameters.rate,metrics.accuracy
2,succeeded,2.0,0,20260101T000001-bb,1e-05,8,0.12345678,3,1e-05,0.5
3,failed,0.25,1,20260101T000002-cc,1.0,8,0.0,,,
4,not started,,,,2.0,8,,,,
"""
    )


def test_json_has_all_of_it() -> None:
    data = results_json(RESULTS, SWEEP)
    trials = data["trials"]
    assert isinstance(trials, list)
    assert (data["sweep"], data["metric"], data["direction"], data["best"]) == ("a", "loss", "minimize", 2)
    assert trials[2] == {
        "trial": 3,
        "values": {"rate": 1.0, "model.width": 8},
        "status": "failed",
        "duration": 0.25,
        "exit_status": 1,
        "reason": "it ran longer than 1 s",
        "run_id": "20260101T000002-cc",
        "metrics": {"loss": 0.0},
    }
    assert trials[3]["status"] == "not-started"


def test_a_stranger_s_words_stay_on_their_line() -> None:
    result = replace(RESULTS[0], values=(("a\nb", "x\x1b[31m\ny"),))
    assert "\x1b" not in printed(results_table([result], SWEEP))
    assert "x\\x1b[31m\\ny" in printed(results_table([result], SWEEP))


def test_a_search_shows_its_space() -> None:
    space = (
        ("rate", Bounds(low=1e-5, high=0.1, logarithmic=True)),
        ("width", Bounds(low=1, high=16, whole=True)),
        ("flag", (True, "x", 1)),
    )
    shown = printed(space_table(space))
    assert "1e-05 to 0.1, on a logarithmic scale" in shown
    assert "1 to 16, whole numbers" in shown
    assert "true, x, 1" in shown
