"""Pictures of figures as SVG, which need nothing: no library to draw them, no font and no script to show them.

Scales are logarithmic, as the tools are that far apart.  The same figures give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.tables import seconds

OURS, OTHERS, GRID, TEXT = "#1f6feb", "#8b949e", "#d8dee4", "#24292f"
COLOURS = (OURS, "#d1242f", "#9a6700", "#1a7f37", "#8250df")
WIDTH = 760
_LEFT, _RIGHT, _TOP, _ROW = 230, 90, 56, 30


@dataclass(frozen=True)
class Bar:
    """A tool's median, with its fastest and slowest round, in seconds."""

    name: str
    median: float
    low: float
    high: float
    ours: bool = False


def bars(title: str, subtitle: str, found: Sequence[Bar]) -> str:
    """A bar for each tool, from left to right."""
    low, high = _decades([value for bar in found for value in (bar.low, bar.high)])
    bottom = _TOP + _ROW * len(found)

    def x(value: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (math.log10(value) - low) / (high - low)

    parts = list(_grid(low, high, lambda power: x(10.0**power), bottom))
    for number, bar in enumerate(found):
        y = _TOP + _ROW * number + _ROW / 2
        colour = OURS if bar.ours else OTHERS
        length = max(x(bar.median) - _LEFT, 1)
        parts += [
            _text(_LEFT - 10, y + 4, bar.name, anchor="end", bold=bar.ours),
            f'<rect x="{_LEFT}" y="{y - 8:.1f}" width="{length:.1f}" height="16" fill="{colour}"/>',
            f'<path d="M{x(bar.low):.1f} {y:.1f}H{x(bar.high):.1f}" stroke="{TEXT}" stroke-width="2"/>',
            _text(x(bar.high) + 8, y + 4, seconds(bar.median), bold=bar.ours),
        ]
    return _picture(title, subtitle, bottom + 34, parts)


def lines(title: str, subtitle: str, found: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """A line for each tool: seconds over the number of tasks."""
    points = [point for series in found.values() for point in series]
    low, high = _decades([value for _, value in points])
    first, last = (math.log10(pick(count for count, _ in points)) for pick in (min, max))
    left, right, top, bottom = 70, 170, _TOP, 360

    def x(count: float) -> float:
        return left + (WIDTH - left - right) * (math.log10(count) - first) / ((last - first) or 1)

    def y(value: float) -> float:
        return bottom - (bottom - top) * (math.log10(value) - low) / (high - low)

    parts = []
    for power in range(low, high + 1):
        at = y(10.0**power)
        parts.append(f'<path d="M{left} {at:.1f}H{WIDTH - right}" stroke="{GRID}"/>')
        parts.append(_text(left - 10, at + 4, _decade(power), anchor="end"))
    for count in sorted({count for count, _ in points}):
        parts.append(_text(x(count), bottom + 20, f"{count:,}".replace(",", " "), anchor="middle"))
    parts.append(_text((left + WIDTH - right) / 2, bottom + 40, "tasks", anchor="middle"))
    taken: list[float] = []
    for (name, series), colour in zip(found.items(), COLOURS, strict=False):
        path = "L".join(f"{x(count):.1f} {y(value):.1f}" for count, value in series)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x(c):.1f}" cy="{y(v):.1f}" r="3.5" fill="{colour}"/>' for c, v in series]
        count, value = series[-1]
        at = y(value) + 4
        while any(abs(at - other) < 15 for other in taken):
            at += 3
        taken.append(at)
        parts.append(_text(x(count) + 10, at, name, bold=name == "mlbox", colour=colour))
    return _picture(title, subtitle, bottom + 56, parts)


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """The powers of ten around values."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _decade(power: int) -> str:
    """A power of ten seconds."""
    return f"{10**power} s" if power >= 0 else f"{10.0 ** (power + 3):g} ms"


def _grid(low: int, high: int, x: Callable[[int], float], bottom: float) -> Iterator[str]:
    for power in range(low, high + 1):
        yield f'<path d="M{x(power):.1f} {_TOP}V{bottom}" stroke="{GRID}"/>'
        yield _text(x(power), bottom + 20, _decade(power), anchor="middle")


def _text(x: float, y: float, text: str, *, anchor: str = "start", bold: bool = False, colour: str = TEXT) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{weight}>{escape(text)}</text>'


def _picture(title: str, subtitle: str, height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
        f'height="{height:.0f}" font-family="system-ui, sans-serif" font-size="13" role="img">'
    )
    return "\n".join(
        [
            head,
            f"<title>{escape(title)}</title>",
            f'<rect width="{WIDTH}" height="{height:.0f}" fill="white"/>',
            f'<text x="20" y="24" font-size="16" font-weight="bold" fill="{TEXT}">{escape(title)}</text>',
            _text(20, 43, subtitle, colour="#57606a"),
            *parts,
            "</svg>\n",
        ]
    )
