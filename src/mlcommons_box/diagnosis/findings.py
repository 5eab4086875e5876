"""What is said of engines and of the machine, as immutable values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from mlcommons_box.diagnosis.asking import Answer
from mlcommons_box.runners.failures import Failure, explained, tail
from mlcommons_box.value import Value

Severity = Literal["error", "warning"]
Status = Literal["ok", "problem", "not here"]

ENGINES = ("docker", "podman", "singularity", "local")
"""In the order in which they are chosen for a box that has a platform for several."""


class Finding(Value):
    """Something that is wrong, and the remedy.  An ``error`` keeps the engine from running boxes."""

    severity: Severity
    message: str
    hint: str


class Diagnosis(Value):
    """One engine.  ``executable`` is None where it is not here; ``details`` are names and values to show."""

    engine: str
    usable: bool
    version: str | None = None
    executable: Path | None = None
    details: tuple[tuple[str, str], ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def status(self) -> Status:
        """In two words."""
        if self.executable is None:
            return "not here"
        return "ok" if self.usable else "problem"


class Machine(Value):
    """What all engines share: disks, devices, the network's settings."""

    details: tuple[tuple[str, str], ...] = ()
    findings: tuple[Finding, ...] = ()


class Examination(Value):
    """All that was looked at; ``machine`` is None where one engine alone was asked for."""

    engines: tuple[Diagnosis, ...]
    machine: Machine | None = None

    @property
    def usable(self) -> tuple[str, ...]:
        """The engines that can run boxes, the first choice first."""
        return tuple(each.engine for each in self.engines if each.usable)


def absent(engine: str, message: str, hint: str) -> Diagnosis:
    """An engine that is not on this machine."""
    finding = Finding(severity="error", message=message, hint=hint)
    return Diagnosis(engine=engine, usable=False, findings=(finding,))


def diagnosed(
    engine: str,
    executable: Path,
    version: str | None,
    details: list[tuple[str, str | None]],
    findings: list[Finding],
) -> Diagnosis:
    """An engine that is here: usable unless something is an error.  Details without a value are left out."""
    return Diagnosis(
        engine=engine,
        usable=all(finding.severity != "error" for finding in findings),
        version=version,
        executable=executable,
        details=tuple((name, value) for name, value in details if value),
        findings=tuple(sorted(findings, key=lambda finding: finding.severity)),  # errors come first
    )


def known(telltale: str, failures: tuple[Failure, ...], severity: Severity = "error") -> Finding:
    """The finding that says what a runner says when its engine utters ``telltale``."""
    failure = explained(telltale, failures)
    if failure is None:
        raise ValueError(f"no failure is known by {telltale!r}")
    return Finding(severity=severity, message=failure.meaning, hint=failure.remedy)


def unanswered(program: str, answer: Answer, failures: tuple[Failure, ...], hint: str) -> Finding:
    """What it means that a program was asked and gave no answer: it hangs, it cannot be started, it failed."""
    if answer.timed_out:
        return Finding(
            severity="error", message=f"{program} gave no answer within {answer.patience:g} s", hint=hint
        )
    if answer.status is None:
        return Finding(severity="error", message=answer.err, hint=hint)
    failure = explained(answer.said, failures)
    if failure is not None:
        return Finding(severity="error", message=failure.meaning, hint=failure.remedy)
    said = tail(answer.said, lines=3)
    message = f"{program} ended with status {answer.status}" + (f"\n{said}" if said else "")
    return Finding(severity="error", message=message, hint=hint)


def version_numbers(text: str) -> tuple[int, int] | None:
    """The first two numbers of the first version in a text."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found.group(1)), int(found.group(2))) if found else None


def version_in(text: str) -> str | None:
    """The first version in a text, as it is written there."""
    found = re.search(r"\d+\.\d+[^\s,]*", text)
    return found.group() if found else None
