"""``python -m benchmarks.hashing``: a large tree hashed, and checked again, beside the bare tools.

The yardsticks are ``sha256sum`` on all cores, and a walk that asks for the state of every file and no more.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mlcommons_box.fingerprint import Memory, fingerprint

MEGABYTE = 1 << 20


def make_tree(root: Path, files: int, size: int) -> None:
    """Files of ``size`` bytes, a hundred in a directory, all different."""
    block = os.urandom(size - 8)
    for number in range(files):
        path = root / f"{number // 100:04}" / f"{number % 100:02}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(number.to_bytes(8, "big") + block)


def sha256sum(root: Path) -> None:
    """All files, on all cores."""
    names = subprocess.run(["find", str(root), "-type", "f", "-print0"], check=True, capture_output=True).stdout
    cores = str(os.cpu_count() or 1)
    subprocess.run(
        ["xargs", "-0", "-P", cores, "-n", "16", "sha256sum"], input=names, check=True, capture_output=True
    )


def bare_walk(root: Path) -> None:
    """The state of every file, and nothing else."""
    waiting = [str(root)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    entry.stat(follow_symlinks=False)


def interleaved(rounds: int, *calls: Callable[[], object]) -> list[float]:
    """Median seconds of each call."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, found in zip(calls, times, strict=True):
            began = time.perf_counter()
            call()
            found.append(time.perf_counter() - began)
    return [statistics.median(found) for found in times]


def measure(name: str, root: Path, memory: Memory, rounds: int) -> None:
    """Print the rows of one tree."""
    ours, bare = interleaved(rounds, lambda: fingerprint(root, Memory(None)), lambda: sha256sum(root))
    print(f"| hash {name} | {ours:.2f} | sha256sum on all cores | {bare:.2f} | {ours / bare:.2f} |")
    fingerprint(root, memory)
    ours, bare = interleaved(rounds * 3, lambda: fingerprint(root, memory), lambda: bare_walk(root))
    print(f"| check {name} again | {ours:.4f} | a bare walk | {bare:.4f} | {ours / bare:.2f} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hashing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=2000, help="files of one MiB (default: 2000)")
    parser.add_argument("--small-files", type=int, default=20000, help="files of 4 KiB (default: 20000)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        large, small = Path(place, "large"), Path(place, "small")
        make_tree(large, arguments.files, MEGABYTE)
        make_tree(small, arguments.small_files, 4096)
        time.sleep(2.5)  # what has changed a moment ago is not remembered
        print("| what | ours (s) | against | (s) | ratio |\n|---|---|---|---|---|")
        for name, root in (("large files", large), ("small files", small)):
            measure(name, root, Memory(Path(place, "cache")), arguments.rounds)


if __name__ == "__main__":
    main()
