"""A large tree hashed, and checked again, beside the bare tools."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.timing import Case, Row
from mlcommons_box.fingerprint import Memory, fingerprint

TITLE = "Hashing"
MEANING = """\
Every input and output is hashed (SHA-256), so that a record proves what was used and made. The first time
everything has to be read: the yardstick is `sha256sum` of all files on all cores, over files that the system
holds in memory. Later only the state of each file is asked for: the yardstick is a walk in Python that does
just that. Measured inside one process of ours; the memory is that of a process that does nothing else."""
MEGABYTE = 1 << 20
TREES = (("large files", 2000, MEGABYTE), ("small files", 20000, 4096))
"""Name, number of files, bytes of each."""
_SETTLING = 2.5
"""What has changed a moment ago is not remembered."""
_OURS = """\
import sys
from pathlib import Path
from mlcommons_box.fingerprint import Memory
from mlcommons_box.fingerprint import fingerprint
fingerprint(Path(sys.argv[1]), Memory(Path(sys.argv[2]) if sys.argv[2:] else None))
"""


def measure(bench: Bench) -> list[Row]:
    """Two groups."""
    rows: list[Row] = []
    trees = []
    for name, files, size in TREES:
        root = bench.place / name.replace(" ", "-")
        make_tree(root, files, size)
        trees.append((f"{files} {name}", root))
    time.sleep(_SETTLING)
    remembered = bench.place / "remembered"
    first, again = [], []
    for name, root in trees:
        memory = Memory(remembered)
        fingerprint(root, memory)
        ours = [sys.executable, "-c", _OURS, str(root)]
        bare = Case("bare", "sha256sum, all cores", sha256sum(root), environ=bench.environ)
        hashed = partial(fingerprint, root, Memory(None))
        first.append(Case("mlbox", name, ours, call=hashed, environ=bench.environ, bare=bare))
        walk = Case("bare", "a bare walk", call=partial(bare_walk, root))
        checked = partial(fingerprint, root, memory)
        words = [*ours, str(remembered)]
        again.append(Case("mlbox", name, words, call=checked, environ=bench.environ, bare=walk))
    rows += bench.measure("Hashed", first, rounds=min(bench.rounds, 5))
    rows += bench.measure("Checked again", again)
    return rows


def make_tree(root: Path, files: int, size: int) -> None:
    """Files of ``size`` bytes, a hundred in a directory, all different."""
    block = os.urandom(size - 8)
    for number in range(files):
        path = root / f"{number // 100:04}" / f"{number % 100:02}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(number.to_bytes(8, "big") + block)


def sha256sum(root: Path) -> list[str]:
    """The command for all files, on all cores."""
    cores = os.cpu_count() or 1
    return ["sh", "-c", f'find "$1" -type f -print0 | xargs -0 -P {cores} -n 16 sha256sum', "sh", str(root)]


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
