"""Remove what earlier runs left behind: the outputs that run configurations name.

Everything is listed first, and removed after you agree.  Inputs that no run makes,
parameters, and whatever lies outside the workspace are never touched."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from mlcommons_box.checking import check_box
from mlcommons_box.cleaning import Leftover, find_leftovers
from mlcommons_box.cli.arguments import add_box, add_workspace, box_path
from mlcommons_box.cli.terminal import Terminal
from mlcommons_box.definition.built_in import BUILT_IN_PLATFORMS, built_in_platform
from mlcommons_box.errors import DefinitionError, UsageError
from mlcommons_box.model import Box, Platform
from mlcommons_box.planning import plan_setup
from mlcommons_box.report.problems import counted, one_line
from mlcommons_box.runners.registry import has_runner, runner_for

EXAMPLES = """\
examples:
  mlbox clean                         list the outputs of the box here, ask, remove
  mlbox clean boxes/mnist --yes       do not ask
  mlbox clean --environments          also the Python environment that the local runner built"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_box(parser)
    add_workspace(parser)
    parser.add_argument(
        "--environments", action="store_true", help="also remove what the local runner built for this box"
    )
    parser.add_argument("--yes", action="store_true", help="remove without asking")


def execute(arguments: argparse.Namespace) -> int:
    """List, ask, remove."""
    report = check_box(box_path(arguments), inputs=False)
    if report.box is None or report.problems:
        raise DefinitionError(report.problems)
    terminal = Terminal()
    found = find_leftovers(report.box, report.runs, arguments.workspace)
    if arguments.environments:
        found += _environments(report.box, report.platforms)
    leftovers = [leftover for leftover in found if leftover.reason is None]
    for leftover in found:
        if leftover.reason:
            terminal.note(f"kept: {leftover.path} ({leftover.reason})")
    if not leftovers:
        terminal.success("there is nothing to remove")
        return 0
    for leftover in leftovers:
        sys.stdout.write(f"{one_line(str(leftover.path))}  ({leftover.what}, {size_text(leftover.size())})\n")
    sys.stdout.flush()
    if not arguments.yes and not _agreed(len(leftovers)):
        terminal.note("nothing was removed")
        return 0
    for leftover in leftovers:
        leftover.remove()
    terminal.success(f"removed {counted(len(leftovers), 'item')}")
    return 0


def _environments(box: Box, platforms: Iterable[Platform]) -> list[Leftover]:
    """What preparations for this box built on this machine."""
    built: set[Path] = set()
    for platform in (*platforms, *map(built_in_platform, BUILT_IN_PLATFORMS)):
        if has_runner(platform):
            built |= set(runner_for(platform).built(plan_setup(box, platform)))
    return [
        Leftover(path=path, what="made by 'configure'; boxes with the same needs share it")
        for path in sorted(built)
    ]


def _agreed(count: int) -> bool:
    """Ask; only a person at a terminal can agree."""
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to agree", hint="use --yes to remove without asking")
    sys.stderr.write(f"Remove {'it' if count == 1 else f'all {count}'}? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def size_text(size: float) -> str:
    """``12.3 MB``; units of 1000, as disks are sold."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
