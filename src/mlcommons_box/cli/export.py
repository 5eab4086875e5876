"""Hand runs to others: as a research object, or to MLflow.

With -o, a directory or ZIP file is made by the rules of RO-Crate (the profile for
processes): what ran, when and how it ended, with the hashes of code, inputs and
outputs, and with the files themselves.  Only files that are still what the record
says are copied, inputs only when they are not large; others are named.

With --mlflow, runs become runs of MLflow, with parameters, metrics, tags and small
outputs, every run once: the next time, only new ones are added.

Records hold no secrets, but paths and names of this machine, and a task may have
written anything: logs go into a research object only with --logs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mlcommons_box.cli.arguments import add_box_of_runs, complete_recorded_runs, run_store
from mlcommons_box.cli.terminal import Terminal
from mlcommons_box.errors import CannotCreateError, UnavailableError, UsageError
from mlcommons_box.report.problems import counted

if TYPE_CHECKING:
    from mlcommons_box.record import RunRecord
    from mlcommons_box.run_store import RunStore

EXAMPLES = """\
examples:
  mlbox export -o mnist.zip           the latest run, as a research object
  mlbox export download train -o crate --agent='Ada Lovelace' --license=CC-BY-4.0
  mlbox export --mlflow=http://localhost:5000
                                      all runs that this server has not seen yet"""

_MEGABYTE = 1_000_000
_SPDX = "https://spdx.org/licenses/"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    runs = parser.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help="the beginning or the end of an id, or a run configuration "
        "(default: the latest run; with --mlflow, all runs)",
    )
    runs.completer = complete_recorded_runs  # type: ignore[attr-defined]
    add_box_of_runs(parser)
    parser.add_argument(
        "-o", "--output", metavar="PATH", type=Path, help="a new directory, or a new file whose name ends in .zip"
    )
    parser.add_argument(
        "--max-input",
        metavar="MB",
        type=_megabytes,
        default=100 * _MEGABYTE,
        help="copy no larger inputs into the research object (default: 100)",
    )
    parser.add_argument("--logs", action="store_true", help="put what the tasks wrote into the research object")
    parser.add_argument("--agent", metavar="NAME", help="who started the runs: a name, or a URI such as an ORCID")
    parser.add_argument(
        "--license", metavar="LICENSE", help="the license of the research object: a URI, or a name of SPDX's list"
    )
    parser.add_argument("--mlflow", metavar="URI", help="the address of a tracking server of MLflow")
    parser.add_argument("--experiment", metavar="NAME", help="the experiment in MLflow (default: the box's name)")
    parser.add_argument(
        "--max-output",
        metavar="MB",
        type=_megabytes,
        default=10 * _MEGABYTE,
        help="send no larger outputs to MLflow (default: 10)",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Make the object, hand the runs over, or both."""
    if arguments.output is None and not arguments.mlflow:
        raise UsageError(
            "nothing says where to", hint="-o PATH makes a research object, --mlflow=URI speaks to MLflow"
        )
    store = run_store(arguments)
    terminal = Terminal()
    if arguments.output is not None:
        _export_crate(_chosen(arguments, store, terminal), store, arguments, terminal)
    if arguments.mlflow:
        _export_tracking(_chosen(arguments, store, terminal), store, arguments, terminal)
    return 0


def _chosen(arguments: argparse.Namespace, store: RunStore, terminal: Terminal) -> list[RunRecord]:
    """The runs that are meant, in the order of their starts; those that go on are none yet."""
    if arguments.runs:
        records = list({record.id: record for record in map(store.find, arguments.runs)}.values())
    elif arguments.output is not None:
        records = [store.find(None)]
    else:
        records, unreadable = store.read_all()
        for error in unreadable.values():
            terminal.failure(error)
    ended = [record for record in records if record.status != "running"]
    for record in records:
        if record.status == "running":
            terminal.note(f"the run {record.id} goes on, and is left out")
    if not ended:
        raise UsageError("no run that is meant has ended", hint="'mlbox runs' lists them")
    return sorted(ended, key=lambda record: (record.started_at, record.id))


def _export_crate(
    records: Sequence[RunRecord], store: RunStore, arguments: argparse.Namespace, terminal: Terminal
) -> None:
    target: Path = arguments.output
    if target.is_dir() and any(target.iterdir()):
        raise CannotCreateError(f"the directory {str(target)!r} is not empty", hint="choose a new one")
    if os.path.lexists(target) and not target.is_dir():
        raise CannotCreateError(f"{str(target)!r} is there already", hint="choose another name")
    _need("rocrate", "a research object", "crate")
    from mlcommons_box.report.crate import CrateOptions, write_crate

    options = CrateOptions(
        license=_license(arguments.license),
        most=arguments.max_input,
        agent=arguments.agent,
        has_logs=arguments.logs,
    )
    write_crate(
        records,
        store,
        target,
        options,
        lambda held: terminal.note(f"{held.parameter.name!r} is named and not copied: {held.reason}"),
    )
    terminal.success(f"wrote {str(target)!r}: {counted(len(records), 'run')}")


def _export_tracking(
    records: Sequence[RunRecord], store: RunStore, arguments: argparse.Namespace, terminal: Terminal
) -> None:
    _need("mlflow", "MLflow", "mlflow")
    from mlcommons_box.report.tracking import Tracking

    logged: list[str] = []

    def on_logged(record: RunRecord) -> None:
        logged.append(record.id)
        terminal.step(f"{record.run} {record.id}: handed over")

    Tracking(arguments.mlflow, arguments.experiment, arguments.max_output).log(records, store, on_logged)
    known = len(records) - len(logged)
    terminal.success(
        f"handed {counted(len(logged), 'run')} to MLflow"
        + (f"; {counted(known, 'run')} had been there" if known else "")
    )


def _need(package: str, what: str, extra: str) -> None:
    if find_spec(package) is None:
        raise UnavailableError(
            f"{what} needs the package {package!r}, which is not installed",
            hint=f"install it with: pip install 'mlcommons-box[{extra}]'",
        )


def _license(given: str | None) -> str:
    if given is None:
        return "No license is stated: ask whoever made this."
    return given if given.startswith(("http://", "https://")) or " " in given else f"{_SPDX}{given}"


def _megabytes(word: str) -> int:
    if not word.isascii() or not word.isdigit():
        raise argparse.ArgumentTypeError(f"expected a number of megabytes, not {word!r}")
    return int(word) * _MEGABYTE
