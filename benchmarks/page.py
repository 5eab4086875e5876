"""``python -m benchmarks.page RESULT.json``: makes the page of a result, its pictures, and the README's table.

All of it is made from the file alone, so that a test can tell whether page and README agree with the result.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from benchmarks import results
from benchmarks.chart import Bar, bars, lines
from benchmarks.peers import NEEDS
from benchmarks.results import Result
from benchmarks.sections import SECTIONS, pipelines
from benchmarks.tables import seconds, seconds_more, section
from benchmarks.timing import Figure, Row

ROOT = Path(__file__).parent.parent
PAGE = "docs/reference/benchmarks.md"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
MANY = 1000
"""The size of pipeline that the README tells of."""
TOOLS = ("mlbox", *NEEDS)


def pages(result: Result, name: str, readme: str) -> dict[str, str]:
    """The files that are made of a result, by their paths below the repository."""
    pictures = dict(_pictures(result))
    made = {f"docs/images/{file}": text for file, text in pictures.items()}
    return {**made, PAGE: _page(result, name, pictures), "README.md": with_table(readme, short(result))}


def with_table(readme: str, table: str) -> str:
    """The README with another table between its two comments."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the README has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


# ---- The README's table ----------------------------------------------------------------------------


def short(result: Result) -> str:
    """The README's part."""
    return (
        f"{_overview(result)}\n\n{_measured_on(result)} A dash: it has no such thing, or "
        f"could not be measured here. [All figures, and what they mean]({PAGE})."
    )


def _overview(result: Result) -> str:
    """The figures that matter most, a column for each tool."""
    first, nothing = (pipelines.group(MANY, which) for which in (pipelines.FIRST, pipelines.NOTHING))
    wanted = [
        ("Start", "start", "Start", _median),
        ("Check one box", "validate", "One box", _median),
        ("One task in Docker, added to `docker run`", "task", "Docker", _added),
        (f"{MANY} small tasks, first run", "pipelines", first, _median),
        (f"{MANY} small tasks, nothing to do", "pipelines", nothing, _median),
        (f"Peak memory of these {MANY} tasks", "pipelines", first, _peak),
    ]
    rows = [
        [name, *(cell(_of(result, where, group, tool)) for tool in TOOLS)] for name, where, group, cell in wanted
    ]
    head = ["", "**mlbox**", *NEEDS]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def _of(result: Result, where: str, group: str, tool: str) -> Row | None:
    return next((row for row in result.rows(where, group) if row.tool == tool), None)


def _median(row: Row | None) -> str:
    return seconds(row.figure.median) if row and row.figure else "-"


def _added(row: Row | None) -> str:
    return seconds_more(row.figure.median - row.bare.median) if row and row.figure and row.bare else "-"


def _peak(row: Row | None) -> str:
    return f"{row.figure.peak:.0f} MiB" if row and row.figure and row.figure.peak else "-"


def _measured_on(result: Result) -> str:
    machine = result.machine
    return (
        f"Medians of one run on {result.date}, on {machine['cores']} cores of an {machine['cpu']} with "
        f"{machine['system']}."
    )


# ---- Pictures --------------------------------------------------------------------------------------


def _pictures(result: Result) -> list[tuple[str, str]]:
    made = []
    beside = "median, and a line from the fastest to the slowest round; logarithmic"
    for file, where, group, title in (
        ("benchmark-start.svg", "start", "Start", "Cold start"),
        ("benchmark-validate.svg", "validate", "One box", "Check one box"),
        ("benchmark-task.svg", "task", "Docker", "One task that does nothing, in Docker"),
    ):
        found = [_bar(row.tool, row.figure, row.what) for row in result.rows(where, group) if row.figure]
        bare = next((row for row in result.rows(where, group) if row.bare), None)
        if bare and bare.bare:
            found.insert(0, _bar("", bare.bare, bare.against if where != "task" else "bare docker run"))
        if found:
            made.append((file, bars(title, beside, found)))
    for file, which, title in (
        ("benchmark-first.svg", pipelines.FIRST, "Many small tasks, first run"),
        ("benchmark-nothing.svg", pipelines.NOTHING, "Many small tasks, nothing to do"),
    ):
        series = _series(result, which)
        if series:
            made.append((file, lines(title, "seconds, over the number of tasks; both logarithmic", series)))
    return made


def _bar(tool: str, figure: Figure, what: str) -> Bar:
    name = what if tool in ("", "mlbox") else tool
    return Bar(name, figure.median, figure.low, figure.high, ours=tool == "mlbox")


