"""The pipeline as a report draws it: the latest run of every run configuration, and the data that joins them.

It is made from records alone, because the box may have changed since or may not be here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from mlcommons_box.pipeline import Place, PlaceIndex, path_of, place_of
from mlcommons_box.record import RunRecord
from mlcommons_box.report.graph_layout import Layout, layout

_MOST_RUNS = 150
_HEIGHTS = {"run": 54.0, "data": 26.0}
_BETWEEN = 44.0
"""Between columns, where lines bend."""
_MOST_LETTERS = {"run": 21, "data": 23}


def pipeline_data(records: Sequence[RunRecord], workspace: str) -> dict[str, Any]:
    """Nodes with their places, and lines as SVG draws them.  Of ``records``, later ones started later.

    ``runs_left_out`` counts the run configurations that have no room: those that did not run for the longest time.
    """
    every = _latest(records)
    latest = sorted(every[-_MOST_RUNS:], key=lambda record: record.started_at)
    nodes = [
        {"kind": "run", "name": record.run, "text": _cut(record.run, "run"), "run": record.id} for record in latest
    ]
    numbers: dict[Place, int] = {}
    sides: dict[str, dict[Place, None]] = {"input": {}, "output": {}}
    edges: dict[tuple[int, int], bool] = {}
    for run, record in enumerate(latest):
        for parameter in record.parameters:
            place = place_of(parameter)
            sides[parameter.direction][place] = None
            if place not in numbers:
                numbers[place] = len(nodes)
                name = _below(path_of(place), workspace)
                nodes.append({"kind": "data", "name": name, "text": _cut(name, "data")})
            number = numbers[place]
            edges[(number, run) if parameter.direction == "input" else (run, number)] = False
    wanted, written = PlaceIndex(sides["input"]), PlaceIndex(sides["output"])
    for place in sides["output"]:
        edges |= {(numbers[place], numbers[each]): True for each in wanted.holding(place) if each != place}
    for place in sides["input"]:
        edges |= {(numbers[each], numbers[place]): True for each in written.holding(place) if each != place}
    return {**_drawn(nodes, edges), "runs_left_out": len(every) - len(latest)}


def _latest(records: Sequence[RunRecord]) -> list[RunRecord]:
    """The latest run of every configuration; for want of others a trial of a sweep, whose outputs are its own."""
    found: dict[str, RunRecord] = {}
    for is_trial in (True, False):
        for record in records:
            if (record.group.get("kind") == "sweep") is is_trial:
                found.pop(record.run, None)
                found[record.run] = record
    return list(found.values())


def _drawn(nodes: list[dict[str, Any]], edges: Mapping[tuple[int, int], bool]) -> dict[str, Any]:
    sizes = [(_width(node), _HEIGHTS[node["kind"]]) for node in nodes]
    placed = layout([height for _, height in sizes], list(edges), gap=16.0, bend=8.0)
    columns, width = _columns(placed, [width for width, _ in sizes])
    for number, (node, (wide, high)) in enumerate(zip(nodes, sizes, strict=True)):
        left, right = columns[number]
        node |= {
            "x": (left + right - wide) / 2,
            "y": placed.middles[number] - high / 2,
            "width": wide,
            "height": high,
        }
    lines = [
        {
            "path": _path(line, placed, columns, [width for width, _ in sizes]),
            "is_part": is_part,
            "title": f"{nodes[source]['name']} → {nodes[target]['name']}",
        }
        for ((source, target), is_part), line in zip(edges.items(), placed.lines, strict=True)
    ]
    low = max([node["y"] + node["height"] for node in nodes] + list(placed.middles), default=0.0)
    return {"nodes": nodes, "lines": lines, "width": width, "height": low}


def _width(node: Mapping[str, Any]) -> float:
    """The room for a text, and for the state of a run."""
    letters = len(node["text"])
    return max(166.0, letters * 8.2 + 34) if node["kind"] == "run" else letters * 7.0 + 26


def _columns(placed: Layout, widths: Sequence[float]) -> tuple[list[tuple[float, float]], float]:
    """Where the column of every node and bend begins and ends, and where the last one ends."""
    columns = [(0.0, 0.0)] * len(placed.middles)
    at = 0.0
    for column in placed.columns:
        widest = max((widths[node] for node in column if node < len(widths)), default=0.0)
        for node in column:
            columns[node] = (at, at + widest)
        at += widest + _BETWEEN
    return columns, max(0.0, at - _BETWEEN)


def _path(
    line: Sequence[int], placed: Layout, columns: Sequence[tuple[float, float]], widths: Sequence[float]
) -> str:
    """A curve between columns, and straight within one, so that it runs through nothing there."""
    is_forward = columns[line[0]][0] <= columns[line[-1]][0]
    points: list[tuple[float, float]] = []
    for number, each in enumerate(line):
        left, right = columns[each]
        if number in (0, len(line) - 1):
            middle = (left + right) / 2
            inner = widths[each] / 2
            starts = (number == 0) == is_forward
            xs = [middle + inner, right] if starts else [left, middle - inner]
        else:
            xs = [left, right]
        points += [(x, placed.middles[each]) for x in (xs if is_forward else xs[::-1])]
    path = f"M{points[0][0]:.1f},{points[0][1]:.1f}"
    for (x, y), (to_x, to_y) in pairwise(points):
        half = (x + to_x) / 2
        curve = f" C{half:.1f},{y:.1f} {half:.1f},{to_y:.1f} {to_x:.1f},{to_y:.1f}"
        path += curve if y != to_y else f" H{to_x:.1f}" if x != to_x else ""
    return path


def _below(path: str, workspace: str) -> str:
    return path.removeprefix(f"{workspace}/") or path


def _cut(text: str, kind: str) -> str:
    """A text that has room; of a path, the end tells most."""
    most = _MOST_LETTERS[kind]
    if len(text) <= most:
        return text
    return f"{text[: most - 1]}…" if kind == "run" else f"…{text[1 - most :]}"
