"""Results as Markdown tables, the same on the terminal, on the page and in the README."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.results import Result
from benchmarks.sections import SECTIONS
from benchmarks.timing import Figure, Row


def seconds(value: float) -> str:
    """Three digits, in the unit that suits."""
    for limit, factor, unit, digits in ((0.01, 1000, "ms", 2), (1, 1000, "ms", 0), (100, 1, "s", 1)):
        if value < limit:
            decimals = digits if value >= 0.1 or digits else 1
            return f"{value * factor:.{decimals}f} {unit}"
    return f"{value:.0f} s"


def spread(figure: Figure) -> str:
    """Fastest to slowest; nothing when there was one round."""
    return "one round" if figure.rounds == 1 else f"{seconds(figure.low)} - {seconds(figure.high)}"


def megabytes(figure: Figure | None) -> str:
    """The peak of memory."""
    return "" if figure is None or figure.peak is None else f"{figure.peak:.0f}"


def tables(result: Result) -> str:
    """All sections, for a terminal."""
    lines = ["; ".join([*(f"{name} {version}" for name, version in result.versions.items()), result.date]), ""]
    for name in result.sections:
        lines += [f"## {SECTIONS[name].TITLE}", "", section(result.rows(name))]
        lines += [f"{note}\n" for note in result.notes.get(name, [])]
    lines += [f"not here: {name} ({reason})" for name, reason in result.absent.items()]
    return "\n".join(lines)


def section(rows: Iterable[Row]) -> str:
    """A table for each group, in the order of the rows."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    return "\n".join(f"**{name}**\n\n{table(each)}\n" for name, each in groups.items())


def table(rows: list[Row]) -> str:
    """One group: columns that no row fills are left out."""
    bare = any(row.bare for row in rows)
    counted = any(row.count > 1 for row in rows)
    head = ["tool", "command", "median", "min - max", "rounds"]
    head += ["yardstick", "its median", "times", "added"] if bare else []
    head += ["for each"] if counted else []
    head += ["peak, MiB"]
    body = [_line(row, len(head), bare=bare, counted=counted) for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *body))


def _line(row: Row, width: int, *, bare: bool, counted: bool) -> list[str]:
    figure = row.figure
    if figure is None:
        return [row.tool, f"`{row.what}`", f"absent: {_inline(row.absent)}", *[""] * (width - 3)]
    cells = [row.tool, f"`{row.what}`", seconds(figure.median), spread(figure), str(figure.rounds)]
    if bare:
        cells += [row.against, *_beside(figure, row.bare)]
    if counted:
        # Beside a yardstick, what the tool adds to each; alone, what each takes.
        taken = figure.median - (row.bare.median if row.bare else 0)
        cells.append(f"{taken / row.count * 1000:.2f} ms")
    return [*cells, megabytes(figure)]


def _beside(figure: Figure, bare: Figure | None) -> list[str]:
    if bare is None:
        return ["", "", ""]
    return [seconds(bare.median), f"{figure.median / bare.median:.1f}", seconds_more(figure.median - bare.median)]


def seconds_more(value: float) -> str:
    """A difference, which may be below nothing."""
    return f"{'-' if value < 0 else ''}{seconds(abs(value))}"


def _inline(text: str) -> str:
    """A text that breaks no table."""
    return text.replace("|", "\\|").replace("<", "&lt;")