def _series(result: Result, which: str) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for row in result.rows("pipelines"):
        if row.figure and row.group == pipelines.group(row.count, which):
            found.setdefault(row.tool, []).append((row.count, row.figure.median))
    return found


# ---- The page --------------------------------------------------------------------------------------

_PICTURES = {
    "start": ("benchmark-start.svg",),
    "validate": ("benchmark-validate.svg",),
    "task": ("benchmark-task.svg",),
    "pipelines": ("benchmark-first.svg", "benchmark-nothing.svg"),
}
_HEAD = """\
# Benchmarks

<!-- This page is made by `python -m benchmarks.page`; a change by hand is lost. -->

What people wait for, beside the bare command and beside other tools, all in one run: each round runs every
command once, so that a busy machine slows all alike. Ratios mean more than times, which another machine will not
repeat.

- **median, min - max, rounds**: the time of a whole command, from its start to its end. What takes long runs less
  often.
- **yardstick, its median, times, added**: the least that anybody could take for the same, in the same rounds.
- **peak**: the memory that the largest process of the command held, as the system counts it. Less than some 10 MiB
  cannot be told, because that is what starts the commands.

Every tool has compiled modules of Python, as after an ordinary installation; without them, most take several times
as long to start. Nothing is estimated: what could not be measured says why.
"""
_REPRODUCE = """\
## Measure it yourself

In a checkout, with the engines that are to be measured ([how they are set up](tried-on.md#try-them-yourself)); one
that is absent is named:

```sh
make .venv/dev
.venv/bin/python -m benchmarks --peers ../peers --output result.json     # installs the other tools below ../peers
.venv/bin/python -m benchmarks --peers ../peers --output result.json --only start,task --resume
make benchmarks                                                          # ours alone, in some minutes
.venv/bin/python -m benchmarks.page result.json                          # makes this page and the README's table
```

The result is written after every section. With `--resume`, sections that it has are kept, if machine and versions
are the same; others are refused, because their figures say nothing beside these.
"""
_OTHERS = """\
## How the other tools were set up

Each is in an environment of its own, with the Python of ours, and keeps its files in a new directory. No tool may
tell its makers that it was used. mlcommons-box 0.2.3 no longer runs as `pip install` leaves it: {repairs} were
added. MLflow keeps its runs in SQLite, because it refuses plain files now. Snakemake runs containers of Apptainer
only, DVC none. Slurm and SSH are measured for `mlbox` alone: what others have for them, such as Snakemake's plugins
and the SSH runners of MLCube and of 2020, was not tried."""


def _page(result: Result, name: str, pictures: dict[str, str]) -> str:
    parts = [_HEAD, _about(result, name), _overview(result)]
    for key in result.sections:
        module = SECTIONS[key]
        parts += [f"## {module.TITLE}", module.MEANING]
        parts += [f"![{module.TITLE}](../images/{file})" for file in _PICTURES.get(key, ()) if file in pictures]
        parts += [section(result.rows(key)).rstrip(), *result.notes.get(key, [])]
    parts += [_left_out(result), _REPRODUCE]
    return re.sub(r"\n{3,}", "\n\n", "\n\n".join(part for part in parts if part)).rstrip() + "\n"


def _about(result: Result, name: str) -> str:
    machine = ", ".join(f"{key.replace('_gib', ' (GiB)')}: {value}" for key, value in result.machine.items())
    software = ", ".join(f"{key} {value}" for key, value in result.versions.items() if key not in NEEDS)
    others = ", ".join(f"{key.partition(' ')[0]} {result.versions[key]}" for key in NEEDS if key in result.versions)
    return (
        "## What was measured\n\n"
        f"| | |\n| --- | --- |\n| date | {result.date} |\n| machine | {machine} |\n| software | {software} |\n"
        f"| other tools | {others or 'none'} |\n| command | `{result.command}` |\n"
        f"| result | `{name}` |"
    )


def _left_out(result: Result) -> str:
    repairs = ", ".join(f"`{need}`" for need in NEEDS["mlcommons-box 0.2.3"][2:])
    absent = "\n".join(f"- {name}: {reason}" for name, reason in result.absent.items())
    return _OTHERS.format(repairs=repairs) + (f"\n\nNot here:\n\n{absent}" if absent else "")


def main() -> None:
    """Make all files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("result", type=Path, metavar="RESULT.json")
    file = parser.parse_args().result.absolute()
    name = file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else file.name
    readme = (ROOT / "README.md").read_text("utf-8")
    for path, text in pages(results.read(file), name, readme).items():
        target = ROOT / path
        if not target.exists() or target.read_text("utf-8") != text:
            target.write_text(text, "utf-8")
            print(f"written: {path}")


if __name__ == "__main__":
    main()
