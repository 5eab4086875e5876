"""Remove the records and logs of old runs, and what no record needs any more.

The last run of each run configuration that succeeded always stays, because it
says what is up to date, and so does what still runs.  A record that cannot be read
stays, too, with all that it may need; it is an error, and the exit status is 78."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterator

from mlcommons_box.cli.arguments import add_box, add_workspace, run_store
from mlcommons_box.cli.terminal import Terminal
from mlcommons_box.errors import UsageError
from mlcommons_box.record import RunRecord, moment
from mlcommons_box.report.problems import counted, one_line
from mlcommons_box.tree_store import tree_store

EXAMPLES = """\
examples:
  mlbox gc --keep=10                  keep the last ten runs of each run configuration
  mlbox gc --older-than=30d           remove those that began more than thirty days ago
  mlbox gc --keep=10 --dry-run        list what would go"""

_UNITS = {"h": 3600, "d": 86400, "w": 7 * 86400}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_box(parser)
    add_workspace(parser)
    parser.add_argument("--keep", metavar="N", type=_count, help="keep the last N of each run configuration")
    parser.add_argument("--older-than", metavar="TIME", type=_age, help="only older ones: 12h, 30d or 8w")
    parser.add_argument("--dry-run", action="store_true", help="list what would be removed")


def execute(arguments: argparse.Namespace) -> int:
    """Find what may go, and remove it."""
    if arguments.keep is None and arguments.older_than is None:
        raise UsageError("nothing says what may go", hint="use --keep=N, --older-than=TIME or both")
    store = run_store(arguments)
    terminal = Terminal()
    records, unreadable = store.read_all()
    old = [record for record in _old(records, arguments.keep or 0) if _is_older(record, arguments.older_than)]
    if arguments.dry_run:
        sys.stdout.writelines(f"{one_line(record.id)}  {one_line(record.run)}\n" for record in old)
        sys.stdout.flush()
    else:
        store.remove({record.id for record in old})
        kept, unreadable = store.read_all()  # once more: others have gone on meanwhile
        if not unreadable:  # each of those may need any list of files
            tree_store(store.workspace).keep_only({digest for record in kept for digest in _digests(record)})
        terminal.success(f"removed {len(old)} of {counted(len(records), 'run')}")
    return terminal.unreadable(unreadable)


def _old(records: list[RunRecord], keep: int) -> Iterator[RunRecord]:
    """All but the last ones of each run configuration; of groups, such as sweeps, each counts for itself."""
    seen: dict[object, int] = {}
    succeeded = set()
    for record in reversed(records):
        key = (record.run, str(record.group.get("kind")), str(record.group.get("name")))
        seen[key] = seen.get(key, 0) + 1
        is_proof = record.status == "succeeded" and key not in succeeded
        if is_proof:
            succeeded.add(key)
        if seen[key] > keep and record.status != "running" and not is_proof:
            yield record


def _is_older(record: RunRecord, seconds: float | None) -> bool:
    return seconds is None or time.time() - moment(record.started_at).timestamp() > seconds


def _digests(record: RunRecord) -> Iterator[str]:
    for holder in (*record.inputs.values(), *record.outputs.values(), record.code.get("build")):
        if isinstance(holder, dict) and isinstance(holder.get("digest"), str):
            yield holder["digest"]


def _count(word: str) -> int:
    if not word.isascii() or not word.isdigit():
        raise argparse.ArgumentTypeError(f"expected a number, not {word!r}")
    return int(word)


def _age(word: str) -> float:
    found = re.fullmatch(r"([0-9]+)([hdw])", word)
    if not found:
        raise argparse.ArgumentTypeError(f"expected a time such as 12h, 30d or 8w, not {word!r}")
    return float(found[1]) * _UNITS[found[2]]
