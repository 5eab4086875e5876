"""Show which engines this machine has, what is wrong with each, and how to mend it.

The engines are asked, and nothing is changed.  An engine is usable when a box can
run on it; a warning says what will not work there.  The exit status is 0 when the
engine that is named, or without a name at least one, is usable, and else 69."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from mlcommons_box.cli.terminal import uses_colour
from mlcommons_box.errors import EX_UNAVAILABLE
from mlcommons_box.selection import PLATFORM_VARIABLE

if TYPE_CHECKING:
    from mlcommons_box.diagnosis.findings import Examination

EXAMPLES = """\
examples:
  mlbox doctor                        all engines, and the machine
  mlbox doctor docker                 one engine; 69 when no box can run on it
  mlbox doctor docker && mlbox run --platform=docker
  mlbox doctor --json | jq -r '.engines[] | select(.usable) | .engine'"""

_CHOICES = ("docker", "podman", "singularity", "local")
_WIDEST = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "engine",
        nargs="?",
        choices=_CHOICES,
        metavar="ENGINE",
        help="docker, podman, singularity (which is Apptainer, too) or local",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def execute(arguments: argparse.Namespace) -> int:
    """Examine, and print to standard output."""
    from mlcommons_box.diagnosis.examination import examine
    from mlcommons_box.report.diagnoses import examination_json, examination_text

    examination = examine(arguments.engine)
    if arguments.json:
        import json

        sys.stdout.write(json.dumps(examination_json(examination), indent=2) + "\n")
    else:
        text = examination_text(examination, colour=uses_colour(sys.stdout), width=_width())
        sys.stdout.write(text + "\n")
        if arguments.engine is None:
            sys.stdout.write(f"\n{first_choice(examination, os.environ.get(PLATFORM_VARIABLE))}\n")
    return 0 if examination.usable else EX_UNAVAILABLE


def first_choice(examination: Examination, named: str | None) -> str:
    """Which platform a box would use here; ``named`` is the one of the variable."""
    if named:
        return f"first choice for a box here: the platform {named!r}, which {PLATFORM_VARIABLE} names"
    if not examination.usable:
        return "no box can run here"
    first, *others = examination.usable
    return f"first choice for a box here: {first}" + (f", then {', '.join(others)}" if others else "")


def _width() -> int | None:
    """Columns of the terminal; None where the output goes elsewhere, and where it is broken is not ours to say."""
    if not sys.stdout.isatty():
        return None
    import shutil

    return min(shutil.get_terminal_size().columns, _WIDEST)
