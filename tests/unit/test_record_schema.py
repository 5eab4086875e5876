"""The published JSON Schema of records says what records are."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from mlcommons_box.definition.loader import load_box, load_run_configuration
from mlcommons_box.model import LocalOptions, Platform
from mlcommons_box.planning import plan_run
from mlcommons_box.record import STATUSES, RunRecord, new_record
from mlcommons_box.report.records import RECORD_SCHEMA
from mlcommons_box.value import as_data, field_names, is_required, replace
from tests.conftest import MakeBox


@pytest.fixture
def schema() -> Any:
    return json.loads(RECORD_SCHEMA.read_text("utf-8"))


@pytest.fixture
def record(make_box: MakeBox) -> RunRecord:
    box = load_box(make_box())
    platform = Platform(name="local", runner="local", options=LocalOptions())
    return new_record(plan_run(box, load_run_configuration(box.root / "run/copy.yaml", box), platform), [])


def test_it_has_every_field_with_a_description(schema: Any) -> None:
    assert list(schema["properties"]) == list(field_names(RunRecord))
    assert schema["required"] == [name for name in field_names(RunRecord) if is_required(RunRecord, name)]
    assert all(each["description"] for each in schema["properties"].values())
    assert schema["properties"]["status"]["enum"] == list(STATUSES)
    jsonschema.Draft202012Validator.check_schema(schema)


def test_a_record_is_valid(schema: Any, record: RunRecord) -> None:
    full = replace(
        record,
        status="succeeded",
        exit_status=0,
        duration=1.5,
        ended_at=record.started_at,
        code={"definition": "ab", "build": {"kind": "directory", "digest": "a" * 64, "files": 1, "size": 2}},
        inputs={"data": {"kind": "file", "digest": "b" * 64, "files": 1, "size": 3}},
        metrics={"accuracy": 0.97},
        unproved=None,
    )
    for each in (record, full):
        jsonschema.validate(json.loads(json.dumps(as_data(each))), schema)


@pytest.mark.parametrize(
    "change",
    [{"status": "sleeping"}, {"started_at": "today"}, {"inputs": {"a": {"digest": "x"}}}, {"metrics": {"a": "b"}}],
)
def test_what_is_none_is_not(schema: Any, record: RunRecord, change: dict[str, Any]) -> None:
    content = json.loads(json.dumps({**as_data(record), **change}))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema)
