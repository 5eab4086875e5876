"""Reads sweep files: one run configuration, many values of its hyper-parameters."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import cast

from mlcommons_box.definition import schema
from mlcommons_box.definition.files import read_fields
from mlcommons_box.definition.rules import Entry, Fields, did_you_mean, nearest
from mlcommons_box.definition.source import Problems, quoted
from mlcommons_box.model import RunConfiguration, Sweep, SweepMethod, SweepRange


def read_sweep(file: Path, runs: Iterable[RunConfiguration], problems: Problems) -> Sweep | None:
    """The sweep in one file, checked against the run configurations of the box."""
    fields = read_fields(file, ("mlbox_sweep",), problems)
    if fields is None:
        return None
    before = len(problems)
    keys = schema.Sweep
    run, holder = fields[keys.RUN], fields.get(keys.PARAMETERS_FILE)
    known = {candidate.name: candidate for candidate in runs}
    if run.value not in known:
        hint = did_you_mean(nearest(run.value, known))
        problems.report(
            "unknown-run", f"the box has no run configuration {quoted(run.value)}", run.location, hint=hint
        )
    elif holder and holder.value not in [binding.parameter for binding in known[run.value].inputs]:
        message = f"the run {run.value!r} has no input {quoted(holder.value)}"
        problems.report("unknown-parameter", message, holder.location)
    method = cast("SweepMethod", fields[keys.METHOD])
    parameters = tuple((entry.name, _values(entry, method, problems)) for entry in fields[keys.PARAMETERS])
    if method == "list" and len({len(v) for _, v in parameters if not isinstance(v, SweepRange)}) > 1:
        message = "the lists of values have different lengths"
        problems.report(
            "bad-value", message, fields.locations[keys.PARAMETERS.name], hint="trial i takes value i of each"
        )
    if len(problems) > before:
        return None
    return Sweep(
        name=file.stem,
        file=file,
        run=run.value,
        method=method,
        parameters=parameters,
        parameters_file=holder.value if holder else None,
        trials=fields.get(keys.TRIALS),
        seed=fields.get(keys.SEED),
        description=fields.get(schema.DESCRIPTION),
    )


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
    if method in ("grid", "list"):
        message = f"the method {method!r} takes lists of values, not bounds"
        problems.report("bad-value", message, entry.location, hint="write a list, or 'method: random'")
    elif not bounds.low < bounds.high or (bounds.logarithmic and bounds.low <= 0):
        message = "'low' has to be below 'high', and above 0 on a logarithmic scale"
        problems.report("bad-value", message, entry.location)
    return bounds
