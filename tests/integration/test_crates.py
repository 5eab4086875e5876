"""Runs as research objects, by the library that writes them and the validator of the profile."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from mlcommons_box.errors import EX_CANNOT_CREATE
from mlcommons_box.run_store import RunStore
from tests.conftest import REPOSITORY, MakeBox
from tests.engines import STATE
from tests.integration.test_command_line import mlbox
from tests.recorded_runs import hostile, put, recorded

pytestmark = pytest.mark.engine("ro-crate")
PYTHON = STATE / "ro-crate" / "bin" / "python"


def run_export(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PYTHON, "-m", "mlcommons_box", "export", *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


def export(*words: object) -> subprocess.CompletedProcess[str]:
    result = run_export(*words)
    assert result.returncode == 0, result.stderr
    return result


def findings(crate: Path) -> list[dict[str, str]]:
    """What the validator says of a crate."""
    program = REPOSITORY / "tests" / "integration" / "crate_validation.py"
    result = subprocess.run([PYTHON, program, crate], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout[result.stdout.index('{"findings"') :])
    assert said["checks"] > 50
    found: list[dict[str, str]] = said["findings"]
    return found


def required(crate: Path) -> list[dict[str, str]]:
    return [each for each in findings(crate) if each["severity"] == "REQUIRED"]


def entities(crate: Path) -> dict[str, Any]:
    graph = json.loads((crate / "ro-crate-metadata.json").read_text())["@graph"]
    return {each["@id"]: each for each in graph}


def of_type(found: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [each for each in found.values() if each["@type"] == kind]


@pytest.fixture
def box(make_box: MakeBox) -> Path:
    """A box in which one run reads what another has written, both run."""
    again = "schema_version: 1.0.0\nschema_type: mlbox_invoke\ntask_name: copy\n"
    again += "input_binding: {source: $WORKSPACE/out/copy.txt}\n"
    again += "output_binding: {target: $WORKSPACE/again/copy.txt, logs: $WORKSPACE/again/logs}\n"
    box = make_box({"run/again.yaml": again})
    for run in ("copy", "again"):
        result = mlbox("run", box, f"--task={run}" if run == "copy" else "--task=run/again.yaml")
        assert result.returncode == 0, result.stderr
    return box


def test_a_pipeline_is_valid_and_its_runs_are_joined_by_their_data(box: Path, tmp_path: Path) -> None:
    crate = tmp_path / "crate"
    export("copy", "again", "--mlbox", box, "-o", crate, "--agent=Ada Lovelace", "--license=CC-BY-4.0", "--logs")
    found = findings(crate)
    assert [each for each in found if each["severity"] == "REQUIRED"] == []
    # What nobody tells us: addresses of the box, of a publisher, and where the agent works.
    known = ("url", "absolute URI", "publisher", "affiliation")
    assert [each["message"] for each in found if not any(word in each["message"] for word in known)] == []

    said = entities(crate)
    first, second = sorted(of_type(said, "CreateAction"), key=lambda each: each["startTime"])
    made = first["result"]
    assert second["object"] in (made if isinstance(made, list) else [made])
    assert first["instrument"] == second["instrument"]
    assert first["actionStatus"] == "http://schema.org/CompletedActionStatus"
    copied = [each for each in of_type(said, "File") if each["@id"].endswith("/copy.txt")]
    assert [(crate / each["@id"]).read_text() for each in copied] == ["hello\n"] * 2
    formal = {each["name"] for each in of_type(said, "FormalParameter")}
    assert formal == {"source", "target", "logs"}
    assert list(crate.glob("runs/*/stdout.log"))


def test_a_zip_file_and_no_logs_unless_asked_for(box: Path, tmp_path: Path) -> None:
    export("--mlbox", box, "-o", tmp_path / "crate.zip")
    with zipfile.ZipFile(tmp_path / "crate.zip") as archive:
        names = archive.namelist()
    assert "ro-crate-metadata.json" in names
    assert not [name for name in names if name.endswith(".log") and name.startswith("runs/")]
    assert required(tmp_path / "crate.zip") == []


def test_failures_images_and_strangers_are_valid_too(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "workspace")
    failed = recorded(1, store, status="failed", exit_status=1, reason="it ran out of words")
    records = [failed, recorded(2, store, status="lost", ended_at=None), hostile(3, store)]
    store.write(*records)
    put(store, failed, "metrics.jsonl", '{"loss": 1}\n')
    crate = tmp_path / "crate"
    result = export(*(each.id for each in records), "--workspace", store.workspace, "-o", crate)
    assert "'settings' is named and not copied: the record has no hash of it" in result.stderr
    assert required(crate) == []
    said = entities(crate)
    action = next(each for each in of_type(said, "CreateAction") if each["identifier"] == failed.id)
    assert action["error"] == "it ran out of words"
    image = said[action["containerImage"]["@id"]]
    assert (image["registry"], image["name"], image["tag"], image["sha256"]) == (
        "registry.example:5000",
        "digits",
        "1.0",
        "e" * 64,
    )
    environment = {said[each["@id"]]["name"]: said[each["@id"]]["value"] for each in action["environment"]}
    assert environment == {"THREADS": "2", "API_TOKEN": "***"}
    assert (crate / f"runs/{failed.id}/metrics.jsonl").is_file()


def test_what_cannot_be_written_leaves_nothing_behind(box: Path, tmp_path: Path) -> None:
    result = run_export("--mlbox", box, "-o", tmp_path / "missing" / "crate.zip")
    assert result.returncode == EX_CANNOT_CREATE, result.stderr
    assert not (tmp_path / "missing").exists()
