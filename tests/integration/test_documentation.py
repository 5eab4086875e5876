"""The documents are true: what they show is run, what they link to exists, what they list is all there is.

A document is read from top to bottom.  A fenced block with a ``title`` is written to the file of that name.  In a
``console`` block every line that begins with ``$ `` is run, and the lines below it are what it has to print:

- ``...`` on a line of its own stands for any lines, within a line for any text;
- a number with a decimal point stands for any such number, because it was measured;
- ``/home/ada`` stands for the directory in which the document is run.

A command that is shown to print an error (or, as JSON, ``"valid": false``) has to fail, any other has to succeed.
``echo $?`` shows the status.  Blocks of any other kind are not run.

Before a block there may be a comment of its own:

- ``<!-- engine: docker -->``: it needs these engines, named as in ``tests/engines.py``.  Each set of engines that a
  document names is a test of its own, which runs the blocks that need no engine and those that need no other one.
- ``<!-- not run: REASON -->``: it cannot be run everywhere, such as a download.  What it shows was tried by hand.
- ``<!-- wrong on purpose -->``: the definition file in it has mistakes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlcommons_box import errors
from mlcommons_box.definition import file_kinds
from mlcommons_box.definition.files import read_kind
from mlcommons_box.definition.platforms import read_platform
from mlcommons_box.definition.problems import Problems
from mlcommons_box.definition.rules import version_text
from mlcommons_box.errors import ProblemsError
from tests import engines

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
HOME = "/home/ada"
MEASURED = r"(?<![\d.])\d+\.\d+(?![\d.])"
TOOK = r"(?<![\d.])\d+\.\d+ s\b"
"""A time; what takes a minute or more on a busy machine is shown in another form."""
WRONG = "<!-- wrong on purpose -->"
NEEDS = re.compile(r"<!-- engine: ([a-z-]+(?: [a-z-]+)*) -->")
NOT_RUN = re.compile(r"<!-- not run: \S.* -->")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block; the comment before it says that it shows a mistake, needs engines, or is not run."""

    language: str
    title: str | None
    text: str
    line: int
    comment: str

    @property
    def wrong(self) -> bool:
        return self.comment == WRONG

    @property
    def engines(self) -> frozenset[str]:
        needs = NEEDS.fullmatch(self.comment)
        return frozenset(needs.group(1).split()) if needs else frozenset()

    @property
    def is_run(self) -> bool:
        return not NOT_RUN.fullmatch(self.comment)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(document: Path) -> Iterator[Block]:
    lines = document.read_text("utf-8").splitlines()
    opened: int | None = None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if opened is None:
            opened = number
            continue
        info = lines[opened].removeprefix("```")
        title = re.search(r'title="([^"]+)"', info)
        before = next((text for text in reversed(lines[:opened]) if text), "")
        yield Block(
            language=info.split()[0] if info.split() else "",
            title=title.group(1) if title else None,
            text="".join(f"{text}\n" for text in lines[opened + 1 : number]),
            line=opened + 1,
            comment=before if before.startswith("<!--") else "",
        )
        opened = None
    assert opened is None, f"{document}:{opened}: the block is never closed"


