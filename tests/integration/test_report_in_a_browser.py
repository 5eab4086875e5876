"""The report in a real browser without a network: it shows everything, asks nobody, and can be worked by keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlcommons_box.run_store import RunStore
from tests.integration.chromium import Chromium
from tests.integration.test_command_line import mlbox
from tests.recorded_runs import HOSTILE, hostile, parameter, put, recorded, trial, with_steps

pytestmark = pytest.mark.engine("chromium")
WIDE, PHONE = (1440, 900), (390, 844)
VIEWS = ("overview", "curves", "sweeps", "pipeline")


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with Chromium() as browser:
        yield browser


@pytest.fixture(autouse=True)
def _nothing_is_asked_for_and_nothing_goes_wrong(browser: Chromium) -> Iterator[None]:
    browser.requests.clear()
    browser.complaints.clear()
    yield
    assert [url for url in browser.requests if not url.startswith(("file:", "data:,", "about:"))] == []
    assert len({url.partition("#")[0] for url in browser.requests if url.startswith("file:")}) <= 1
    assert browser.complaints == []


def made(workspace: Path, target: Path) -> Path:
    result = mlbox("report", "--workspace", workspace, "-o", target)
    assert result.returncode == 0, result.stderr
    return target


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty runs, half of them trials, and one of a stranger."""
    directory = tmp_path_factory.mktemp("report")
    store = RunStore(directory / "workspace")
    failed = recorded(7, store, status="failed", exit_status=3, reason="it ran out of words", metrics={})
    put(store, failed, "stderr.log", "the last words\n")
    records = [with_steps(store, recorded(number, store), 20) for number in range(7)]
    records += [
        failed,
        *(with_steps(store, trial(number, store), 5) for number in range(8, 20)),
        hostile(20, store),
    ]
    store.write(*records)
    return made(store.workspace, directory / "report.html")


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    ("size", "is_dark"), [(WIDE, False), (WIDE, True), (PHONE, False)], ids=["wide", "dark", "phone"]
)
def test_every_view_fits_every_window(
    browser: Chromium, report: Path, view: str, size: tuple[int, int], is_dark: bool
) -> None:
    browser.window(*size, is_dark=is_dark)
    browser.open(report, view)
    assert browser.value("document.documentElement.scrollWidth") <= size[0]
    assert browser.value("document.querySelector('nav a[aria-current]').hash") == f"#{view}"
    ground = browser.value("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(16, 21, 28)") is is_dark


def drawn(browser: Chromium, selector: str) -> None:
    """Wait until there is something in a chart: a pixel that is not empty."""
    browser.wait(
        f"""(() => {{
          const canvas = document.querySelector({selector!r} + " canvas");
          if (!canvas || !canvas.width) return false;
          const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
          return pixels.some((value) => value !== 0);
        }})()"""
    )


@pytest.mark.parametrize("view", ["overview", "curves"])
def test_the_charts_are_drawn(browser: Chromium, report: Path, view: str) -> None:
    browser.window(*WIDE)
    browser.open(report, view)
    drawn(browser, ".chart")


SHOWN = (
    "[...document.querySelectorAll('table.runs tbody tr')].map((row) => row.querySelector('.of-id').textContent)"
)


def test_the_table_is_sorted_and_filtered_by_keys_alone(browser: Chromium, report: Path) -> None:
    browser.window(*WIDE)
    browser.open(report)
    assert browser.value(f"{SHOWN}.length") == 21
    newest = browser.value(SHOWN)

    browser.value("document.querySelector('[data-sort=started]').focus()")
    browser.press("Enter")
    assert browser.value(SHOWN) == newest[::-1]
    assert browser.value("document.activeElement.dataset.sort") == "started"  # and again, without looking for it
    assert browser.value("document.activeElement.parentNode.ariaSort") == "ascending"

    browser.value("document.querySelector('[data-sort=\"metric:accuracy\"]').focus()")
    browser.press("Enter")
    values = browser.value(
        "[...document.querySelectorAll('table.runs td[data-label=accuracy]')].map((cell) => cell.textContent)"
    )
    numbers = [float(value) for value in values if value]
    assert numbers[0] == 0.99
    assert numbers == sorted(numbers, reverse=True)
    assert values[len(numbers) :] == ["", ""]  # those without a value come last

    browser.value("document.querySelector('#filter').focus()")
    browser.type("accuracy>0.515 adam")
    assert browser.value("document.querySelector('.count').textContent") == "3 of 21 runs"
    browser.value("document.querySelector('#filter').select()")
    browser.type("out of words")
    assert browser.value(f"{SHOWN}.length") == 1


def test_a_status_filters(browser: Chromium, report: Path) -> None:
    browser.window(*PHONE)
    browser.open(report)
    browser.value("document.querySelector('.chip.failed').click()")
    assert browser.value("document.querySelector('.count').textContent") == "2 of 21 runs"
    assert browser.value("document.querySelector('.chip.failed').ariaPressed") == "true"


