from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from mlcommons_box.errors import EX_DEFINITION, EX_MISSING_INPUT, Location, Problem
from mlcommons_box.report.problems import (
    counted,
    one_line,
    place_text,
    problem_json,
    problem_text,
    shown,
    summary,
)


def problem(
    message: str = "wrong", *, line: str, column: int, length: int = 1, hint: str | None = None, number: int = 14
) -> Problem:
    place = Location(file="tasks/train.yaml", line=number, column=column, length=length, text=line)
    return Problem(code="any", message=message, hint=hint, location=place)


def rendered(each: Problem) -> str:
    return problem_text(each) + "\n"


def excerpt(line: str, column: int, length: int = 1) -> list[str]:
    """The line and the marks below it, as they are shown."""
    lines = problem_text(problem(line=line, column=column, length=length)).split("\n")
    return [shown_line.partition("| ")[2] for shown_line in lines[3:]]


def test_an_unknown_key_is_shown_with_its_place_and_what_was_meant() -> None:
    each = problem("unknown key 'ouputs'", line="ouputs:", column=1, length=6, hint="did you mean 'outputs'?")

    assert rendered(each) == dedent("""\
        error: unknown key 'ouputs'; did you mean 'outputs'?
           --> tasks/train.yaml:14:1
           |
        14 | ouputs:
           | ^^^^^^
        """)


def test_another_hint_has_its_own_line() -> None:
    each = problem(
        "expected a list, found nothing", line="inputs:", column=8, hint="write [] when there are none", number=4
    )

    assert rendered(each) == dedent("""\
        error: expected a list, found nothing
          --> tasks/train.yaml:4:8
          |
        4 | inputs:
          |        ^
          = help: write [] when there are none
        """)


def test_a_whole_file_is_shown_by_its_name() -> None:
    place = Location(file="tasks/train.yaml")
    each = Problem(code="empty-file", message="the file is empty", location=place, hint="write it")

    assert rendered(each) == dedent("""\
        error: the file is empty
         --> tasks/train.yaml
         = help: write it
        """)


def test_a_problem_without_a_place_is_its_message() -> None:
    assert rendered(Problem(code="any", message="nothing works")) == "error: nothing works\n"
    assert rendered(Problem(code="any", message="nothing works", hint="give up")) == dedent("""\
        error: nothing works
         = help: give up
        """)


def test_colours_mark_the_error_and_the_frame() -> None:
    red, blue, bold, end = "\x1b[31;1m", "\x1b[34;1m", "\x1b[1m", "\x1b[0m"
    each = problem("wrong", line="a: b", column=4, hint="do it", number=2)

    assert problem_text(each, colour=True).split("\n") == [
        f"{red}error{end}{bold}: wrong{end}",
        f"  {blue}-->{end} tasks/train.yaml:2:4",
        f"  {blue}|{end}",
        f"{blue}2{end} {blue}|{end} a: b",
        f"  {blue}|{end} {red}   ^{end}",
        f"  {blue}={end} help: do it",
    ]


@pytest.mark.parametrize(
    ("line", "column", "length", "expected"),
    [
        ("\tname: a", 2, 4, [" name: a", " ^^^^"]),  # a tab is one column wide
        ("a\tb", 2, 1, ["a b", " ^"]),
        ("名前: 値", 1, 2, ["名前: 値", "^^^^"]),  # East Asian characters are two columns wide
        ("名前: 値", 5, 1, ["名前: 値", "      ^^"]),
        ("e\u0301a: b", 3, 1, ["e\u0301a: b", " ^"]),  # a combining accent has no width
        ("é: 🐍x", 5, 1, ["é: 🐍x", "     ^"]),
        ("a\x1b[1mb", 2, 1, ["a\\x1b[1mb", " ^^^^"]),  # an escape is as wide as it is shown
        ("a\u202eb", 3, 1, ["a\\u202eb", "       ^"]),
        ("", 1, 1, ["", "^"]),
        ("a:", 3, 1, ["a:", "  ^"]),  # the end of a line
        ("a:  ", 3, 1, ["a: ", "  ^"]),  # the blank that is marked stays
        ("a: b   ", 4, 1, ["a: b", "   ^"]),
        ("a: b", 4, 99, ["a: b", "   ^"]),  # the marks end with the line
    ],
)
def test_the_marks_stand_below_what_they_mark(line: str, column: int, length: int, expected: list[str]) -> None:
    assert excerpt(line, column, length) == expected


