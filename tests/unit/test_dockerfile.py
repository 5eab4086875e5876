"""A Dockerfile whose build sees a site's settings is otherwise the same Dockerfile."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcommons_box.runners.dockerfile import SettingsBy, instructions, with_settings
from tests.unit.definition.hypothesis_settings import quick_or_thorough

MOUNT = "--mount=type=secret,id=mlbox_ca_crt,target=/mlbox_site/ca.crt,mode=0444"


def found(text: str) -> list[str]:
    """``number keyword`` of every instruction, lines counted from 0."""
    return [f"{line} {keyword}" for line, keyword in instructions(text)]


def changed(text: str, by: SettingsBy = "secret") -> str:
    """With one variable and one file, and the long words shortened."""
    result = with_settings(text, by, {"PIP_CERT": "/mlbox_site/ca.crt"}, ["ca.crt"])
    return result.replace(MOUNT, "MOUNT").replace("ARG PIP_CERT=/mlbox_site/ca.crt", "SETTINGS")


def test_every_stage_gets_the_variables_and_every_run_the_files() -> None:
    text = """\
ARG VERSION=3.11
FROM python:$VERSION AS build
WORKDIR /src
RUN pip install x
FROM scratch
COPY --from=build /src /src
RUN --network=none --mount=type=cache,target=/c ["/bin/true"]
"""
    assert (
        changed(text)
        == """\
ARG VERSION=3.11
FROM python:$VERSION AS build
SETTINGS
WORKDIR /src
RUN MOUNT pip install x
FROM scratch
SETTINGS
COPY --from=build /src /src
RUN MOUNT --network=none --mount=type=cache,target=/c ["/bin/true"]
"""
    )


def test_a_builder_with_volumes_needs_the_variables_only() -> None:
    assert changed("FROM a\nRUN b\n", "volume") == "FROM a\nSETTINGS\nRUN b\n"


def test_a_builder_without_either_copies_the_files_into_every_stage() -> None:
    copy = "COPY .mlbox_site/ /mlbox_site/\n"
    assert changed("FROM a\nRUN b\nFROM c\n", "copy") == f"FROM a\n{copy}SETTINGS\nRUN b\nFROM c\n{copy}SETTINGS\n"


def test_continued_lines_and_the_comments_and_empty_lines_in_them_are_one_instruction() -> None:
    text = r"""FROM \
    # FROM nothing
    python:3.11
RUN a && \
# RUN comment
    # RUN indented comment

    RUN b && \
FROM c
run \
  d
