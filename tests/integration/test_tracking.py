"""Runs in MLflow, in a real server of it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlcommons_box.run_store import RunStore
from tests.conftest import REPOSITORY
from tests.engines import STATE
from tests.recorded_runs import held, hostile, parameter, put, recorded, with_steps

pytestmark = pytest.mark.engine("mlflow")
BIN = STATE / "mlflow" / "bin"
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a database of its own; its jobs for language models are none of our business."""
    directory = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    words = ["server", "--host=127.0.0.1", f"--port={port}", "--workers=1", "--artifacts-destination=artifacts"]
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            [BIN / "mlflow", *words, "--backend-store-uri=sqlite:///runs.db"],
            env={**os.environ, **QUIET, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            cwd=directory,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 180
        while True:
            try:
                urllib.request.urlopen(f"{uri}/health", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, (directory / "log").read_text()
                assert time.monotonic() < deadline, (directory / "log").read_text()
                time.sleep(0.2)
        yield uri
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def ask(server: str, what: str, **body: Any) -> dict[str, Any]:
    """Ask the server itself, not by our client."""
    request = urllib.request.Request(
        f"{server}/api/2.0/mlflow/{what}",
        json.dumps(body).encode() if body else None,
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        data: dict[str, Any] = json.load(answer)
    return data


def runs_of(server: str, experiment: str) -> dict[str, dict[str, Any]]:
    """The runs of an experiment by our ids."""
    known = ask(server, f"experiments/get-by-name?experiment_name={experiment}")["experiment"]["experiment_id"]
    found = ask(server, "runs/search", experiment_ids=[known], max_results=100).get("runs", [])
    return {pairs(run["data"]["tags"])["mlbox.run_id"]: run for run in found}


def pairs(values: list[dict[str, Any]]) -> dict[str, Any]:
    return {each["key"]: each["value"] for each in values}


def export(server: str, store: RunStore, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            BIN / "python",
            "-m",
            "mlcommons_box",
            "export",
            f"--workspace={store.workspace}",
            f"--mlflow={server}",
            *words,
        ],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_run_is_handed_over_once_with_all_of_it(server: str, tmp_path: Path) -> None:
    store = RunStore(tmp_path / "workspace")
    model = store.workspace / "models"
    (model / "deep").mkdir(parents=True)
    (model / "deep" / "weights").write_text("1 2 3")
    plan = {"parameters": [parameter("model", "output", model, "directory")]}
    first = recorded(
        1, store, plan=plan, outputs={"model": dict(held(model))}, metrics={"loss": 0.25, "accuracy": 0.9}
    )
    failed = recorded(2, store, status="failed", exit_status=3, reason="it ran out of words", metrics={})
    with_steps(store, first, 4)
    put(store, first, "stdout.log", "words\n")
    store.write(first, failed)

    result = export(server, store)
    assert result.returncode == 0, result.stderr
    assert "handed 2 runs to MLflow" in result.stderr
    assert result.stdout == ""
    found = runs_of(server, "digits")
    assert set(found) == {first.id, failed.id}
    info, data = found[first.id]["info"], found[first.id]["data"]
    assert info["status"] == "FINISHED"
    assert info["end_time"] - info["start_time"] == 9500 or info["end_time"] > info["start_time"]
    assert pairs(data["params"])["rate"] == "0.05"
    assert pairs(data["tags"])["mlflow.source.git.commit"] == "c" * 40
    metrics = pairs(data["metrics"])
    assert (metrics["loss"], metrics["accuracy"], metrics["mlbox.duration"]) == (0.25, 0.9, 9.5)
    steps = ask(server, f"metrics/get-history?run_id={info['run_id']}&metric_key=loss")["metrics"]
    assert [(each["step"], each["value"]) for each in steps] == [(n, pytest.approx(1 / n)) for n in range(1, 5)]
    files = ask(server, f"artifacts/list?run_id={info['run_id']}&path=outputs/model/deep")["files"]
    assert [each["path"] for each in files] == ["outputs/model/deep/weights"]
    files = ask(server, f"artifacts/list?run_id={info['run_id']}&path=mlbox")["files"]
    assert [each["path"] for each in files] == ["mlbox/record.json", "mlbox/stdout.log"]
    assert found[failed.id]["info"]["status"] == "FAILED"
    assert pairs(found[failed.id]["data"]["tags"])["mlbox.reason"] == "it ran out of words"

    store.write(hostile(3, store))
    half = next(tag for tag in found[failed.id]["data"]["tags"] if tag["key"] == "mlbox.complete")
    ask(server, "runs/delete-tag", run_id=found[failed.id]["info"]["run_id"], key=half["key"])
    result = export(server, store, "--experiment=digits")
    assert result.returncode == 0, result.stderr
    assert "handed 2 runs to MLflow; 1 run had been there" in result.stderr  # the new one, and what was half there
    again = runs_of(server, "digits")
    assert len(again) == 3
    assert again[first.id]["info"]["run_id"] == info["run_id"]


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.write(recorded(1, store))
    uri = "http://127.0.0.1:9"
    result = subprocess.run(
        [BIN / "python", "-m", "mlcommons_box", "export", f"--workspace={tmp_path}", f"--mlflow={uri}"],
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY / "src"),
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 69
    assert f"MLflow at {uri!r} cannot be used" in result.stderr
    assert "Traceback" not in result.stderr
