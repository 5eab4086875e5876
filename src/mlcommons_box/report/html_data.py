"""What a report page shows, as plain data: every record, with the end of its logs and its learning curves.

A page has to open on a phone, and a workspace may hold thousands of runs, or the work of a stranger.  So there are
limits, each of which the page names where it has cut something, and nothing is handed on as it was found: texts
have an end, objects a depth, and numbers are such as JavaScript has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, get_args

from mlcommons_box import __version__
from mlcommons_box.errors import BoxError
from mlcommons_box.process import Stream
from mlcommons_box.record import RunRecord
from mlcommons_box.report.html_pipeline import pipeline_data
from mlcommons_box.report.records import duration_of
from mlcommons_box.report.run_files import is_number, numbers_in, steps_of, tail_of
from mlcommons_box.run_store import RunStore
from mlcommons_box.value import as_data

MOST_RUNS = 3000
"""The newest are shown."""
_LOG_BYTES = 12 << 10
_ALL_LOG_BYTES = 6 << 20
_ALL_NUMBERS = 600_000
"""Points of all learning curves together; of longer curves every n-th point is left."""
_FEWEST_POINTS, _MOST_POINTS = 40, 1000
_MOST_CURVES = 24
"""Of one run."""
_LONGEST_TEXT = 20_000
_MOST_ENTRIES = 500
_DEEPEST = 12


def page_data(
    records: Sequence[RunRecord],
    unreadable: Mapping[str, BoxError],
    store: RunStore,
    *,
    title: str,
    now: datetime | None = None,
) -> dict[str, Any]:
    """All that the page shows; the newest run comes first."""
    now = now or datetime.now(timezone.utc)
    newest = list(reversed(records))[:MOST_RUNS]
    curves = _curves(newest, store)
    left = _ALL_LOG_BYTES
    runs = []
    for record in newest:
        metrics = dict(numbers_in(record.metrics))
        logs = _logs(record, store, left)
        left -= sum(len(each["text"]) for each in logs.values())
        runs.append(
            {
                **plain(as_data(record)),
                "metrics": metrics,
                "metrics_left_out": sum(map(is_number, record.metrics.values())) - len(metrics),
                "duration": duration_of(record, now),
                "logs": logs,
                "curves": curves.get(record.id),
            }
        )
    return {
        "title": title,
        "workspace": str(store.workspace),
        "made_at": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "tool_version": __version__,
        "runs_left_out": len(records) - len(newest),
        "logs_left_out": left <= 0,
        "unreadable": [
            {"id": plain(run_id), "reason": plain(error.message)} for run_id, error in unreadable.items()
        ],
        "pipeline": pipeline_data(records, str(store.workspace)),
        "runs": runs,
    }


def plain(value: Any, depth: int = 0) -> Any:
    """A stranger's data within our limits; what is left out is said in its place."""
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_TEXT else f"{value[:_LONGEST_TEXT]}… ({len(value)} characters)"
    if value is None or isinstance(value, bool) or is_number(value):
        return value
    if depth >= _DEEPEST:
        return "…"
    if isinstance(value, Mapping):
        entries = list(value.items())[:_MOST_ENTRIES]
        more = {"…": _more(len(value))} if len(value) > _MOST_ENTRIES else {}
        return {**{plain(str(name)): plain(each, depth + 1) for name, each in entries}, **more}
    if isinstance(value, list | tuple):
        more_items = [f"… ({_more(len(value))})"] if len(value) > _MOST_ENTRIES else []
        return [*(plain(each, depth + 1) for each in value[:_MOST_ENTRIES]), *more_items]
    return plain(_text(value))


def _more(count: int) -> str:
    return f"{count - _MOST_ENTRIES} more"


def _text(value: Any) -> str:
    try:
        return str(value)
    except ValueError:  # an integer of more digits than Python prints
        return "a very large number"


def _logs(record: RunRecord, store: RunStore, left: int) -> dict[str, dict[str, Any]]:
    found = {}
    for stream in get_args(Stream):
        tail = tail_of(store, record.id, stream, _LOG_BYTES) if left > 0 else None
        if tail is not None:
            found[stream] = as_data(tail)
    return found


def _curves(records: Sequence[RunRecord], store: RunStore) -> dict[str, dict[str, Any]]:
    """The curves of every run that has more than one step, by its id: a column of numbers for each metric.

    ``every`` says that each n-th step is shown, and always the last one.  ``steps`` are their numbers from 1.
    ``left_out`` counts the metrics that have no room.
    """
    steps = {record.id: found for record in records if len(found := steps_of(store, record.id)) > 1}
    names = {
        run_id: list(dict.fromkeys(name for step in found for name in step)) for run_id, found in steps.items()
    }
    columns = sum(min(len(each), _MOST_CURVES) for each in names.values())
    most = max(_FEWEST_POINTS, min(_MOST_POINTS, _ALL_NUMBERS // max(1, columns)))
    curves = {}
    for run_id, found in steps.items():
        every = -(-len(found) // most)
        chosen = list(range(0, len(found), every))
        if chosen[-1] != len(found) - 1:
            chosen.append(len(found) - 1)
        curves[run_id] = {
            "every": every,
            "left_out": max(0, len(names[run_id]) - _MOST_CURVES),
            "steps": [number + 1 for number in chosen],
            "columns": {
                name: [found[number].get(name) for number in chosen] for name in names[run_id][:_MOST_CURVES]
            },
        }
    return curves