def prose(document: Path) -> str:
    """The text outside of code."""
    text = re.sub(r"^```.*?^```$", "", document.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]+`", "`code`", text)


# ---- Documents are run ---------------------------------------------------------------------------


class Session:
    """A user who follows a document in a directory of their own, next to a checkout with the examples."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.directory = home
        self.status = 0
        self.environment = {
            **os.environ,
            "LC_ALL": "C.UTF-8",  # the order in which files are listed
            "MLCOMMONS_BOX_CACHE": str(home / ".cache" / "mlcommons-box"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        for name in ("MLCOMMONS_BOX_INSTALLER", "CUDA_VISIBLE_DEVICES", "FORCE_COLOR"):
            self.environment.pop(name, None)

    def follow(self, document: Path, available: frozenset[str] = frozenset()) -> None:
        for block in blocks(document):
            if not block.engines <= available or not block.is_run:
                continue
            if block.title:
                target = self.directory / block.title
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(block.text, "utf-8")
            elif block.language == "console":
                for command, shown in exchanges(block.text):
                    self.type(command, shown, f"{relative(document)}, block of line {block.line}")

    def type(self, command: str, shown: list[str], where: str) -> None:
        if command.startswith("cd "):
            self.directory = Path(os.path.normpath(self.directory / command[3:].strip()))
            return
        if command == "echo $?":
            printed, fails = f"{self.status}\n", None
        else:
            printed = self.run(command)
            fails = any(re.match(r'error\b|  "valid": false', line) for line in shown)
        as_shown = re.fullmatch(self.pattern(shown), printed) is not None
        text = "".join(f"{line}\n" for line in shown)
        assert as_shown, (
            f"{where}: '{command}' does not print what is shown\n--- shown\n{text}--- printed\n{printed}"
        )
        as_expected = fails is None or bool(self.status) == fails
        assert as_expected, f"{where}: '{command}' ended with status {self.status}"

    def run(self, command: str) -> str:
        completed = subprocess.run(
            ["bash", "-c", command.replace(HOME, str(self.home))],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=900,
            check=False,
        )
        self.status = completed.returncode
        return "".join(f"{line.rstrip()}\n" for line in completed.stdout.decode().splitlines())

    def pattern(self, shown: list[str]) -> str:
        return "".join(r"(?:.*\n)*?" if line.strip() == "..." else self.line_pattern(line) for line in shown)

    def line_pattern(self, line: str) -> str:
        words = re.split(rf"(\.\.\.|{HOME}|{TOOK}|{MEASURED})", line.rstrip())
        return "".join(map(self.word_pattern, words)) + r"\n"

    def word_pattern(self, word: str) -> str:
        if word == "...":
            return ".*"
        if word == HOME:
            return re.escape(str(self.home))
        if re.fullmatch(TOOK, word):
            return rf"(?:{TOOK}|\d+m \d\ds|\d+h \d\dm)"
        return MEASURED if re.fullmatch(MEASURED, word) else re.escape(word)


def exchanges(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a console block and the lines that are shown below it."""
    command: str | None = None
    shown: list[str] = []
    for line in text.splitlines():
        if command is not None and command.endswith("\\"):
            command = f"{command[:-1].rstrip()} {line.strip()}"
        elif line.startswith("$ "):
            if command is not None:
                yield command, shown
            command, shown = line[2:], []
        else:
            assert command is not None, f"the block does not begin with a command: {line!r}"
            shown.append(line)
    if command is not None:
        yield command, shown


def only_given(folder: str, names: list[str]) -> set[str]:
    """What runs have left in the workspace of an example."""
    given = {"parameters", "names"}
    return {name for name in names if name not in given} if Path(folder).name == "workspace" else set()


def with_commands() -> list[Path]:
    return [path for path in DOCUMENTS if any(block.language == "console" for block in blocks(path))]


def follow(document: Path, home: Path, available: frozenset[str] = frozenset()) -> None:
    checkout = home / "mlcommons-box"
    shutil.copytree(ROOT / "examples", checkout / "examples", ignore=only_given)
    session = Session(home)
    if document.name == "README.md":
        session.directory = checkout
    if "apptainer" in available:  # which knows no other registry on a machine without a network
        for recipe in checkout.glob("examples/*/build/Singularity.recipe"):
            text = recipe.read_text("utf-8")
            recipe.write_text(text.replace(engines.BASE_IMAGE, f"{engines.REGISTRY}/{engines.BASE_IMAGE}"), "utf-8")
    session.follow(document, available)


@pytest.mark.parametrize("document", with_commands(), ids=relative)
def test_what_a_document_shows_happens(document: Path, tmp_path: Path) -> None:
    follow(document, tmp_path)


def with_engines() -> Iterator[tuple[Path, frozenset[str]]]:
    for document in DOCUMENTS:
        for needed in sorted({block.engines for block in blocks(document)} - {frozenset()}, key=sorted):
            yield document, needed


def images(document: Path) -> set[str]:
    """The images that a document's own platform files name."""
    text = "".join(block.text for block in blocks(document) if block.title)
    return set(re.findall(r"^image: (\S+)$", text, re.MULTILINE))


@pytest.fixture
def no_images(request: pytest.FixtureRequest) -> Iterator[None]:
    """The images of a document are not there before it is followed, nor afterwards."""

    def remove() -> None:
        for engine in {"docker", "podman"} & request.getfixturevalue("needed"):
            for image in images(request.getfixturevalue("document")):
                subprocess.run([engine, "rmi", "--force", image], capture_output=True, check=False)

    remove()
    yield
    remove()


@pytest.mark.parametrize(
    ("document", "needed"),
    [
        pytest.param(document, needed, id=f"{relative(document)}-{'-'.join(sorted(needed))}",
                     marks=pytest.mark.engine(*sorted(needed)))
        for document, needed in with_engines()
    ],
)  # fmt: skip
@pytest.mark.usefixtures("no_images")
def test_what_a_document_shows_happens_on_an_engine(document: Path, needed: frozenset[str], tmp_path: Path) -> None:
    follow(document, tmp_path, needed)


def test_the_tutorial_and_the_readme_are_run() -> None:
    assert {"README.md", "docs/getting-started/tutorial.md"} <= set(map(relative, with_commands()))


def test_a_comment_before_a_block_means_something() -> None:
    """A comment that is misspelled would silently change what is run."""
    for document in DOCUMENTS:
        for block in blocks(document):
            known = not block.comment or block.wrong or block.engines or not block.is_run
            assert known, f"{relative(document)}:{block.line}: {block.comment}"
            assert block.engines <= set(engines.PROBES), f"{relative(document)}:{block.line}: {block.comment}"


# ---- Definition files load -----------------------------------------------------------------------


def definitions() -> Iterator[tuple[Path, Block]]:
    for document in DOCUMENTS:
        for block in blocks(document):
            if block.language == "yaml" and re.search(r"^(schema_type|host):", block.text, re.MULTILINE):
                yield document, block


@pytest.mark.parametrize(
    ("document", "block"),
    [pytest.param(*pair, id=f"{relative(pair[0])}-{pair[1].line}") for pair in definitions()],
)
def test_a_definition_file_loads(document: Path, block: Block, tmp_path: Path) -> None:
    file = tmp_path / "definition.yaml"
    file.write_text(block.text, "utf-8")
    problems = Problems()
    checked = read_kind(file, tuple(file_kinds.SCHEMAS), problems)
    if checked and checked[0] not in ("mlbox_root", "mlbox_task", "mlbox_invoke", "mlbox_sweep"):
        read_platform(file, problems)
    if block.wrong:
        return  # shown by the command below it
    assert not problems, f"{document}:{block.line}: {ProblemsError(problems)}: {problems}"


# ---- The reference is complete -------------------------------------------------------------------

REFERENCE = ROOT / "docs" / "reference"


def sections(document: Path) -> dict[str, str]:
    """Text below each heading of the second level."""
    parts = re.split(r"^## (.+)$", document.read_text("utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def help_text(*command: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "mlcommons_box", *command, "--help"],
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_every_command_is_in_the_reference_with_its_help() -> None:
    documented = sections(REFERENCE / "command-line.md")
    commands = re.findall(r"^    ([a-z]+)(?: |$)", help_text(), re.MULTILINE)
    assert {"mlbox", *(f"mlbox {command}" for command in commands)} == {
        n for n in documented if n.startswith("mlbox")
    }
    for command in ([], *([command] for command in commands)):
        name = " ".join(["mlbox", *command])
        found = re.search(r"^```text\n(.*?)^```$", documented[name], re.MULTILINE | re.DOTALL)
        assert found, f"no help below '## {name}'"
        # Where lines are broken depends on the version of Python.
        printed = help_text(*command)
        assert found.group(1).split() == printed.split(), f"'{name} --help' prints\n{printed}"


def test_every_key_of_every_definition_file_is_in_the_reference() -> None:
    documented = sections(REFERENCE / "definition-files.md")
    for name, file in file_kinds.SCHEMAS.items():
        rows = re.findall(r"^\| `([\w.]+)` \| (yes|no) \| [^|]+ \| ([\d.]+) \|", documented[name], re.MULTILINE)
        listed = {key: (required == "yes", since) for key, required, since in rows if "." not in key}
        oldest = min(file.versions)
        expected = {
            field.name: (field.required, version_text(max(field.since, oldest)))
            for field in file.record.fields.values()
        }
        assert listed == expected, name
        assert f"schema_type: {name}\n" in documented[name], f"no example of {name}"


def test_every_exit_status_is_in_the_reference() -> None:
    rows = re.findall(r"^\| (\d+) \|", (REFERENCE / "exit-statuses.md").read_text("utf-8"), re.MULTILINE)
    ours = {value for name, value in vars(errors).items() if name.startswith("EX_")}
    assert ours <= set(map(int, rows))


# ---- Links ---------------------------------------------------------------------------------------


def links(document: Path) -> Iterator[str]:
    text = prose(document)
    yield from re.findall(r"\]\(([^)\s]+)\)", text)
    yield from re.findall(r'(?:src|href)="([^"]+)"', text)


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub and MkDocs make them."""
    text = re.sub(r"^```.*?^```$", "", document.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading.strip().lower())) for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_links_lead_somewhere(document: Path) -> None:
    for link in links(document):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{relative(document)}: {link}"
        assert not anchor or anchor in anchors(target), f"{relative(document)}: {link}"


def test_every_document_is_linked_from_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    assert {path.resolve() for path in DOCUMENTS if path.is_relative_to(index.parent)} - {index.resolve()} <= linked


def test_pictures_need_nothing_from_elsewhere() -> None:
    for picture in (ROOT / "docs").rglob("*.svg"):
        text = picture.read_text("utf-8")
        assert not re.search(r"@import|@font-face|href|<script|<image|url\((?!#)", text), relative(picture)
