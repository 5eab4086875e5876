"""The benchmarks measure what they say, and page and README show what was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks import page, results, tables, timing
from benchmarks.results import OtherResult, Result
from benchmarks.sections import SECTIONS, pipelines
from benchmarks.timing import Case, CommandFailed, Figure, Row

ROOT = Path(__file__).parents[2]
RESULTS = sorted((ROOT / "benchmarks/results").glob("*.json"))
FIGURE = Figure(median=0.2, low=0.1, high=0.4, rounds=5, peak=20.0)
BARE = Figure(median=0.05, low=0.04, high=0.06, rounds=5)
README = f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n"


@pytest.fixture
def result() -> Result:
    tasks = [
        Row(pipelines.group(count, which), tool, "run", replace(FIGURE, median=0.01 * count), count=count)
        for count in (1, 1000)
        for which in (pipelines.FIRST, pipelines.NOTHING)
        for tool in ("mlbox", "dvc")
    ]
    return Result(
        machine={"cores": 2, "cpu": "CPU", "system": "Linux"},
        versions={"mlcommons-box": "1", "dvc": "3"},
        date="2026-01-01",
        absent={"podman": "no such program"},
        sections={
            "start": [
                Row("Start", "mlbox", "mlbox --version", FIGURE, "python -c pass", BARE),
                Row("Start", "mlflow", "mlflow --version", absent="it fails"),
            ],
            "pipelines": tasks,
        },
        notes={"start": ["Something special."]},
    )


def counted(calls: list[str], name: str) -> Case:
    return Case(name, name, call=lambda: calls.append(name))


def test_each_round_runs_every_command() -> None:
    calls: list[str] = []
    bare = counted(calls, "bare")
    cases = [counted(calls, "ours"), counted(calls, "theirs")]
    for case in cases:
        case.bare = bare
    rows = timing.interleaved("group", cases, rounds=4, seconds=9, limit=9)
    assert calls == ["bare", "ours", "theirs"] * 5  # the first round is not counted
    assert [row.figure and row.figure.rounds for row in rows] == [4, 4]
    assert rows[0].against == "bare"
    assert rows[0].bare == rows[1].bare


def test_a_slow_command_runs_less_often_and_its_rounds_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    cases = [counted(calls, "quick"), counted(calls, "slow")]
    cost = {"quick": 0.001, "slow": 2.0}

    def once(case: Case, limit: float) -> tuple[float, float | None]:
        calls.append(case.tool)
        return cost[case.tool], 1.0

    monkeypatch.setattr(Case, "once", once)
    rows = timing.interleaved("group", cases, rounds=9, seconds=6, limit=9)
    assert [row.figure and row.figure.rounds for row in rows] == [9, 3]
    assert "".join(call[0] for call in calls[2:]) == "qs" + "qq" + "qs" + "qq" + "qs" + "qq"


def test_what_fails_has_a_reason_and_no_figure() -> None:
    def fail() -> None:
        raise CommandFailed("no such image")

    (row,) = timing.interleaved("group", [Case("tool", "run", call=fail)], rounds=2, seconds=1, limit=1)
    assert (row.figure, row.absent) == (None, "no such image")
    assert "absent: no such image" in tables.table([row])


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("\x1b[1;30mINFO\x1b[0m begun\nError: keep-id is refused\nstatus is failed\n", "Error: keep-id is refused"),
        ("Traceback:\n  raise\nRuntimeError: no /tmp/mlbox-1/some/file here\n", "RuntimeError: no .../file here"),
        ("ERROR: cannot fetch https://host.example.org/simple/\n", "ERROR: cannot fetch URL"),
        ("one\ntwo\n", "two"),
        ("", "it fails and says nothing"),
    ],
)
def test_why_a_command_failed_is_told_without_places(said: str, reason: str) -> None:
    assert timing.last_words(said) == reason


def test_a_result_is_read_as_it_was_written(result: Result, tmp_path: Path) -> None:
    results.write(result, tmp_path / "result.json")
    assert results.read(tmp_path / "result.json") == result
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]


def test_results_of_one_machine_and_version_are_joined(result: Result) -> None:
    former = Result(result.machine, {**result.versions, "mlflow": "2"}, "2025-12-31")
    former.sections = {"start": [], "sync": [Row("group", "mlbox", "sync", FIGURE)]}
    result.take(former)
    assert [*result.in_order(SECTIONS).sections] == ["start", "pipelines", "sync"]
    assert len(result.rows("start")) == 2
    assert result.versions["mlflow"] == "2"


@pytest.mark.parametrize("changed", [{"machine": {"cores": 4}}, {"versions": {"dvc": "4"}}])
def test_results_of_others_are_refused(result: Result, changed: dict[str, dict[str, object]]) -> None:
    with pytest.raises(OtherResult, match="cores" if "machine" in changed else "dvc"):
        result.take(replace(result, **changed))  # type: ignore[arg-type]


def test_a_pipeline_that_would_take_too_long_is_left_out_with_the_reason() -> None:
    assert pipelines.too_long((100, 20.0), 1000, 300) == ""
    assert "100 took 40.0 s, so it would be some 400 s" in pipelines.too_long((100, 40.0), 1000, 300)
    assert pipelines.too_long((1000, 300), 10000, 300) == "left out: 1000 were not done in 300 s"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0012, "1.20 ms"), (0.0153, "15.3 ms"), (0.15, "150 ms"), (2.06, "2.1 s"), (280, "280 s")],
)
def test_times_have_the_unit_that_suits(value: float, text: str) -> None:
    assert tables.seconds(value) == text


def test_a_page_shows_every_section_and_what_is_absent(result: Result) -> None:
    made = page.pages(result, "result.json", README)
    text = made[page.PAGE]
    for name in result.sections:
        assert f"## {SECTIONS[name].TITLE}\n" in text
    for part in ("| 200 ms |", "absent: it fails", "Something special.", "- podman: no such program"):
        assert part in text
    assert made["README.md"].startswith(f"before\n{page.BEGIN}\n\n| ")
    assert made["README.md"].endswith(f"{page.END}\nafter\n")
    assert page.pages(result, "result.json", made["README.md"])["README.md"] == made["README.md"]
    pictures = [name for name in made if name.endswith(".svg")]
    assert all(f"(../images/{Path(name).name})" in text for name in pictures)
    assert pictures != []


def test_there_is_one_result_and_all_of_it_is_measured_or_explained() -> None:
    (file,) = RESULTS
    found = results.read(file)
    assert [*found.sections] == [*SECTIONS]
    for rows in found.sections.values():
        for row in rows:
            assert (row.figure is None) == bool(row.absent), row
    assert str(Path.home()) not in file.read_text("utf-8")
    assert json.loads(file.read_text("utf-8"))["machine"]["cpu"]


def test_page_pictures_and_readme_agree_with_the_result() -> None:
    (file,) = RESULTS
    readme = (ROOT / "README.md").read_text("utf-8")
    for name, text in page.pages(results.read(file), f"benchmarks/results/{file.name}", readme).items():
        assert (ROOT / name).read_text("utf-8") == text, f"python -m benchmarks.page benchmarks/results/{file.name}"
