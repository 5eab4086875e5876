"""Sweeps: what the trials of one choose from, what each is, and what came out, as tables, CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlcommons_box.model import Sweep
from mlcommons_box.parameter_file import Scalar
from mlcommons_box.report.problems import one_line
from mlcommons_box.report.records import duration_of, duration_text, status_cell
from mlcommons_box.sweep import Bounds, Space, Values
from mlcommons_box.sweeping import PastTrial
from mlcommons_box.trials import Trial
from mlcommons_box.value import Value

if TYPE_CHECKING:
    from rich.table import Table

_SHOWN_METRICS = 4
_FIXED = ("trial", "status", "duration", "exit_status", "run_id")


class TrialResult(Value):
    """What came out of a trial."""

    number: int
    values: Values
    status: str = "not started"
    duration: float | None = None
    metrics: Mapping[str, float]
    run_id: str | None = None
    exit_status: int | None = None
    reason: str | None = None


def result_of(number: int, values: Values, past: PastTrial | None) -> TrialResult:
    """The result of a trial by its record, if it has one."""
    if past is None:
        return TrialResult(number=number, values=values, metrics={})
    record = past.record
    metrics = {
        str(name): value
        for name, value in record.metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return TrialResult(
        number=number,
        values=values,
        status=record.status,
        duration=duration_of(record),
        metrics=metrics,
        run_id=record.id,
        exit_status=record.exit_status,
        reason=record.reason,
    )


def best_of(results: Iterable[TrialResult], sweep: Sweep) -> TrialResult | None:
    """The trial with the best metric; the first of several."""
    metric = sweep.metric
    if metric is None:
        return None
    found = [each for each in results if each.status == "succeeded" and metric in each.metrics]
    sign = -1 if sweep.direction == "maximize" else 1
    return min(found, key=lambda each: (sign * each.metrics[metric], each.number), default=None)


def shown_metrics(results: Sequence[TrialResult], sweep: Sweep) -> list[str]:
    """The metrics that a table has room for: that of the sweep, and others that tell trials apart.

    A metric that only repeats a value of the trial is none of them.
    """
    names = list(dict.fromkeys(name for each in results for name in each.metrics))
    given = {name for each in results for name, _ in each.values}

    def tells(name: str) -> bool:
        if any(name == each or name.endswith(f".{each}") for each in given):
            return False
        return len({each.metrics[name] for each in results if name in each.metrics}) > 1

    first = [sweep.metric] if sweep.metric in names and sweep.metric else []
    telling = [name for name in names if name not in first and tells(name)]
    # the shallow ones first: those below others are rather steps and parts
    telling.sort(key=lambda name: name.count("."))
    return (first + telling or names)[:_SHOWN_METRICS]


def results_table(results: Sequence[TrialResult], sweep: Sweep) -> Table:
    """One row for a trial; the best is marked."""
    from rich.text import Text

    best = best_of(results, sweep)
    names = list(dict.fromkeys(name for each in results for name, _ in each.values))
    metrics = shown_metrics(results, sweep)
    table = _table(["trial", *names, "status", "duration", *metrics], {"trial", "duration", *metrics})
    for each in results:
        values = dict(each.values)
        style = "bold green" if best is not None and each.number == best.number else ""
        table.add_row(
            Text(f"{'* ' if style else ''}{each.number}", style),
            *(Text(value_text(values[name]) if name in values else "") for name in names),
            status_cell(each.status),
            duration_text(each.duration),
            *(Text(number_text(each.metrics.get(name)), style if name == sweep.metric else "") for name in metrics),
        )
    return table


def trials_table(trials: Sequence[Trial]) -> Table:
    """The values of trials that are still to run."""
    from rich.text import Text

    names = list(dict.fromkeys(name for trial in trials for name, _ in trial.values))
    table = _table(["trial", *names], {"trial"})
    for trial in trials:
        values = dict(trial.values)
        table.add_row(Text(str(trial.number)), *(Text(value_text(values[name])) for name in names))
    return table


def space_table(space: Space) -> Table:
    """What a search chooses from."""
    from rich.text import Text

    table = _table(["hyper-parameter", "values"], set())
    for name, choices in space:
        if isinstance(choices, Bounds):
            kind = ", whole numbers" if choices.whole else ""
            scale = ", on a logarithmic scale" if choices.logarithmic else ""
            text = f"{choices.low:g} to {choices.high:g}{kind}{scale}"
        else:
            text = ", ".join(map(value_text, choices))
        table.add_row(Text(one_line(name)), Text(text))
    return table


def best_text(best: TrialResult, sweep: Sweep) -> str:
    """``the best trial is 7: test_loss 0.08 (batch_size 64, optimizer adam)``."""
    values = ", ".join(f"{one_line(name)} {value_text(value)}" for name, value in best.values)
    metric = sweep.metric or ""
    return f"the best trial is {best.number}: {one_line(metric)} {number_text(best.metrics[metric])} ({values})"


def results_json(results: Sequence[TrialResult], sweep: Sweep) -> dict[str, object]:
    """All that is known of the trials, as data."""
    best = best_of(results, sweep)
    return {
        "sweep": sweep.name,
        "run": sweep.run,
        "method": sweep.method,
        "metric": sweep.metric,
        "direction": sweep.direction,
        "best": None if best is None else best.number,
        "trials": [
            {
                "trial": each.number,
                "values": dict(each.values),
                "status": each.status.replace(" ", "-"),
                "duration": each.duration,
                "exit_status": each.exit_status,
                "reason": each.reason,
                "run_id": each.run_id,
                "metrics": dict(each.metrics),
            }
            for each in results
        ],
    }


def results_csv(results: Sequence[TrialResult]) -> str:
    """The same as CSV: a column for each value and for each metric, whose names begin with what they are."""
    values = list(dict.fromkeys(name for each in results for name, _ in each.values))
    metrics = list(dict.fromkeys(name for each in results for name in each.metrics))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_FIXED, *(f"values.{name}" for name in values), *(f"metrics.{name}" for name in metrics)])
    for each in results:
        given: dict[str, Any] = dict(each.values)
        fixed = (each.number, each.status, each.duration, each.exit_status, each.run_id)
        columns = [*fixed, *(given.get(name) for name in values), *(each.metrics.get(name) for name in metrics)]
        writer.writerow(["" if column is None else column for column in columns])
    return text.getvalue()


def value_text(value: Scalar) -> str:
    """A value as it is written in YAML, without quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else one_line(str(value))


def number_text(number: float | None) -> str:
    """A metric with six significant digits."""
    if number is None:
        return ""
    return str(number) if isinstance(number, int) else f"{number:.6g}"


def _table(names: Sequence[str], right: set[str]) -> Table:
    from rich import box as frames
    from rich.table import Table
    from rich.text import Text

    table = Table(box=frames.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(Text(one_line(name)), overflow="fold", justify="right" if name in right else "left")
    return table
