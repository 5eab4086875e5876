"""What every section is handed: where to work, which tools are here, and how long it may take."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers import Peers
from benchmarks.timing import FEWEST, Case, Row, interleaved

MLBOX = str(Path(sys.executable).with_name("mlbox"))


@dataclass
class Bench:
    """One run of the benchmarks."""

    place: Path
    """A directory that is removed afterwards."""
    environ: dict[str, str]
    peers: Peers | None
    rounds: int
    seconds: float
    """How long one command is repeated; it has its fewest rounds all the same."""
    limit: float
    """After how many seconds a command is given up."""
    tasks: tuple[int, ...]
    boxes: int
    absent: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def has(self, tool: str) -> bool:
        """Whether another tool is measured too."""
        return self.peers is not None and tool in self.peers

    def program(self, tool: str, name: str | None = None) -> str:
        """The path of another tool's program."""
        if self.peers is None:
            raise LookupError(tool)
        return self.peers.program(tool, name)

    def say(self, text: str) -> None:
        """A line of progress."""
        print(f"  {text}", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Something that a reader of this section has to know."""
        if text not in self.notes:
            self.notes.append(text)

    def mlbox(self, *words: str) -> None:
        """Run a command of ours that is not timed; raises CalledProcessError."""
        subprocess.run([MLBOX, *words], check=True, capture_output=True, env=self.environ)

    def measure(
        self, group: str, cases: Iterable[Case], *, rounds: int = 0, fewest: int = FEWEST, warm: bool = True
    ) -> list[Row]:
        """Measure a group."""
        self.say(group)
        return interleaved(
            group,
            cases,
            rounds=rounds or self.rounds,
            seconds=self.seconds,
            limit=self.limit,
            fewest=fewest,
            warm=warm,
        )

    @functools.cached_property
    def python(self) -> Case:
        """The yardstick of every start: Python, which does nothing."""
        return Case("python", "python -c pass", [sys.executable, "-c", "pass"], environ=self.environ)


def write_files(root: Path, files: dict[str, str]) -> Path:
    """Write files below a directory; scripts may be run."""
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, "utf-8")
        if file.suffix == ".sh":
            file.chmod(0o755)
    return root
