"""``python -m benchmarks``: how much this software adds to what it starts.

Every figure is measured next to its own yardstick, interleaved, so that a busy machine slows both alike;
medians and ratios are what counts.  The result is printed as a Markdown table, and as JSON with ``--json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.engines import engine_measurements
from benchmarks.remote import host_measurements
from benchmarks.timing import Measurement, measure
from mlcommons_box import __version__

BIN = Path(sys.executable).parent
REPOSITORY = Path(__file__).parent.parent


def measurements(directory: Path, rounds: int) -> list[Measurement]:
    """All of them."""
    # A development machine may forbid compiled modules, which an installed package always has.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environ["MLCOMMONS_BOX_CACHE"] = str(directory / "cache")
    mlbox, python = str(BIN / "mlbox"), [sys.executable, "-c", "pass"]
    mnist = directory / "mnist"
    shutil.copytree(REPOSITORY / "examples/mnist", mnist, ignore=shutil.ignore_patterns("data", "model", "*_logs"))
    no_op = directory / "no-op"
    subprocess.run([mlbox, "init", str(no_op)], check=True, env=environ, stderr=subprocess.DEVNULL)
    (no_op / "build/main.py").write_text("")
    subprocess.run([mlbox, "run", "--platform=local", str(no_op)], check=True, env=environ, capture_output=True)
    (interpreter,) = (directory / "cache/environments").glob("*/bin/python")
    bare_task = ("the task's own process", [str(interpreter), str(no_op / "build/main.py")])
    bare_python = ("python -c pass", python)
    return [
        measure("mlbox --version", [mlbox, "--version"], bare_python, rounds, environ),
        measure("mlbox --help", [mlbox, "--help"], bare_python, rounds, environ),
        measure("mlbox validate (MNIST)", [mlbox, "validate", str(mnist)], bare_python, rounds, environ),
        measure(
            "mlbox describe --json (MNIST)", [mlbox, "describe", "--json", str(mnist)], bare_python, rounds, environ
        ),
        measure(
            "mlbox run, local, no-op task",
            [mlbox, "run", "--platform=local", str(no_op)],
            bare_task,
            rounds,
            environ,
        ),
    ]


def table(results: list[Measurement]) -> str:
    """A Markdown table."""
    lines = [
        "| what | median (ms) | min-max | against | median (ms) | min-max | ratio | added (ms) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in results:
        (low, high), (bare_low, bare_high) = each.ours_spread_ms, each.yardstick_spread_ms
        lines.append(
            f"| {each.what} | {each.ours_ms:.1f} | {low:.1f}-{high:.1f} "
            f"| {each.yardstick} | {each.yardstick_ms:.1f} | {bare_low:.1f}-{bare_high:.1f} "
            f"| {each.ratio:.2f} | {each.added_ms:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=31, help="how often each command runs (default: 31)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        results = measurements(Path(directory), arguments.rounds)
        on_engines, absent = engine_measurements(Path(directory), arguments.rounds)
        on_hosts, absent_hosts = host_measurements(Path(directory), arguments.rounds)
        results += [*on_engines, *on_hosts]
        absent |= absent_hosts
    machine = (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    )
    about = {
        "version": __version__,
        "machine": machine,
        "date": time.strftime("%Y-%m-%d"),
        "rounds": arguments.rounds,
    }
    if arguments.json:
        print(json.dumps({**about, "absent": absent, "results": [asdict(each) for each in results]}, indent=2))
    else:
        print(f"mlcommons-box {__version__}; {machine}; {arguments.rounds} rounds; {about['date']}\n")
        print(table(results))
        for name, reason in absent.items():
            print(f"\nnot measured: {name} ({reason})")


if __name__ == "__main__":
    main()
