"""Changes a Dockerfile so that its build sees a site's settings, without leaving them in the image."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

from mlcommons_box.runners.site_settings import DIRECTORY

SETTINGS_CONTEXT = ".mlbox_site"
"""Where the settings lie in the build context, for a builder that cannot mount them."""
SettingsBy = Literal["secret", "volume", "copy"]
"""How a builder gets them: BuildKit's secrets, Podman's volumes, or copied into the image."""

_DIRECTIVE = r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*"
_WORD = r"""(?s)(?:[^\s"'\\]|\\.|"(?:\\.|[^"\\])*"|'[^']*')+"""
_HEREDOC = r"""\d*<<(-?)(["']?)([^<\s"']+)\2"""


class Instruction(NamedTuple):
    """A line that begins an instruction: its number from 0, and its keyword in capitals."""

    line: int
    keyword: str


def instructions(text: str) -> Iterator[Instruction]:
    """The instructions of a Dockerfile, by the rules of its reference: escapes, comments and here-documents."""
    escape = re.escape(_escape(text))
    continues = re.compile(rf"(?:(?<=[^{escape}])|^){escape}[ \t]*$")
    whole = ""  # an instruction whose last line is still to come
    waiting: list[tuple[str, str]] = []
    for number, ended in enumerate(text.split("\n")):
        line = ended.removesuffix("\r")
        if waiting:
            dash, name = waiting[0]
            if (line.lstrip("\t") if dash else line) == name:
                waiting.pop(0)
            continue
        if not line.strip() or line.lstrip().startswith("#"):
            continue  # also between the lines of an instruction
        piece = continues.sub("", line)
        if not whole.strip() and piece.strip():
            yield Instruction(number, piece.split(None, 1)[0].upper())
        whole += piece
        if piece == line:
            waiting = _heredocs(whole)
            whole = ""


def _escape(text: str) -> str:
    """The escape character: a directive may name it, before anything else but other directives."""
    for line in text.split("\n"):
        directive = re.fullmatch(_DIRECTIVE, line.strip())
        name = directive.group(1).lower() if directive else ""
        if directive and name == "escape":
            return directive.group(2)[:1]
        if name not in ("syntax", "check"):
            break
    return "\\"


def _heredocs(instruction: str) -> list[tuple[str, str]]:
    """The here-documents that follow an instruction: ``-`` where tabs are taken off, and the word that ends it."""
    words = re.findall(_WORD, instruction)
    keyword = next((word.upper() for word in words if word.upper() != "ONBUILD"), "")
    if keyword not in ("RUN", "COPY", "ADD"):
        return []
    return [(found[1], found[3]) for found in (re.fullmatch(_HEREDOC, word) for word in words) if found]


def with_settings(text: str, by: SettingsBy, variables: Mapping[str, str], files: Iterable[str]) -> str:
    """A Dockerfile whose RUN instructions see the settings ``files`` and the ``variables``.

    The variables are arguments of the build: they are no part of the image's environment, and their values are
    paths only.
    """
    lines = text.removesuffix("\n").split("\n")
    after_from = [f"ARG {name}={value}" for name, value in variables.items()]
    if by == "copy":
        after_from.insert(0, f"COPY {SETTINGS_CONTEXT}/ {DIRECTORY}/")
    mounts = " ".join(
        f"--mount=type=secret,id={secret_id(name)},target={PurePosixPath(DIRECTORY, name)},mode=0444"
        for name in files
    )
    found = dict(instructions(text))
    ends = _last_lines(found, lines)
    changed = []
    for number, line in enumerate(lines):
        if by == "secret" and found.get(number) == "RUN":
            line = re.sub(r"(?i)(?<=RUN)", f" {mounts}", line, count=1)
        changed.append(line)
        if ends.get(number) == "FROM":
            changed += after_from
    return "\n".join(changed) + "\n"


def secret_id(file: str) -> str:
    """The name under which a settings file is handed to a builder."""
    return f"mlbox_{file.replace('.', '_')}"


def _last_lines(found: Mapping[int, str], lines: list[str]) -> dict[int, str]:
    """The last line of every instruction -> its keyword; comments after it count as its own."""
    starts = sorted(found)
    ends = [*(start - 1 for start in starts[1:]), len(lines) - 1]
    return {end: found[start] for start, end in zip(starts, ends, strict=False)}  # no start, in an empty file
