"""A report is one file that asks for nothing, says where it has cut something, and lets no stranger in."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from mlcommons_box.errors import ConfigurationError
from mlcommons_box.report import html_data, html_pipeline, run_files
from mlcommons_box.report.html import is_report, report_html
from mlcommons_box.report.html_data import page_data, plain
from mlcommons_box.report.html_pipeline import pipeline_data
from mlcommons_box.report.run_files import steps_of, tail_of
from mlcommons_box.run_store import RunStore
from tests.recorded_runs import HOSTILE, hostile, parameter, put, recorded, trial, with_steps

NOW = datetime(2026, 4, 1, tzinfo=timezone.utc)


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "workspace")


def data_of(store: RunStore, *records: Any) -> dict[str, Any]:
    return page_data(records, {}, store, title="digits", now=NOW)


def unpacked(page: str, name: str) -> str:
    found = re.search(rf'<script type="application/octet-stream" id="{name}">([^<]*)</script>', page)
    assert found
    return gzip.decompress(base64.b64decode(found[1])).decode()


class TestPage:
    def test_what_is_packed_is_what_was_given(self, store: RunStore) -> None:
        data = data_of(store, recorded(1, store), hostile(2, store))
        assert json.loads(unpacked(report_html(data), "data")) == json.loads(json.dumps(data))

    def test_no_word_of_a_stranger_is_html(self, store: RunStore) -> None:
        page = report_html(page_data([hostile(1, store)], {}, store, title=HOSTILE, now=NOW))
        assert "<img" not in page
        assert "alert(" not in page.replace(html.escape(HOSTILE), "")
        assert page.count("<title>") == 1
        assert page.count("</script>") == 3

    def test_the_policy_allows_our_scripts_and_style_by_their_hashes_and_nothing_else(
        self, store: RunStore
    ) -> None:
        page = report_html(data_of(store))
        found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
        assert found
        policy = html.unescape(found[1])
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        assert "http" not in policy
        (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
        (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
        for text in (style, script, unpacked(page, "library")):
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy

    def test_the_same_runs_make_the_same_page(self, store: RunStore) -> None:
        assert report_html(data_of(store, recorded(1, store))) == report_html(data_of(store, recorded(1, store)))

    def test_a_report_is_known_as_one(self, store: RunStore, tmp_path: Path) -> None:
        file = tmp_path / "a.html"
        file.write_text(report_html(data_of(store)), "utf-8")
        assert is_report(file)
        file.write_text("<!doctype html><title>mlbox report</title>", "utf-8")
        assert not is_report(file)


class TestData:
    def test_the_newest_run_comes_first(self, store: RunStore) -> None:
        data = data_of(store, recorded(1, store), recorded(2, store))
        assert [run["started_at"][11:16] for run in data["runs"]] == ["00:02", "00:01"]

    def test_what_is_left_out_is_said(self, store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(html_data, "MOST_RUNS", 2)
        monkeypatch.setattr(html_data, "_ALL_LOG_BYTES", 5)
        records = [recorded(number, store) for number in range(3)]
        for record in records:
            put(store, record, "stdout.log", "many words\n")
        data = data_of(store, *records)
        assert data["runs_left_out"] == 1
        assert data["logs_left_out"]
        assert [sorted(run["logs"]) for run in data["runs"]] == [["stdout"], []]

    def test_a_record_that_cannot_be_read_is_named(self, store: RunStore) -> None:
        data = page_data([], {"x": ConfigurationError("it is damaged")}, store, title="digits", now=NOW)
        assert data["unreadable"] == [{"id": "x", "reason": "it is damaged"}]

    def test_the_data_of_a_stranger_is_kept_within_limits(self, store: RunStore) -> None:
        data = data_of(store, hostile(1, store))
        json.dumps(data, allow_nan=False)
        (run,) = data["runs"]
        assert run["metrics"] == {HOSTILE: 1, "__proto__": 2, "constructor": 3}
        assert len(run["machine"]["x" * 300]) < 21_000

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (10**400, plain),
            (10**5000, "a very large number"),
            (float("nan"), "nan"),
            ((1, (2,)), [1, [2]]),
            ({1: None}, {"1": None}),
        ],
        ids=["large", "larger", "nan", "tuples", "keys"],
    )
    def test_plain(self, value: Any, expected: Any) -> None:
        assert plain(value) == (str(value) if expected is plain else expected)

    def test_a_long_curve_is_thinned_and_keeps_its_ends(
        self, store: RunStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(html_data, "_MOST_POINTS", 40)
        record = with_steps(store, recorded(1, store), 1001)
        (run,) = data_of(store, record)["runs"]
        curve = run["curves"]
        assert curve["every"] == 26
        assert (curve["steps"][0], curve["steps"][-1]) == (1, 1001)
        assert curve["columns"]["epoch"] == curve["steps"]
        assert len(curve["columns"]["loss"]) == len(curve["steps"]) <= 41

    def test_curves_and_metrics_that_have_no_room_are_counted(
        self, store: RunStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(html_data, "_MOST_CURVES", 1)
        monkeypatch.setattr(run_files, "_MOST_NAMES", 3)
        record = recorded(1, store, metrics={"a": 1, "text": "x", "b": 2, "c": 3, "d": 4})
        (run,) = data_of(store, with_steps(store, record, 4))["runs"]
        assert (list(run["curves"]["columns"]), run["curves"]["left_out"]) == (["epoch"], 1)
        assert (run["metrics"], run["metrics_left_out"]) == ({"a": 1, "b": 2}, 2)

    def test_entries_that_have_no_room_are_counted_in_their_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(html_data, "_MOST_ENTRIES", 2)
        assert plain([1, 2]) == [1, 2]
        assert plain(["a", "b", "c", "d"]) == ["a", "b", "… (2 more)"]
        assert plain({"a": 1, "b": 2}) == {"a": 1, "b": 2}
        assert plain({"a": 1, "b": 2, "c": 3}) == {"a": 1, "b": 2, "…": "1 more"}
        assert next(iter(plain({"x" * 30_000: 1}))).endswith("… (30000 characters)")

    def test_one_step_is_no_curve(self, store: RunStore) -> None:
        (run,) = data_of(store, with_steps(store, recorded(1, store), 1))["runs"]
        assert run["curves"] is None


class TestFiles:
    def test_steps_that_are_none_are_passed_over(self, store: RunStore) -> None:
        record = recorded(1, store)
        put(
            store,
            record,
            "metrics.jsonl",
            b'{"a": 1}\n\xff\nno\n[1]\n{"a": NaN}\n{"a": true, "b": "x"}\n{"a": 2.5}',
        )
        assert steps_of(store, record.id) == [{"a": 1}, {"a": 2.5}]

    def test_a_link_is_no_file_of_steps(self, store: RunStore, tmp_path: Path) -> None:
        record = recorded(1, store)
        (tmp_path / "secret").write_text('{"a": 1}\n')
        store.path(record.id).mkdir(parents=True)
        store.path(record.id, "metrics.jsonl").symlink_to(tmp_path / "secret")
        assert steps_of(store, record.id) == []

    def test_the_tail_of_a_log_begins_with_a_line_and_steers_nothing(self, store: RunStore) -> None:
        record = recorded(1, store)
        put(store, record, "stderr.log", b"one\ntwo\r\n 10%\r 20%\r\n\x1b[31mred\x1b[0m \xff\n")
        tail = tail_of(store, record.id, "stderr", 32)
        assert tail
        assert (tail.text, tail.is_cut) == ("two\n 20%\nred �\n", True)
        assert tail_of(store, record.id, "stdout", 32) is None


class TestPipeline:
    def test_the_latest_runs_and_the_data_that_joins_them(self, store: RunStore) -> None:
        data = store.workspace / "data"
        download = recorded(
            1, store, run="download", plan={"parameters": [parameter("to", "output", data, "directory")]}
        )
        graph = pipeline_data(
            [download, recorded(2, store), recorded(3, store), trial(4, store)], str(store.workspace)
        )
        runs = {node["name"]: node["run"][9:13] for node in graph["nodes"] if node["kind"] == "run"}
        assert runs == {"download": "0001", "train": "0003"}  # a trial of a sweep is none of them
        titles = {line["title"] for line in graph["lines"]}
        assert titles == {
            "download → data",
            "data → train",
            "settings.json → train",
            "train → models/3",
        }
        assert all(re.fullmatch(r"[MCH0-9., -]+", line["path"]) for line in graph["lines"])

    def test_a_part_of_what_is_written_is_joined_with_it(self, store: RunStore) -> None:
        whole, part = store.workspace / "data", store.workspace / "data" / "images"
        one = recorded(1, store, run="one", plan={"parameters": [parameter("to", "output", whole, "directory")]})
        other = recorded(
            2, store, run="other", plan={"parameters": [parameter("from", "input", part, "directory")]}
        )
        graph = pipeline_data([one, other], str(store.workspace))
        assert [line["title"] for line in graph["lines"] if line["is_part"]] == ["data → data/images"]

    def test_run_configurations_that_have_no_room_are_counted(
        self, store: RunStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(html_pipeline, "_MOST_RUNS", 2)
        graph = pipeline_data([recorded(number, store, run=f"run-{number}") for number in range(5)], "")
        assert [node["name"] for node in graph["nodes"] if node["kind"] == "run"] == ["run-3", "run-4"]
        assert graph["runs_left_out"] == 3

    def test_nothing_is_a_pipeline_too(self, store: RunStore) -> None:
        graph = pipeline_data([], "")
        assert (graph["nodes"], graph["runs_left_out"]) == ([], 0)
