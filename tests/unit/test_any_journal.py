"""Whatever the file of the records holds, reading it ends well, and no run has succeeded that did not say so."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mlcommons_box.errors import ConfigurationError, UsageError
from mlcommons_box.report.records import record_json, record_text, runs_table
from mlcommons_box.run_store import RunStore
from mlcommons_box.value import as_data, replace
from tests.recorded_runs import hostile, recorded
from tests.unit.definition.hypothesis_settings import quick_or_thorough

IDS = ("a", "b")


def lines_of_two_runs() -> list[bytes]:
    with tempfile.TemporaryDirectory() as directory:
        store = RunStore(Path(directory))
        for number, run_id in enumerate(IDS):
            record = replace(recorded(number, store), id=run_id, status="running", exit_status=None)
            store.begin(record)
            store.write(replace(record, native_id="7"))
            store.write(replace(record, status="succeeded", exit_status=0))
        store.write(hostile(9, store))
        return store.journal.content().splitlines(keepends=True)


LINES = lines_of_two_runs()
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["running", "succeeded"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
NAMES = sorted(as_data(recorded(1, RunStore(Path("/")))))
odd_lines = st.builds(
    lambda run_id, content: (
        b'{"id": "' + run_id.encode() + b'", ' + json.dumps({"z": 1, **content})[1:].encode() + b"\n"
    ),
    st.sampled_from(IDS),
    st.dictionaries(st.sampled_from(NAMES), JSON, max_size=3),
)
cut_lines = st.builds(lambda line, end: line[:end], st.sampled_from(LINES), st.integers(0, 2000))
contents = st.lists(
    st.one_of(st.sampled_from(LINES), odd_lines, cut_lines, st.binary(max_size=30)), max_size=8
).map(b"".join)


@quick_or_thorough(300)
@given(content=st.one_of(contents, st.binary(max_size=300)))
def test_reading_never_fails_and_invents_nothing(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        store = RunStore(Path(directory))
        store.journal.file.parent.mkdir()
        store.journal.file.write_bytes(content)
        records, unreadable = store.read_all()
        assert all(isinstance(error, ConfigurationError) for error in unreadable.values())
        for record in records:
            json.dumps(record_json(record, store))
            record_text(record, store)
            if record.status == "succeeded":
                assert any(said_whole(line, record.id) for line in content.split(b"\n")[:-1]), (
                    "it never said that it has succeeded"
                )
        runs_table(records)
        for run_id in (*store.ids(), None):
            with suppress(ConfigurationError, UsageError):
                store.find(run_id)


def said_whole(line: bytes, run_id: str) -> bool:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return (
        isinstance(entry, dict)
        and entry.get("status") == "succeeded"
        and line.startswith(b'{"id": "' + run_id.encode())
    )


@quick_or_thorough(100)
@given(
    cuts=st.lists(st.integers(0, 3), min_size=6, max_size=6),
    ends=st.lists(st.integers(0, 3000), min_size=6, max_size=6),
)
def test_lines_that_were_cut_off_are_as_if_never_written(cuts: list[int], ends: list[int]) -> None:
    """Each line was written whole, or a crash has cut it off and the next writer has begun a new one."""
    with tempfile.TemporaryDirectory() as directory:
        store = RunStore(Path(directory))
        store.journal.file.parent.mkdir()
        lines = LINES[:6]
        whole = [not cut or end >= len(line) - 1 for line, cut, end in zip(lines, cuts, ends, strict=True)]
        store.journal.file.write_bytes(
            b"".join(
                line if is_whole else line[:end] + b"\n"
                for line, is_whole, end in zip(lines, whole, ends, strict=True)
            )
        )
        records, unreadable = store.read_all()
        found = {record.id: record.status for record in records}
        for number, run_id in enumerate(IDS):
            began, _, ended = whole[3 * number : 3 * number + 3]
            if not began:
                assert run_id not in found
            else:
                assert (found[run_id] == "succeeded") is ended
                assert run_id not in unreadable
