"""Diagnoses of engines as text for people and as JSON for machines."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from mlcommons_box.diagnosis.findings import Diagnosis, Examination, Finding, Machine
from mlcommons_box.report.problems import shown

_ENGINE, _STATUS, _DETAIL = 16, 10, 14
"""Columns of the engine's name, of its status, and of the name of a detail."""
_NARROWEST = 40
_STYLES = {"ok": "32;1", "problem": "31;1", "not here": "2", "error": "31;1", "warning": "33;1", "=": "34;1"}


def examination_text(examination: Examination, *, colour: bool = False, width: int | None = None) -> str:
    """One block for each engine, and one for the machine.

    ``width`` is where lines are broken, in columns; None breaks none.  ::

        docker          problem   28.2.2  /usr/bin/docker
          context       default
          error: the Docker daemon does not answer
            = help: start it (sudo systemctl start docker), and look at DOCKER_HOST ...
    """
    page = _Page(colour, max(width, _NARROWEST) if width else None)
    blocks = [page.engine(each) for each in examination.engines]
    if examination.machine is not None:
        blocks.append(page.machine(examination.machine))
    return "\n\n".join("\n".join(lines) for lines in blocks)


class _Page:
    """Where text goes: with colour or without, and how wide."""

    def __init__(self, colour: bool, width: int | None) -> None:
        self.colour = colour
        self.width = width

    def engine(self, diagnosis: Diagnosis) -> Iterator[str]:
        name, status = diagnosis.engine.ljust(_ENGINE), diagnosis.status
        if status == "not here":
            remedy = "; ".join(finding.hint for finding in diagnosis.findings)
            yield from self.line(name, status, f"  {remedy}", indent=_ENGINE + _STATUS)
            return
        gap = " " * (_STATUS - len(status))
        what = "  ".join(filter(None, [diagnosis.version, str(diagnosis.executable)]))
        yield from self.line(name, status, f"{gap}{what}", indent=_ENGINE + _STATUS)
        yield from self.body(diagnosis.details, diagnosis.findings)

    def machine(self, machine: Machine) -> Iterator[str]:
        yield "machine"
        yield from self.body(machine.details, machine.findings)

    def body(self, details: Sequence[tuple[str, str]], findings: Sequence[Finding]) -> Iterator[str]:
        for name, value in details:
            yield from self.line(f"  {name.ljust(_DETAIL)}", "", value, indent=_DETAIL + 2)
        for finding in findings:
            message, *quoted = finding.message.split("\n")
            yield from self.line("  ", finding.severity, f": {message}", indent=4)
            for text in quoted:
                yield from self.line("  ", "", text, indent=6)
            yield from self.line("    ", "=", f" help: {finding.hint}", indent=6)

    def line(self, before: str, word: str, after: str, *, indent: int) -> list[str]:
        """One line, broken where it is too long; ``word`` is what may be in colour."""
        text = f"{before}{word}{shown(after)}"
        lines = [text.rstrip()]
        if self.width is not None:
            lines = textwrap.wrap(
                text,
                self.width,
                subsequent_indent=" " * indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
        style = _STYLES.get(word)
        if self.colour and style:
            rest = lines[0][len(before) + len(word) :]
            lines[0] = f"{before}\x1b[{style}m{word}\x1b[0m{rest}"
        return lines


def examination_json(examination: Examination) -> dict[str, object]:
    """The same as data."""
    machine = examination.machine
    return {
        "usable": list(examination.usable),
        "engines": [
            {
                "engine": each.engine,
                "status": each.status,
                "usable": each.usable,
                "version": each.version,
                "executable": str(each.executable) if each.executable else None,
                "details": dict(each.details),
                "findings": [_finding_json(finding) for finding in each.findings],
            }
            for each in examination.engines
        ],
        "machine": None
        if machine is None
        else {
            "details": dict(machine.details),
            "findings": [_finding_json(finding) for finding in machine.findings],
        },
    }


def _finding_json(finding: Finding) -> dict[str, str]:
    return {"severity": finding.severity, "message": finding.message, "hint": finding.hint}
