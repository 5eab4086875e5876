"""``python -m benchmarks``: what people wait for, beside the bare command and beside other tools, in the same run.

Each round runs every command once, so that a busy machine slows all alike; medians and ratios are what counts.
With ``--peers DIR``, other tools are installed below that directory, each in an environment of its own.  The
result is written after every section, and printed as tables; ``python -m benchmarks.page RESULT.json`` makes the
page of it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import results
from benchmarks.bench import Bench
from benchmarks.machine import machine, versions
from benchmarks.peers import NEEDS, Peers, environ
from benchmarks.results import OtherResult, Result
from benchmarks.sections import SECTIONS
from benchmarks.tables import tables


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=Path, metavar="DIR", help="measure other tools too, and install them here")
    parser.add_argument("--only", metavar="SECTION,...", help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--rounds", type=int, default=21, help="how often each command runs (default: 21)")
    parser.add_argument(
        "--seconds", type=float, default=8, help="after which a slow command is not repeated (default: 8)"
    )
    parser.add_argument("--limit", type=float, default=300, help="seconds a command may take (default: 300)")
    parser.add_argument("--tasks", default="1,100,1000,10000", help="sizes of pipelines (default: %(default)s)")
    parser.add_argument("--boxes", type=int, default=1000, help="boxes that are validated (default: 1000)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the result here, as JSON")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="keep the sections that FILE has, when machine and versions are the same",
    )
    return parser.parse_args()


def main() -> int:
    """Measure, write and print."""
    given = arguments()
    chosen = given.only.split(",") if given.only else [*SECTIONS]
    unknown = sorted({*chosen} - {*SECTIONS})
    if unknown:
        print(f"error: there is no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}", file=sys.stderr)
        return 2
    words = [word for word in sys.argv[1:] if word != "--resume"]
    result = Result(machine(), versions(), time.strftime("%Y-%m-%d", time.gmtime()))
    result.command = " ".join(["python -m benchmarks", *_without_paths(words)])
    peers = Peers(given.peers.absolute()) if given.peers else None
    if peers:
        for tool in NEEDS:
            print(f"installing {tool}", file=sys.stderr, flush=True)
            peers.install(tool)
            if tool in peers:
                result.versions[tool] = peers.version(tool)
        result.absent = dict(peers.absent)
    if given.resume and given.output and given.output.exists():
        former = results.read(given.output)
        try:
            result.take(former)
        except OtherResult as error:
            print(f"error: {given.output}: {error}", file=sys.stderr)
            return 1
        chosen = [name for name in chosen if name not in former.sections]
    began = time.monotonic()
    for name in chosen:
        print(f"{name} ({time.monotonic() - began:.0f} s so far)", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="mlbox-benchmarks-") as place:
            bench = Bench(
                place=Path(place),
                environ=environ(Path(place, "home")),
                peers=peers,
                rounds=given.rounds,
                seconds=given.seconds,
                limit=given.limit,
                tasks=tuple(map(int, given.tasks.split(","))),
                boxes=given.boxes,
            )
            result.sections[name] = SECTIONS[name].measure(bench)
            result.notes[name] = bench.notes
            result.absent.update(bench.absent)
        if given.output:
            results.write(result.in_order(SECTIONS), given.output)
    print(f"done in {time.monotonic() - began:.0f} s", file=sys.stderr)
    print(tables(result.in_order(SECTIONS)))
    return 0


def _without_paths(words: list[str]) -> list[str]:
    """A command line without the places of this machine."""
    named = {"--peers": "DIR", "--output": "RESULT.json"}
    shown = []
    for position, word in enumerate(words):
        name, equals, _ = word.partition("=")
        before = words[position - 1] if position else ""
        shown.append(f"{name}={named[name]}" if equals and name in named else named.get(before, word))
    return shown


if __name__ == "__main__":
    sys.exit(main())
