"""Make a report of the runs in a workspace: one HTML file that needs nothing else.

It has all runs in a table that can be sorted and filtered, learning curves, sweeps
side by side, the pipeline, and a page for every run with all that its record holds.
Any browser of 2023 or later shows it, without a network and without a server: the
file forbids itself every connection.  Logs and paths of this machine are in it, so
look through it before you hand it to somebody."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mlcommons_box.cli.arguments import add_box, add_workspace, run_store
from mlcommons_box.cli.terminal import Terminal
from mlcommons_box.errors import CannotCreateError
from mlcommons_box.report.problems import counted

if TYPE_CHECKING:
    from mlcommons_box.record import RunRecord

DEFAULT = Path("report.html")

EXAMPLES = """\
examples:
  mlbox report                        report.html, of the box in the current directory
  mlbox report boxes/mnist -o mnist.html
  mlbox report --workspace=/scratch/mnist"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_box(parser)
    add_workspace(parser)
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, default=DEFAULT, help=f"the file to write (default: {DEFAULT})"
    )
    parser.add_argument("--force", action="store_true", help="replace FILE even if it is no report")


def execute(arguments: argparse.Namespace) -> int:
    """Make the page from the records that can be read, then say what is wrong with the others."""
    from mlcommons_box.report.html import report_html
    from mlcommons_box.report.html_data import page_data

    store = run_store(arguments)
    output: Path = arguments.output
    if not arguments.force:
        _refuse_strangers(output)
    records, unreadable = store.read_all()
    page = report_html(page_data(records, unreadable, store, title=_title(records, store.workspace)))
    _write(output, page)
    terminal = Terminal()
    status = terminal.unreadable(unreadable)
    terminal.success(f"wrote {str(output)!r}: {counted(len(records), 'run')}, {len(page) / 1e6:.1f} MB")
    return status


def _title(records: list[RunRecord], workspace: Path) -> str:
    """The box that ran; the directory where there are several."""
    boxes = Counter(record.box for record in records)
    return next(iter(boxes)) if len(boxes) == 1 else workspace.parent.name or "runs"


def _refuse_strangers(output: Path) -> None:
    """What is there already has to be a report of an earlier time."""
    from mlcommons_box.report.html import is_report

    try:
        if os.path.lexists(output) and not is_report(output):
            raise CannotCreateError(
                f"{str(output)!r} is there already and is no report", hint="choose another file, or use --force"
            )
    except OSError as error:
        raise CannotCreateError(f"cannot write {str(output)!r}: {error.strerror}") from error


def _write(output: Path, page: str) -> None:
    """Write the page in one step, so that a browser never sees half of it."""
    target = output.absolute()  # which has a name and a parent, unlike '.'
    partial = target.parent / f".{target.name}.{os.getpid()}"
    try:
        try:
            partial.write_text(page, "utf-8")
            partial.replace(target)
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise
    except (OSError, UnicodeEncodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise CannotCreateError(f"cannot write {str(output)!r}: {reason}") from error
