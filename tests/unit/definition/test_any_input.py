from __future__ import annotations

import json
import re
from pathlib import Path
from unicodedata import combining, east_asian_width

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mlcommons_box.definition.file_kinds import PLATFORM_TYPES, check_file
from mlcommons_box.definition.problems import Problems
from mlcommons_box.definition.source import parse_source, read_source
from mlcommons_box.errors import Location, Problem
from mlcommons_box.report.problems import problem_json, problem_text
from tests.unit.definition.definition_corpus import KINDS, VALID, single_files
from tests.unit.definition.hypothesis_settings import quick_or_thorough

COLOURS = re.compile(r"\x1b\[(?:3[14];1|1|0)m")
TEXTS = [file.read_bytes() for file in single_files(VALID)]
KEYS = sorted({key.decode() for text in TEXTS for key in re.findall(rb"\b[a-z_]+(?=:)", text)})

any_bytes = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda text, more, place: text[:place] + more + text[place:],
        st.sampled_from(TEXTS),
        st.binary(max_size=4),
        st.integers(0, 300),
    ),
)
yaml_like = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *"\n :-?[]{},#&*!|>'\"%@`~<\\\t\r\0",
                "\n  ",
                ": ",
                "- ",
                "---\n",
                "...\n",
                "&a ",
                "*a",
                "!!str ",
                "<<: ",
                "\\x00",
                "\x85",
                "\u2028",
                "\ufeff",
                "1.0.0",
                "é",
                "🐍",
            ]
        ),
        st.sampled_from([*KEYS, *KINDS]),
    ),
    max_size=60,
).map("".join)
structures = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(KINDS)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=5)), inner, max_size=6),
    ),
    max_leaves=20,
)


@st.composite
def definitions(draw: st.DrawFn) -> str:
    """Any structure below the header of a definition file."""
    body = draw(st.dictionaries(st.sampled_from(KEYS), structures, max_size=6))
    header = {
        "schema_type": draw(st.sampled_from(KINDS)),
        "schema_version": draw(st.sampled_from(["1.0.0", "1.1.0"])),
    }
    return yaml.safe_dump({**body, **header}, sort_keys=False, allow_unicode=draw(st.booleans()))


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A valid file of which a slice was deleted, doubled or replaced."""
    text = draw(st.sampled_from(TEXTS))
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 40)))
    part = text[start:end]
    other = draw(
        st.sampled_from([b"", part * 2, part[::-1], b"\n", b" ", b"\t", b": ", b"[", b'"', b"*a", b"\xff"])
    )
    return text[:start] + other + text[end:]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for a file that is written again and again."""
    return tmp_path_factory.mktemp("any") / "a.yaml"


def check_as_every_kind(text: str) -> None:
    """Check a text as a file of each kind: all of it is either right, or has problems that can be shown."""
    before = Problems()
    node = parse_source(text, "a.yaml", before)
    assert node or before
    for problem in before:
        assert_showable(problem)
    if node is None:
        return
    for kinds in (*((kind,) for kind in KINDS), PLATFORM_TYPES):
        problems = Problems()
        checked = check_file(node, kinds, problems)
        assert (checked is None) == bool(problems)
        for problem in problems:
            assert_showable(problem)


def assert_showable(problem: Problem) -> None:
    lines = problem_text(problem).split("\n")
    assert all(line.isprintable() for line in lines)
    coloured = problem_text(problem, colour=True)
    assert COLOURS.sub("", coloured).split("\n") == lines
    for number, line in enumerate(lines):
        if re.fullmatch(r" *\| *\^+", line):
            assert cells(line) <= cells(lines[number - 1]) + 1
    place = problem.location
    if place and place.line:
        assert 1 <= place.column <= len(place.text) + 1
    json.dumps(problem_json(problem))


def cells(text: str) -> int:
    """Columns of a terminal."""
    return sum(0 if combining(each) else 2 if east_asian_width(each) in "WF" else 1 for each in text)


@quick_or_thorough(400)
@given(data=any_bytes)
def test_any_bytes_are_a_node_or_a_problem(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    problems = Problems()

    node = read_source(file, problems)

    assert node or problems
    for problem in problems:
        assert_showable(problem)


@quick_or_thorough(300)
@given(text=yaml_like)
def test_any_text_that_looks_like_yaml_is_checked(text: str) -> None:
    check_as_every_kind(text)


@quick_or_thorough(100)
@given(text=st.text(max_size=100))
def test_any_text_is_checked(text: str) -> None:
    check_as_every_kind(text)


@quick_or_thorough(150)
@given(structure=structures)
def test_any_structure_is_checked(structure: object) -> None:
    check_as_every_kind(yaml.safe_dump(structure))


@quick_or_thorough(150)
@given(text=definitions())
def test_any_structure_below_a_right_header_is_checked(text: str) -> None:
    check_as_every_kind(text)


@quick_or_thorough(400)
@given(data=mutations())
def test_any_slip_in_a_valid_file_is_checked(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    problems = Problems()
    node = read_source(file, problems)
    assert node or problems
    for problem in problems:
        assert_showable(problem)
    if node:
        for kind in KINDS:
            check_file(node, (kind,), problems)
    for problem in problems:
        assert_showable(problem)


characters = st.one_of(st.text(max_size=130), st.text("ab山é\u0301🐍\t\x1b\u202e \n", max_size=130))


@quick_or_thorough(400)
@given(
    message=characters,
    hint=st.one_of(st.none(), characters, characters.map("did you mean ".__add__)),
    file_name=characters,
    line=characters.map(lambda text: text.replace("\n", "")),
    column=st.integers(1, 131),
    length=st.integers(1, 200),
)
def test_any_problem_can_be_shown(
    message: str, hint: str | None, file_name: str, line: str, column: int, length: int
) -> None:
    place = Location(file=file_name, line=7, column=min(column, len(line) + 1), length=length, text=line)
    assert_showable(Problem(code="any", message=message, location=place, hint=hint))
    assert_showable(Problem(code="any", message=message, hint=hint))
