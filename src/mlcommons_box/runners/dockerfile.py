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

_HEREDOC = re.compile(r"<<-?([\"']?)([A-Za-z_][A-Za-z0-9_]*)\1")


class Instruction(NamedTuple):
    """A line that begins an instruction: its number from 0, and its keyword in capitals."""

    line: int
    keyword: str


def instructions(text: str) -> Iterator[Instruction]:
    """The instructions of a Dockerfile, by the rules of its reference: escapes, comments and here-documents."""
    directive = re.match(r"(?:#[^\n]*\n)*?#\s*escape\s*=\s*([`\\])", text)
    escape = directive.group(1) if directive else "\\"
    continued = False
    waiting: list[str] = []
    for number, line in enumerate(text.splitlines()):
        stripped = line.strip()
        if waiting:
            if stripped == waiting[0]:
                waiting.pop(0)
            continue
        if not stripped or stripped.startswith("#"):
            continue  # also between the lines of an instruction
        if not continued:
            keyword = stripped.split(None, 1)[0].upper()
            yield Instruction(number, keyword)
            if keyword in ("RUN", "COPY", "ADD"):
                waiting = [found.group(2) for found in _HEREDOC.finditer(stripped)]
        continued = stripped.endswith(escape) and not waiting


def with_settings(text: str, by: SettingsBy, variables: Mapping[str, str], files: Iterable[str]) -> str:
    """A Dockerfile whose RUN instructions see the settings ``files`` and the ``variables``.

    The variables are arguments of the build: they are no part of the image's environment, and their values are
    paths only.
    """
    lines = text.splitlines()
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
            line = re.sub(r"^(\s*\S+)", rf"\1 {mounts}", line)
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
    return {end: found[start] for start, end in zip(starts, ends, strict=True)}
