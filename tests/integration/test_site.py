"""The documents as a site: built without a warning, every link leads somewhere, nobody is asked for anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.conftest import REPOSITORY
from tests.integration.chromium import Chromium

MKDOCS = Path(sys.executable).parent / "mkdocs"
QUIET = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
SIZES = {"desktop": (1440, 900), "phone": (390, 844)}
PAGES = ("index.html", "guides/slurm.html", "reference/definition-files.html")


def build(root: Path, target: Path) -> subprocess.CompletedProcess[str]:
    # Not with --quiet, which takes warnings for nothing.
    command = [str(MKDOCS), "build", "--strict", "--site-dir", str(target)]
    return subprocess.run(command, cwd=root, env=QUIET, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site") / "site"
    result = build(REPOSITORY, target)
    assert result.returncode == 0, result.stderr
    assert "WARNING" not in result.stderr
    return target


class Page(HTMLParser):
    """What a page links to, what it loads, and what can be linked to in it."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(file.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value}
        self.anchors.update(value for name, value in given.items() if name == "id" or (tag, name) == ("a", "name"))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            self.loads.append(given["href"])
        if "src" in given:
            self.loads.append(given["src"])


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {file: Page(file) for file in site.rglob("*.html") if file.name != "404.html"}


# ---- What is built -------------------------------------------------------------------------------


def test_every_document_is_a_page(site: Path, pages: dict[Path, Page]) -> None:
    documents = (REPOSITORY / "docs").rglob("*.md")
    expected = {file.relative_to(REPOSITORY / "docs").with_suffix(".html") for file in documents}
    assert {file.relative_to(site) for file in pages} == expected


def test_every_link_leads_somewhere(pages: dict[Path, Page]) -> None:
    for file, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                assert parts.scheme == "https", f"{file}: {link}"
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{file}: {link}"
            known = pages[target].anchors if target in pages else set()
            assert not parts.fragment or unquote(parts.fragment) in known, f"{file}: {link}"


def test_what_a_page_needs_is_in_the_site(site: Path, pages: dict[Path, Page]) -> None:
    for file, page in pages.items():
        for address in page.loads:
            parts = urlsplit(address)
            assert not parts.scheme, f"{file}: {address}"
            assert not parts.netloc, f"{file}: {address}"
            assert (file.parent / unquote(parts.path)).resolve().is_file(), f"{file}: {address}"
    for sheet in site.rglob("*.css"):
        for address in re.findall(r"url\(\s*[\"']?([^\"')]+)", sheet.read_text("utf-8")):
            assert address.startswith(("data:", "#", ".")), f"{sheet}: {address}"
        assert "@import" not in sheet.read_text("utf-8"), sheet


def test_a_mistake_fails_the_build(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "docs", tmp_path / "docs")
    shutil.copy(REPOSITORY / "mkdocs.yml", tmp_path)
    (tmp_path / "docs" / "nobody.md").write_text("# Nobody leads here\n", "utf-8")
    with (tmp_path / "docs" / "index.md").open("a", encoding="utf-8") as index:
        index.write("[file](no-such-file.md) [part](concepts/boxes.md#no-such-part)\n")
    result = build(tmp_path, tmp_path / "site")
    assert result.returncode == 1
    for mistake in ("nobody.md", "no-such-file.md", "no-such-part"):
        assert mistake in result.stderr


def test_the_reference_is_up_to_date() -> None:
    """What is made of JSON Schemas, ``--help`` and docstrings; ``make reference`` renews it."""
    command = [sys.executable, str(REPOSITORY / "tools/update_reference.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{result.stdout}{result.stderr}run 'make reference'"


# ---- In a browser --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with Chromium() as browser:
        yield browser


@pytest.fixture
def opened(browser: Chromium, site: Path) -> Iterator[Chromium]:
    """The browser, which reads the site from the disk; nothing goes wrong, and nobody else is asked."""
    browser.requests.clear()
    browser.complaints.clear()
    yield browser
    allowed = ("data:", "about:", f"{site.as_uri()}/")
    assert [url for url in browser.requests if not url.startswith(allowed)] == []
    assert browser.complaints == []


def show(browser: Chromium, file: Path) -> None:
    browser.call("Page.navigate", url="about:blank")
    browser.call("Page.navigate", url=file.as_uri())
    browser.wait("document.readyState === 'complete' && document.querySelector('h1') !== null")


@pytest.mark.engine("chromium")
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_a_page_fits_every_window(opened: Chromium, site: Path, page: str, size: str, is_dark: bool) -> None:
    width, height = SIZES[size]
    opened.window(width, height, is_dark=is_dark)
    show(opened, site / page)
    assert opened.value("document.documentElement.scrollWidth") <= width
    assert opened.value("document.body.dataset.mdColorScheme") == ("slate" if is_dark else "default")
    assert opened.value("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    overflows = "[...document.querySelectorAll('article > *')].filter((part) => part.scrollWidth > innerWidth)"
    assert opened.value(f"{overflows}.filter((part) => getComputedStyle(part).overflowX === 'visible').length") == 0


@pytest.mark.engine("chromium")
def test_the_home_page_says_what_it_is_and_shows_it(opened: Chromium, site: Path) -> None:
    opened.window(*SIZES["desktop"])
    show(opened, site / "index.html")
    text = opened.value("document.querySelector('article').innerText")
    for expected in ("is a directory with a machine-learning workload", "make demo", "make test"):
        assert expected in text
    assert opened.value("document.querySelector('article img').getAttribute('src')") == "images/run.svg"
    assert opened.value("document.querySelector('article img').getBoundingClientRect().top") < SIZES["desktop"][1]


@pytest.mark.engine("chromium")
def test_the_search_needs_no_server(opened: Chromium, site: Path) -> None:
    opened.window(*SIZES["desktop"])
    show(opened, site / PAGES[1])
    opened.value("document.querySelector('.md-search__input').focus()")
    opened.type("job array")
    opened.wait("document.querySelectorAll('.md-search-result__item').length > 0")
    found = opened.value(
        "[...document.querySelectorAll('.md-search-result__item a')].map((a) => a.href.replace(/[?#].*/, ''))"
    )
    assert (site / "guides/slurm.html").as_uri() in found


@pytest.mark.engine("chromium")
def test_commands_are_copied_without_what_they_print(opened: Chromium, site: Path) -> None:
    opened.window(*SIZES["desktop"])
    show(opened, site / "guides/errors.html")
    block = "document.querySelector('.highlight code')"
    assert "error: unknown key 'ouputs'" in opened.value(f"{block}.innerText")
    opened.value(f"{block}.setAttribute('data-md-copying', '')")
    copied = opened.value(f"{block}.innerText")
    assert copied.split("\n")[0].strip() == "mlbox init hello"
    assert "error:" not in copied
    assert "$" not in re.sub(r"'s.*?'", "", copied)