def test_the_best_trial_is_marked(browser: Chromium, report: Path) -> None:
    browser.window(*WIDE)
    browser.open(report, "sweeps")
    browser.value(
        "(() => { const select = document.querySelector('.field select');"
        "select.value = 's1'; select.dispatchEvent(new Event('change')); })()"
    )
    assert browser.value("document.querySelector('tr.best').textContent").startswith("★ #10 ")
    assert "rate = 1" in browser.value("document.querySelector('.tile.best').textContent")
    drawn(browser, ".chart")


def test_the_page_of_a_run_has_everything(browser: Chromium, report: Path) -> None:
    browser.window(*WIDE)
    browser.open(report)
    browser.value("document.querySelector('#filter').focus()")
    browser.type("out of words")
    browser.value("document.querySelector('td.of-run a').click()")
    browser.wait("document.querySelector('h1').textContent === 'train'")
    text = browser.value("document.querySelector('main').innerText")
    for expected in (
        "it ran out of words",
        "the last words",
        "docker run digits train",
        "settings.json",
        "THREADS",
        "***",
        "registry.example:5000/digits:1.0",
        "c" * 40,
        "117.7 MiB",
        "2.0 GiB",
        "rate",
    ):
        assert expected in text
    browser.value("document.querySelector('main > details summary').click()")
    browser.wait("document.querySelector('main > details pre')?.textContent.includes('\"exit_status\": 3')")
    browser.value("history.back()")
    browser.wait("document.querySelector('table.runs') !== null")


def test_a_stranger_s_words_are_words(browser: Chromium, report: Path) -> None:
    browser.window(*WIDE)
    browser.open(report)
    browser.value(
        "[...document.querySelectorAll('td.of-run a')].find((link) => link.textContent.includes('<img')).click()"
    )
    browser.wait("document.querySelector('h1').textContent.includes('<img')")
    assert browser.value("document.querySelector('h1').textContent") == HOSTILE
    assert browser.value("document.querySelectorAll('img, main script, iframe').length") == 0


def test_a_thousand_runs_are_no_matter(browser: Chromium, tmp_path: Path) -> None:
    store = RunStore(tmp_path / "workspace")
    store.write(*(with_steps(store, trial(number, store), 30) for number in range(1000)))
    file = made(store.workspace, tmp_path / "report.html")
    assert file.stat().st_size < 5_000_000
    browser.window(*WIDE)
    browser.open(file)
    assert browser.value(f"{SHOWN}.length") == 100
    browser.value("document.querySelector('button.more').click()")
    assert browser.value(f"{SHOWN}.length") == 300
    for view in VIEWS[1:]:
        browser.value(f"location.hash = {view!r}")
        browser.wait(f"document.querySelector('nav a[aria-current]').hash === '#{view}'")


def test_no_runs_are_a_report_too(browser: Chromium, tmp_path: Path) -> None:
    (tmp_path / "workspace").mkdir()
    file = made(tmp_path / "workspace", tmp_path / "report.html")
    browser.window(*PHONE)
    browser.open(file)
    assert "There are no runs yet" in browser.value("document.querySelector('main').innerText")


MAIN = "document.getElementById('main').textContent"


def test_what_is_left_out_is_said(browser: Chromium, tmp_path: Path) -> None:
    """A record that is too large for a page: its numbers say what they do not show."""
    store = RunStore(tmp_path / "workspace")
    large = recorded(
        1,
        store,
        metrics={f"metric-{number:03}": number for number in range(201)},
        machine={"entries": list(range(501))},
        plan={"parameters": [parameter(f"p-{number:03}", "input", store.workspace) for number in range(502)]},
    )
    steps = "".join(
        json.dumps({f"curve-{number:02}": number + step for number in range(26)}) + "\n" for step in range(3)
    )
    put(store, large, "metrics.jsonl", steps)
    records = [with_steps(store, recorded(2 + number, store, run=f"run-{number:03}"), 3) for number in range(210)]
    store.write(large, *records)
    page = made(store.workspace, tmp_path / "report.html")
    browser.open(page, f"run/{large.id}")
    text = browser.value(MAIN)
    for said in ("1 metric more", "… (1 more)", "… (2 more)", "12 metrics more: see", "2 metrics more: left out"):
        assert said in text, said
    browser.open(page, "pipeline")
    assert "Left out: 61 run configurations" in browser.value(MAIN)
    browser.open(page, "curves")
    browser.wait(f"{MAIN}.includes('and 11 more: find them by a word')")
    browser.value(
        "[...document.querySelectorAll('button')].find((each) => each.textContent.startsWith('all')).click()"
    )
    assert "Choose" not in browser.value(MAIN)
    browser.value("document.querySelectorAll('.pick input:not(:checked)')[0].click()")
    assert "Of the 31 runs that are chosen, the newest 30 are drawn." in browser.value(MAIN)
