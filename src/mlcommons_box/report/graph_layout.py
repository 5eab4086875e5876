"""Where the nodes of a graph are drawn: in columns from left to right, so that few lines cross.

Every node is in the column after those that it depends on (longest path).  A line that passes a column has a place
of its own there.  Within columns, nodes come in the order of the average place of their neighbours (barycenters),
and then as near to that average as the others leave room for.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from mlcommons_box.value import Value

_SWEEPS = 12


class Layout(Value):
    """Columns of nodes, with the middle of each node; those after the first ``count`` are bends of lines.

    ``lines`` has for every edge the nodes and bends that it passes, from its source to its target.
    """

    columns: tuple[tuple[int, ...], ...]
    middles: tuple[float, ...]
    lines: tuple[tuple[int, ...], ...]


def layout(heights: Sequence[float], edges: Sequence[tuple[int, int]], *, gap: float, bend: float) -> Layout:
    """Place nodes of some heights, with ``gap`` between them; a line needs the height ``bend``."""
    forward = _without_circles(len(heights), edges)
    columns_of = _columns(len(heights), forward)
    sizes = list(heights)
    lines = []
    for (source, target), (first, last) in zip(edges, forward, strict=True):
        passed = []
        for column in range(columns_of[first] + 1, columns_of[last]):
            passed.append(len(sizes))
            sizes.append(bend)
            columns_of.append(column)
        lines.append((source, *(passed if source == first else reversed(passed)), target))
    columns: list[list[int]] = [[] for _ in range(max(columns_of, default=-1) + 1)]
    for node, column in enumerate(columns_of):
        columns[column].append(node)
    before: list[list[int]] = [[] for _ in sizes]
    after: list[list[int]] = [[] for _ in sizes]
    for line in lines:
        for one, other in pairwise(line):
            left, right = (one, other) if columns_of[one] < columns_of[other] else (other, one)
            after[left].append(right)
            before[right].append(left)
    _order(columns, before, after)
    middles = _middles(columns, before, after, sizes, gap)
    return Layout(columns=tuple(map(tuple, columns)), middles=tuple(middles), lines=tuple(lines))


def _without_circles(count: int, edges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The edges, turned round where they would close a circle."""
    following: list[list[int]] = [[] for _ in range(count)]
    for source, target in edges:
        following[source].append(target)
    state = [0] * count
    backward = set()
    for root in range(count):
        way = [(root, iter(following[root]))] if not state[root] else []
        state[root] = max(state[root], 1)
        while way:
            node, rest = way[-1]
            step = next(rest, None)
            if step is None:
                state[node] = 2
                way.pop()
            elif state[step] == 1:
                backward.add((node, step))
            elif state[step] == 0:
                state[step] = 1
                way.append((step, iter(following[step])))
    return [(target, source) if (source, target) in backward else (source, target) for source, target in edges]


def _columns(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The column of every node; one that depends on nothing is right before the first that needs it."""
    following: list[list[int]] = [[] for _ in range(count)]
    waits = [0] * count
    for source, target in edges:
        following[source].append(target)
        waits[target] += 1
    is_first = [not each for each in waits]
    column = [0] * count
    ready = [node for node in range(count) if is_first[node]]
    while ready:
        node = ready.pop()
        for each in following[node]:
            column[each] = max(column[each], column[node] + 1)
            waits[each] -= 1
            if not waits[each]:
                ready.append(each)
    for node in range(count):
        if is_first[node] and following[node]:
            column[node] = min(column[each] for each in following[node]) - 1
    return column


def _order(columns: list[list[int]], before: list[list[int]], after: list[list[int]]) -> None:
    place = {node: float(number) for column in columns for number, node in enumerate(column)}
    for sweep in range(_SWEEPS):
        neighbours = before if sweep % 2 == 0 else after
        for column in columns if sweep % 2 == 0 else reversed(columns):
            wanted = {node: _mean([place[each] for each in neighbours[node]], place[node]) for node in column}
            column.sort(key=wanted.__getitem__)
            place.update((node, float(number)) for number, node in enumerate(column))


def _middles(
    columns: list[list[int]],
    before: list[list[int]],
    after: list[list[int]],
    sizes: Sequence[float],
    gap: float,
) -> list[float]:
    middles = [0.0] * len(sizes)
    for column in columns:
        _put(column, [0.0] * len(column), sizes, gap, middles)
    for sweep in range(_SWEEPS):
        for column in columns if sweep % 2 == 0 else reversed(columns):
            neighbours = before if sweep % 2 == 0 else after
            if sweep >= _SWEEPS - 2:
                neighbours = [[*one, *other] for one, other in zip(before, after, strict=True)]
            wanted = [_mean([middles[each] for each in neighbours[node]], middles[node]) for node in column]
            _put(column, wanted, sizes, gap, middles)
    highest = min((middles[node] - sizes[node] / 2 for column in columns for node in column), default=0.0)
    return [middle - highest for middle in middles]


def _put(column: list[int], wanted: list[float], sizes: Sequence[float], gap: float, middles: list[float]) -> None:
    """Put nodes as near as can be to where they are wanted, in their order (pool adjacent violators)."""
    offset = 0.0
    offsets = []
    blocks: list[tuple[float, int]] = []
    for number, node in enumerate(column):
        if number:
            offset += (sizes[column[number - 1]] + sizes[node]) / 2 + gap
        offsets.append(offset)
        total, count = wanted[number] - offset, 1
        while blocks and blocks[-1][0] / blocks[-1][1] >= total / count:
            more, members = blocks.pop()
            total, count = total + more, count + members
        blocks.append((total, count))
    number = 0
    for total, count in blocks:
        for _ in range(count):
            middles[column[number]] = total / count + offsets[number]
            number += 1


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