def test_of_a_long_line_the_part_around_the_place_is_shown() -> None:
    line = "a" * 150 + "X" * 3 + "b" * 150

    assert excerpt(line, 151, 3) == ["a" * 50 + "XXX" + "b" * 47, " " * 50 + "^^^"]
    assert excerpt(line, 1, 1) == ["a" * 100, "^"]
    assert excerpt(line, 303, 1) == ["b" * 51, " " * 50 + "^"]
    assert excerpt(line, 151, 200) == ["a" * 50 + "XXX" + "b" * 47, " " * 50 + "^" * 50]


def test_a_line_of_a_hundred_characters_is_shown_whole() -> None:
    assert excerpt("a" * 100, 100) == ["a" * 100, " " * 99 + "^"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain é 山 🐍", "plain é 山 🐍"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b", "\\x9b"),
        ("\u202e\u2066\u200b", "\\u202e\\u2066\\u200b"),
        ("\U000e0041", "\\U000e0041"),
        ("\udcff", "\\udcff"),
        ("\r\t\0", "\\r\\t\\x00"),
        ("one\ntwo", "one\ntwo"),
    ],
)
def test_what_could_steer_a_terminal_is_escaped(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_a_name_stays_on_one_line() -> None:
    assert one_line("a\nb\x1b[0m") == "a\\nb\\x1b[0m"


@pytest.mark.parametrize(("number", "text"), [(0, "0 runs"), (1, "1 run"), (2, "2 runs")])
def test_what_is_counted(number: int, text: str) -> None:
    assert counted(number, "run") == text


def test_a_file_name_cannot_forge_a_line() -> None:
    assert place_text(Location(file="a\nerror: b\x1b[0m")) == "a\\nerror: b\\x1b[0m"


def test_a_place_below_the_current_directory_is_shown_relative_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert place_text(Location(file=f"{tmp_path}/a.yaml", line=3, column=5)) == "a.yaml:3:5"
    assert place_text(Location(file=f"{tmp_path}-2/a.yaml", line=3, column=5)) == f"{tmp_path}-2/a.yaml:3:5"
    assert place_text(Location(file=str(tmp_path))) == str(tmp_path)


def test_a_problem_as_data_has_the_span_of_its_place() -> None:
    place = Location(file="a.yaml", line=3, column=5, length=4, text="a: [true]")

    assert problem_json(Problem(code="wrong-type", message="m", hint="h", location=place)) == {
        "code": "wrong-type",
        "message": "m",
        "hint": "h",
        "file": "a.yaml",
        "line": 3,
        "column": 5,
        "end_column": 9,
        "exit_status": EX_DEFINITION,
    }


def test_as_data_a_whole_file_has_no_line_and_no_place_has_no_file() -> None:
    whole = problem_json(Problem(code="a", message="m", location=Location(file="a.yaml")))
    nowhere = problem_json(Problem(code="a", message="m", exit_status=EX_MISSING_INPUT))

    assert [whole[key] for key in ("file", "line", "column", "end_column")] == ["a.yaml", None, None, None]
    assert [nowhere[key] for key in ("file", "line", "column", "end_column")] == [None, None, None, None]
    assert nowhere["exit_status"] == EX_MISSING_INPUT


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["a"], "1 problem in 1 file"),
        (["a", "a"], "2 problems in 1 file"),
        (["a", "b", "a"], "3 problems in 2 files"),
        ([None], "1 problem"),
        ([None, "a"], "2 problems in 1 file"),
    ],
)
def test_the_summary_counts_problems_and_files(files: list[str | None], expected: str) -> None:
    problems = [Problem(code="a", message="m", location=Location(file=file) if file else None) for file in files]

    assert summary(problems) == expected
