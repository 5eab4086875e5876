"""The graph of a box as a picture that needs nothing from elsewhere, for light and for dark surroundings."""

from __future__ import annotations

import html
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from mlcommons_box.report.graph import Graph, Node
from mlcommons_box.report.graph_layout import Layout, layout
from mlcommons_box.report.problems import one_line

_CHARACTER = 7.3
_LONGEST = 40
_PADDING = 12.0
_MARGIN = 20.0
_BETWEEN = 56.0
"""Between columns, where lines bend."""
_HEIGHTS = {"run": 44.0, "file": 26.0, "directory": 26.0}

_STYLE = """\
  .ground { fill: #ffffff; }
  text { font: 12px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #1f2328; }
  .run text { font-weight: 600; }
  .run .detail { font-weight: 400; fill: #59636e; }
  .run rect { fill: #ddf4ff; stroke: #0969da; stroke-width: 1.5; }
  .data rect { fill: #f6f8fa; stroke: #818b98; }
  .given rect { fill: #fff8c5; stroke: #9a6700; }
  path.line { fill: none; stroke: #818b98; stroke-width: 1.4; }
  path.part { stroke-dasharray: 5 4; }
  #head path { fill: #818b98; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; }
    text { fill: #f0f6fc; }
    .run .detail { fill: #9198a1; }
    .run rect { fill: #121d2f; stroke: #4493f8; }
    .data rect { fill: #151b23; stroke: #656c76; }
    .given rect { fill: #272115; stroke: #d29922; }
    path.line { stroke: #656c76; }
    #head path { fill: #656c76; }
  }
"""


def as_svg(graph: Graph, title: str) -> str:
    """The graph as SVG; data that no run makes has another colour."""
    edges = [(edge.source, edge.target) for edge in graph.edges]
    heights = [_HEIGHTS[node.kind] if node.kind != "run" or node.detail else 32.0 for node in graph.nodes]
    placed = layout(heights, edges, gap=16.0, bend=8.0)
    widths = [_width(node) for node in graph.nodes]
    sides, total = _sides(placed, widths)
    made = {target for _, target in edges}
    low = max((placed.middles[node] + heights[node] / 2 for node in range(len(heights))), default=0.0)
    low = max([low, *placed.middles])
    size = f"{total + 2 * _MARGIN:.0f} {low + 2 * _MARGIN:.0f}"
    wide, high = size.split()
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" width="{wide}" height="{high}" role="img">',
        f"<title>{_text(title)}</title>",
        f"<style>\n{_STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto-start-reverse"><path d="M0,0 L8,4 L0,8 z"/></marker></defs>',
        '<rect class="ground" width="100%" height="100%"/>',
        f'<g transform="translate({_MARGIN:.0f} {_MARGIN:.0f})">',
    ]
    for edge, line in zip(graph.edges, placed.lines, strict=True):
        kind = "line part" if edge.is_part else "line"
        parts.append(f'<path class="{kind}" marker-end="url(#head)" d="{_line(line, placed, sides)}"/>')
    for number, node in enumerate(graph.nodes):
        kind = "run" if node.kind == "run" else "data" if number in made else "data given"
        box = (sides[number].left, placed.middles[number], widths[number], heights[number])
        parts.append(_node(node, kind, box))
    return "\n".join([*parts, "</g>", "</svg>"]) + "\n"


def _node(node: Node, kind: str, box: tuple[float, float, float, float]) -> str:
    left, middle, width, height = box
    round_ = 6 if node.kind == "run" else height / 2
    centre = left + width / 2
    place = f'x="{left:.1f}" y="{middle - height / 2:.1f}" width="{width:.1f}" height="{height:.1f}"'
    first = middle + 4 - (9 if node.detail else 0)
    texts = [f'<text x="{centre:.1f}" y="{first:.1f}" text-anchor="middle">{_text(_cut(node.name))}</text>']
    if node.detail:
        texts.append(
            f'<text class="detail" x="{centre:.1f}" y="{first + 18:.1f}" text-anchor="middle">'
            f"{_text(_cut(node.detail))}</text>"
        )
    return f'<g class="{kind}"><title>{_text(node.name)}</title><rect {place} rx="{round_:g}"/>{"".join(texts)}</g>'


def _line(line: Sequence[int], placed: Layout, sides: Sequence[_Sides]) -> str:
    """A curve between columns, and straight within one, so that it runs through nothing there."""
    is_forward = sides[line[0]].column[0] < sides[line[-1]].column[0]
    points = []
    for number, each in enumerate(line):
        left, right = sides[each].column
        xs = [left, sides[each].left, sides[each].right, right] if each in (line[0], line[-1]) else [left, right]
        xs = xs if is_forward else xs[::-1]
        middle = len(xs) // 2
        part = xs[middle:] if number == 0 else xs[:middle] if number == len(line) - 1 else xs
        points += [(x, placed.middles[each]) for x in part]
    path = f"M{points[0][0]:.1f},{points[0][1]:.1f}"
    for (x, y), (to_x, to_y) in pairwise(points):
        half = (x + to_x) / 2
        straight = f" H{to_x:.1f}" if x != to_x else ""
        path += straight if y == to_y else f" C{half:.1f},{y:.1f} {half:.1f},{to_y:.1f} {to_x:.1f},{to_y:.1f}"
    return path


class _Sides(NamedTuple):
    """Where a node begins and ends, and where its column does."""

    left: float
    right: float
    column: tuple[float, float]


def _sides(placed: Layout, widths: Sequence[float]) -> tuple[list[_Sides], float]:
    """The sides of every node, and of every bend, and where the last column ends."""
    sides = [_Sides(0.0, 0.0, (0.0, 0.0))] * len(placed.middles)
    at = 0.0
    for column in placed.columns:
        widest = max((widths[node] for node in column if node < len(widths)), default=0.0)
        for node in column:
            room = (widest - widths[node]) / 2 if node < len(widths) else 0.0
            sides[node] = _Sides(at + room, at + widest - room, (at, at + widest))
        at += widest + _BETWEEN
    return sides, max(0.0, at - _BETWEEN)


def _width(node: Node) -> float:
    from unicodedata import east_asian_width

    def columns(text: str) -> int:
        return sum(2 if east_asian_width(character) in "WF" else 1 for character in _cut(text))

    return max(columns(node.name), columns(node.detail)) * _CHARACTER + 2 * _PADDING


def _cut(text: str) -> str:
    """A text that is not too long; of a path, the end tells most."""
    text = one_line(text)
    return text if len(text) <= _LONGEST else f"{text[:12]}…{text[13 - _LONGEST :]}"


def _text(text: str) -> str:
    return html.escape(one_line(text))