"""
    assert found(text) == ["0 FROM", "3 RUN", "9 RUN"]
    assert changed(text).splitlines()[:5] == [
        "FROM \\",
        "    # FROM nothing",
        "    python:3.11",
        "SETTINGS",
        "RUN MOUNT a && \\",
    ]
    assert changed(text).splitlines()[-2:] == ["run MOUNT \\", "  d"]


def test_an_escaped_escape_and_a_comment_do_not_go_on() -> None:
    assert found("FROM a\nRUN dir c:\\\\\nRUN b\n# comment \\\nRUN c\n") == ["0 FROM", "1 RUN", "2 RUN", "4 RUN"]
    assert found("FROM a\nRUN b \\ \t\nRUN c\n") == ["0 FROM", "1 RUN"]


def test_a_keyword_may_end_in_the_escape_and_a_line_may_consist_of_it() -> None:
    assert changed("FROM a\nRUN\\\n b\n\\\nRUN c\n") == "FROM a\nSETTINGS\nRUN MOUNT\\\n b\n\\\nRUN MOUNT c\n"


@pytest.mark.parametrize(
    ("directives", "escape"),
    [
        ("# escape=`\n", "`"),
        ("#escape = `\r\n", "`"),
        ("# syntax=docker/dockerfile:1\n# check=skip=all\n# ESCAPE=`\n", "`"),
        ("# escape=\\\n", "\\"),
        ("# a comment\n# escape=`\n", "\\"),
        ("\n# escape=`\n", "\\"),
        ("# other=1\n# escape=`\n", "\\"),
        ("ARG A\n# escape=`\n", "\\"),
    ],
)
def test_the_escape_directive_counts_before_anything_else_only(directives: str, escape: str) -> None:
    other = {"`": "\\", "\\": "`"}[escape]
    text = f"{directives}FROM a\nRUN b {escape}\nRUN c\nRUN d {other}\nRUN e\n"
    first = directives.count("\n")
    expected = [f"{first} FROM", f"{first + 1} RUN", f"{first + 3} RUN", f"{first + 4} RUN"]
    assert [each for each in found(text) if "ARG" not in each] == expected


HEREDOCS = [
    ("RUN <<EOF\nFROM x\nRUN y\nEOF\n", "plain"),
    ("RUN <<EOF\n  EOF\nEOF \nRUN y\nEOF\n", "the end stands alone"),
    ("RUN <<-EOF\n\tRUN y\n\t\tEOF\n", "tabs before the end"),
    ('RUN <<-"EOF"\n\tRUN y\n\tEOF\n', "quoted"),
    ("RUN <<'E-O.F'\nRUN y\nE-O.F\n", "any word"),
    ("COPY <<a <<b /\nRUN y\na\nRUN z\nb\n", "several"),
    ("ADD 3<<a /\nRUN y\na\n", "with a number"),
    ("RUN --mount=type=cache,target=/c <<EOF cat > /x\nRUN y\nEOF\n", "after flags"),
    ("RUN one && \\\n  cat <<EOF > /x\nRUN y\nEOF\n", "in a continued line"),
    ("RUN cat <<EOF > /x && \\\n  two\nRUN y\nEOF\n", "before a continued line"),
    ("ONBUILD RUN <<EOF\nRUN y\nEOF\n", "of the next build"),
    ("RUN <<EOF\r\nRUN y\r\nEOF\r\n", "two-character line breaks"),
    ("RUN <<EOF\n# EOF\n\nRUN y \\\nEOF\n", "no comments and no continuation inside"),
]


@pytest.mark.parametrize("text", [text for text, _ in HEREDOCS], ids=[name for _, name in HEREDOCS])
def test_what_a_here_document_holds_is_no_instruction(text: str) -> None:
    keyword = text.split(None, 1)[0]
    last = text.count("\n")
    assert found(f"{text}RUN last\n") == [f"0 {keyword}", f"{last} RUN"]


@pytest.mark.parametrize(
    "text",
    [
        'RUN echo "<<EOF"',
        "RUN echo 'a <<EOF b'",
        "RUN cat <<<EOF",
        "RUN python -c 'print(1<<b)'",
        "RUN echo $((1<<b))",
        'RUN ["cat", "<<EOF"]',
        "RUN cat << EOF",
        "RUN echo \\<<EOF",
        "ENV A=<<EOF",
        "LABEL a <<EOF",
        "CMD <<EOF",
        "RUN echo it's",
    ],
)
def test_what_only_looks_like_a_here_document_hides_nothing(text: str) -> None:
    keyword = text.split(None, 1)[0]
    assert found(f"{text}\nRUN last\n") == [f"0 {keyword}", "1 RUN"]


def test_instructions_for_the_next_build_and_other_words_stay_as_they_are() -> None:
    text = 'FROM a\nONBUILD RUN b\nSHELL ["/bin/bash", "-c"]\nCMD RUN c\nRUNNING d\nENV RUN=1\n'
    assert changed(text) == text.replace("FROM a\n", "FROM a\nSETTINGS\n")


def test_the_syntax_directive_stays_the_first_line() -> None:
    text = "# syntax=docker/dockerfile:1\n\nFROM a\n"
    assert changed(text) == "# syntax=docker/dockerfile:1\n\nFROM a\nSETTINGS\n"


def test_lower_case_and_indented_keywords_count() -> None:
    assert changed("from a\n  run b\n\tRun c\n") == "from a\nSETTINGS\n  run MOUNT b\n\tRun MOUNT c\n"


def test_two_character_line_breaks_are_kept() -> None:
    assert changed("FROM a \\\r\n AS b\r\nRUN c \\\r\n d\r\n") == (
        "FROM a \\\r\n AS b\r\nSETTINGS\nRUN MOUNT c \\\r\n d\r\n"
    )


@pytest.mark.parametrize("text", ["FROM a", "FROM a\nRUN b", "FROM a\n# comment", "FROM a\n\n"])
def test_a_last_line_without_a_line_break_is_ended(text: str) -> None:
    result = changed(text)
    assert result.endswith("\n")
    assert [line for line in result.splitlines() if line == "SETTINGS"] == ["SETTINGS"]
    assert result.replace("SETTINGS\n", "").replace("MOUNT ", "").rstrip("\n") == text.rstrip("\n")


def test_characters_that_only_python_takes_for_line_breaks_are_kept() -> None:
    assert (
        changed("FROM a\nRUN b\x0cRUN c\u2028RUN d\x85\n")
        == "FROM a\nSETTINGS\nRUN MOUNT b\x0cRUN c\u2028RUN d\x85\n"
    )


# ---- Any Dockerfile ------------------------------------------------------------------------------

OTHERS = st.sampled_from(
    [
        "# RUN comment",
        "",
        "   ",
        "ENV A=1 \\\n  B=RUN",
        "COPY <<EOF /x\nRUN y\nFROM z\nEOF",
        "ONBUILD RUN echo",
        'CMD ["RUN"]',
        'SHELL ["/bin/sh", "-c"]',
        "LABEL a=\\\n# comment\n  FROM",
        "WORKDIR /a\x0bRUN",
        "USER é",
        "ARG RUN",
    ]
)
CHANGED = st.sampled_from(
    ["FROM a", "from b \\\n  AS c", "RUN d", "run e && \\\n # f\n  RUN g", "RUN <<X\nRUN h\nX", 'RUN ["i"]']
)
BY: Sequence[SettingsBy] = ("secret", "volume", "copy")


@given(st.lists(st.one_of(OTHERS, CHANGED), max_size=8), st.sampled_from(BY), st.booleans())
@quick_or_thorough(300)
def test_nothing_but_the_additions_is_changed(parts: list[str], by: SettingsBy, ended: bool) -> None:
    text = "\n".join(parts) + ("\n" if ended else "")
    result = changed(text, by)
    stages = sum(part.lower().startswith("from") for part in parts)
    runs = sum(part.lower().startswith("run") for part in parts)
    assert result.count("SETTINGS\n") == stages
    assert result.count(" MOUNT") == (runs if by == "secret" else 0)
    without = result.replace("COPY .mlbox_site/ /mlbox_site/\n", "").replace("SETTINGS\n", "").replace(" MOUNT", "")
    assert without.removesuffix("\n") == text.removesuffix("\n")


@given(st.text(alphabet=st.sampled_from("FROMRUN ab<E\\`#'\"\n\r\t-=\x0c\u2028"), max_size=60))
@quick_or_thorough(500)
def test_any_text_keeps_all_its_lines(text: str) -> None:
    result = with_settings(text, "secret", {"A": "/b"}, ["ca.crt"])
    kept = [re.sub(r"(?<=RUN) --mount=\S*", "", line) for line in result.split("\n") if line != "ARG A=/b"]
    assert "\n".join(kept).removesuffix("\n") == text.removesuffix("\n")
