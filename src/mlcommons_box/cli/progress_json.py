"""What a program reads of many runs: one JSON object a line, for everything that happens to one of them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from mlcommons_box.cli.progress import counts
from mlcommons_box.cli.terminal import Terminal
from mlcommons_box.crew import Ended, Event
from mlcommons_box.errors import BoxError, Interrupted
from mlcommons_box.planning import RunPlan
from mlcommons_box.process import Stream
from mlcommons_box.run_store import RunStore
from mlcommons_box.runners.interface import Observer
from mlcommons_box.scheduling import exit_status


class JsonLines:
    """Writes events to standard output, each at once; what the tasks write is in their logs alone."""

    def __init__(self, terminal: Terminal, total: int) -> None:
        self.terminal = terminal
        self.total = total
        self.began = time.monotonic()

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to do."""

    def observer_for(self, plan: RunPlan) -> Observer:
        return _Quiet(plan.run, self.terminal)

    def on_event(self, event: Event) -> None:
        plan, ended = event.plan, event.ended
        about: dict[str, Any] = {"run": plan.run, "id": plan.id}
        if event.kind == "planned":
            about |= {"task": plan.task.name, "platform": plan.platform.name, "runner": plan.platform.runner}
        if event.kind in ("started", "ended"):
            store = RunStore(plan.workspace)
            about["logs"] = {name: str(store.log(plan.id, name)) for name in ("stdout", "stderr")}
        if ended is not None:
            about |= {
                "status": ended.state.replace(" ", "-"),
                "exit_status": ended.outcome.exit_status if ended.outcome and event.kind == "ended" else None,
                "duration": round(ended.duration, 3),
                "reason": ended.reason,
            }
        _write(event.kind.replace(" ", "-"), event.at, about)
        error = ended.error if ended is not None and self.total > 1 else None
        if isinstance(error, BoxError) and not isinstance(error, Interrupted):
            self.terminal.failure(error)

    def finish(self, ends: Sequence[Ended]) -> None:
        about = {
            "counts": {state.replace(" ", "-"): count for state, count in counts(ends).items()},
            "exit_status": exit_status(ends),
            "duration": round(time.monotonic() - self.began, 3),
        }
        _write("summary", time.time(), about)


def _write(event: str, at: float, about: dict[str, Any]) -> None:
    moment = datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    sys.stdout.write(json.dumps({"event": event, "time": moment, **about}) + "\n")
    sys.stdout.flush()


class _Quiet:
    """Tells of one run what those want to see who want to see everything."""

    def __init__(self, run: str, terminal: Terminal) -> None:
        self.run = run
        self.terminal = terminal

    def preparing(self, what: str) -> None:
        self.terminal.detail(f"{self.run}: {what}")

    def preparation_output(self, chunk: bytes) -> None:
        self.terminal.detail(chunk.decode("utf-8", "replace").rstrip("\n"))

    def prepared(self) -> None:
        pass

    def started(self, native_id: str) -> None:
        self.terminal.detail(f"{self.run}: started: {native_id}")

    def output(self, stream: Stream, chunk: bytes) -> None:
        pass
