"""Reads sweep files: one run configuration, many values of its hyper-parameters."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import cast

from mlcommons_box.definition import schema
from mlcommons_box.definition.files import read_fields
from mlcommons_box.definition.places import SWEEP_DIRECTORY, name_below
from mlcommons_box.definition.problems import Problems
from mlcommons_box.definition.structures import Entry, Fields
from mlcommons_box.model import Direction, RunConfiguration, Sweep, SweepMethod, SweepRange
from mlcommons_box.suggestions import did_you_mean, nearest, quoted

_DRAWN = ("random", "search")
"""Methods that draw values, as often as 'trials' says."""


def read_sweep(file: Path, root: Path, runs: Iterable[RunConfiguration], problems: Problems) -> Sweep | None:
    """The sweep in one file of the box at ``root``, checked against its run configurations."""
    fields = read_fields(file, ("mlbox_sweep",), problems)
    if fields is None:
        return None
    before = len(problems)
    keys = schema.Sweep
    entries, holder = fields[keys.PARAMETERS], fields.get(keys.PARAMETERS_FILE)
    _check_names(fields, {candidate.name: candidate for candidate in runs}, problems)
    method = cast("SweepMethod", fields[keys.METHOD])
    parameters = tuple((entry.name, _values(entry, method, problems)) for entry in entries)
    if method == "list" and len({len(v) for _, v in parameters if not isinstance(v, SweepRange)}) > 1:
        message = "the lists of values have different lengths"
        problems.report(
            "bad-value", message, fields.locations[keys.PARAMETERS.name], hint="trial i takes value i of each"
        )
    _check_method(fields, method, problems)
    if len(problems) > before:
        return None
    return Sweep(
        name=name_below(file, root / SWEEP_DIRECTORY),
        file=file,
        run=fields[keys.RUN].value,
        method=method,
        parameters=parameters,
        parameters_file=holder.value if holder else None,
        trials=fields.get(keys.TRIALS),
        seed=fields.get(keys.SEED),
        metric=fields.get(keys.METRIC),
        direction=cast("Direction | None", fields.get(keys.DIRECTION)),
        description=fields.get(schema.DESCRIPTION),
        places=tuple(entry.name_location for entry in entries),
    )


def _check_names(fields: Fields, known: dict[str, RunConfiguration], problems: Problems) -> None:
    """The run has to be one of the box, and what varies has to be an input of it, or lie in the file of one."""
    keys = schema.Sweep
    run, holder = fields[keys.RUN], fields.get(keys.PARAMETERS_FILE)
    if run.value not in known:
        hint = did_you_mean(nearest(run.value, known))
        problems.report(
            "unknown-run", f"the box has no run configuration {quoted(run.value)}", run.location, hint=hint
        )
        return
    inputs = [binding.parameter for binding in known[run.value].inputs]
    if holder and holder.value not in inputs:
        message = f"the run {run.value!r} has no input {quoted(holder.value)}"
        hint = did_you_mean(nearest(holder.value, inputs))
        problems.report("unknown-parameter", message, holder.location, hint=hint)
    for entry in () if holder else fields[keys.PARAMETERS]:
        if entry.name not in inputs:
            message = f"the run {run.value!r} has no input {quoted(entry.name)}"
            hint = did_you_mean(nearest(entry.name, inputs))
            hint = hint or "values of a file need 'parameters_file', which names the input that is this file"
            problems.report("unknown-parameter", message, entry.name_location, hint=hint)
        elif not isinstance(entry.value, tuple):
            message = f"the input {quoted(entry.name)} is bound to a path, and takes a list of them"
            problems.report("bad-value", message, entry.location)


def _check_method(fields: Fields, method: SweepMethod, problems: Problems) -> None:
    """What some methods need and others have no use for."""
    keys = schema.Sweep
    places = fields.locations
    place = places[keys.METHOD.name]
    if method in _DRAWN and keys.TRIALS.name not in places:
        message = f"the method {method!r} needs the key 'trials'"
        problems.report("missing-key", message, place, hint="write how many trials there are")
    if method not in _DRAWN:
        for key in (keys.TRIALS, keys.SEED):
            if key.name in places:
                message = f"the method {method!r} takes every value, and has no use for {key.name!r}"
                problems.report("bad-value", message, places[key.name], hint="remove it, or write 'method: random'")
    metric, direction = (places.get(key.name) for key in (keys.METRIC, keys.DIRECTION))
    if method == "search" and metric is None:
        message = "the method 'search' needs the key 'metric'"
        problems.report("missing-key", message, place, hint="write the name of a number in the task's metrics.json")
    if metric is not None and direction is None:
        message = "the key 'direction' is missing"
        problems.report("missing-key", message, metric, hint="write 'direction: minimize' or 'direction: maximize'")
    if direction is not None and metric is None and method != "search":
        message = "the key 'metric' is missing, and 'direction' is that of the metric"
        problems.report("missing-key", message, direction)


def _values(
    entry: Entry[tuple[str, ...] | Fields], method: SweepMethod, problems: Problems
) -> tuple[str, ...] | SweepRange:
    value = entry.value
    if isinstance(value, tuple):
        return value
    keys = schema.Sweep
    bounds = SweepRange(
        low=value[keys.LOW], high=value[keys.HIGH], logarithmic=value.or_else(keys.LOGARITHMIC, False)
    )
    if method not in _DRAWN:
        message = f"the method {method!r} takes lists of values, not bounds"
        problems.report("bad-value", message, entry.location, hint="write a list, or 'method: random'")
    elif not bounds.low < bounds.high or (bounds.logarithmic and bounds.low <= 0):
        message = "'low' has to be below 'high', and above 0 on a logarithmic scale"
        problems.report("bad-value", message, entry.location)
    return bounds
