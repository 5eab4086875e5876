"""Records of runs that never were, for what is made of records: a box with a pipeline and a sweep."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlcommons_box.fingerprint import Memory, fingerprint
from mlcommons_box.record import RunRecord, Supervisor
from mlcommons_box.run_store import RunStore
from mlcommons_box.value import as_data

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>\"'&{a|b}‮"
"""What a stranger may call a run."""


def recorded(number: int, store: RunStore, **changes: Any) -> RunRecord:
    """The record of a run that trained for a moment; ``number`` says when it started."""
    at = f"2026-03-{1 + number // 1440:02}T{number // 60 % 24:02}:{number % 60:02}"
    model = store.workspace / "models" / str(number)
    return RunRecord(
        **{
            "schema_version": 1,
            "id": f"{at.translate({45: None, 58: None})}00-{hashlib.sha256(str(number).encode()).hexdigest()[:8]}",
            "status": "succeeded",
            "box": "digits",
            "box_version": "1.0.0",
            "run": "train",
            "task": "train",
            "platform": "docker",
            "runner": "docker",
            "started_at": f"{at}:00.000Z",
            "ended_at": f"{at}:09.500Z",
            "duration": 9.5,
            "exit_status": 0,
            "tool_version": "1.0.0",
            "supervisor": Supervisor(host="somewhere", pid=os.getpid(), started_ticks=0),
            "plan": {
                "workspace": str(store.workspace),
                "parameters": [
                    parameter("data", "input", store.workspace / "data", "directory"),
                    parameter("settings", "input", store.workspace / "settings.json"),
                    parameter("model", "output", model, "directory"),
                ],
                "environment": {"THREADS": "2", "API_TOKEN": "***", "FROM_CALLER": None},
                "resources": {"memory": 2 << 30},
            },
            "commands": ("docker run digits train",),
            "code": {"definition": "d" * 64, "build": {"digest": "b" * 64}, "git": {"commit": "c" * 40}},
            "image": {"reference": "registry.example:5000/digits:1.0", "digest": f"sha256:{'e' * 64}"},
            "hyperparameters": {"settings": {"rate": 0.1 / (1 + number), "optimizer.name": "adam"}},
            "usage": {"peak_memory": 123456789, "cpu_time": 4.5},
            "metrics": {"accuracy": 0.5 + number / 1000, "loss": 1 / (1 + number)},
            "unproved": None,
            "group": {},
            "inputs": {},
            "outputs": {},
            "engine": {"version": "28.2"},
            "machine": {"processors": 4},
            **changes,
        }
    )


def parameter(name: str, direction: str, path: Path, kind: str = "file") -> dict[str, Any]:
    """A parameter as a plan has it."""
    return {"name": name, "type": kind, "direction": direction, "path": str(path)}


def trial(number: int, store: RunStore, **changes: Any) -> RunRecord:
    """The same as a trial of a sweep; the tenth is the best."""
    values = {
        "rate": 10.0 ** -(number % 5),
        "layers": 2 + number % 3,
        "optimizer.name": ("adam", "sgd")[number % 2],
    }
    group = {"kind": "sweep", "name": "search", "id": "s1", "trial": number, "values": values}
    accuracy = 0.99 if number == 10 else 0.5 + number / 1000
    return recorded(number, store, **{"group": group, "metrics": {"accuracy": accuracy}, **changes})


def hostile(number: int, store: RunStore) -> RunRecord:
    """A record of a stranger who has put something odd everywhere."""
    odd: Any = {"__proto__": {"x": 1}, "constructor": 3, HOSTILE: HOSTILE, "deep": json.loads("[" * 40 + "]" * 40)}
    return recorded(
        number,
        store,
        status="failed",
        exit_status=1,
        run=HOSTILE,
        task=HOSTILE,
        box=HOSTILE,
        platform=HOSTILE,
        reason=HOSTILE,
        native_id=HOSTILE,
        commands=(HOSTILE,),
        group={"kind": "sweep", "name": HOSTILE, "id": {"a": [1]}, "trial": "x", "values": odd},
        metrics={HOSTILE: 1, "__proto__": 2, "constructor": 3, "huge": 10**400, "text": "no", "flag": True},
        hyperparameters={"x": 7, "y": odd},
        inputs={HOSTILE: "none"},
        outputs={"model": None},
        code={"definition": [1, {"a": None}]},
        image=odd,
        machine={"x" * 300: "y" * 30_000},
        usage={"peak_memory": "lots", "cpu_time": {}},
        plan={"parameters": [parameter(HOSTILE, "input", Path(HOSTILE))], "environment": [1], "options": HOSTILE},
    )


def with_steps(store: RunStore, record: RunRecord, count: int) -> RunRecord:
    """Give a run a learning curve."""
    put(
        store, record, "metrics.jsonl", "".join(f'{{"epoch": {n}, "loss": {1 / n}}}\n' for n in range(1, count + 1))
    )
    return record


def put(store: RunStore, record: RunRecord, name: str, content: str | bytes) -> None:
    """A file in a run's directory."""
    path = store.path(record.id, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def held(path: Path) -> Mapping[str, Any]:
    """The fingerprint of what is there, as a record has it."""
    data: Mapping[str, Any] = as_data(fingerprint(path, Memory(None)))
    return data
