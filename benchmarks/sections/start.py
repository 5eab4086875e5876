"""How long each tool takes to say its version or its help."""

from __future__ import annotations

from benchmarks.bench import MLBOX, Bench
from benchmarks.peers import NEEDS
from benchmarks.timing import Case, Row

TITLE = "Cold start"
MEANING = """\
A new process that says its version and ends; its help, where a tool has no option for its version. The
yardstick is Python itself, which does nothing. Everybody pays it for every command, and completion in a shell
pays it for every key."""
HELP = ("mlcommons-box 0.2.3", "mlcube 0.0.9")
"""Those without ``--version``."""


def measure(bench: Bench) -> list[Row]:
    """One group."""
    cases = [
        Case("mlbox", f"mlbox {option}", [MLBOX, option], environ=bench.environ, bare=bench.python)
        for option in ("--version", "--help")
    ]
    for tool in NEEDS:
        if bench.has(tool):
            option = "--help" if tool in HELP else "--version"
            program = bench.program(tool)
            what = f"{program.rpartition('/')[2]} {option}"
            cases.append(Case(tool, what, [program, option], environ=bench.environ, bare=bench.python))
    return bench.measure("Start", cases)
