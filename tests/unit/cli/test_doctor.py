"""``mlbox doctor`` with diagnoses that are made up: how they look, and what the exit status is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlcommons_box.cli.doctor import first_choice
from mlcommons_box.cli.main import main
from mlcommons_box.diagnosis.findings import Diagnosis, Examination, Finding, Machine, absent
from mlcommons_box.errors import EX_UNAVAILABLE, EX_USAGE
from mlcommons_box.report.diagnoses import examination_text
from mlcommons_box.selection import PLATFORM_VARIABLE

GOOD = Diagnosis(
    engine="podman",
    usable=True,
    version="4.3.1",
    executable=Path("/usr/bin/podman"),
    details=(("rootless", "yes"), ("storage", "overlay")),
    findings=(Finding(severity="warning", message="it is slow", hint="make it fast"),),
)
BAD = Diagnosis(
    engine="docker",
    usable=False,
    version="28.2.2",
    executable=Path("/usr/bin/docker"),
    findings=(
        Finding(
            severity="error", message="the Docker daemon does not answer", hint="start it, and then look again"
        ),
        Finding(severity="error", message="it ended with status 1\n  so it \x1b[2Jsays", hint="try again"),
    ),
)
GONE = absent("singularity", "there is neither", "install Apptainer (apptainer.org)")
MACHINE = Machine(details=(("GPUs", "none"),))

TEXT = """\
docker          problem   28.2.2  /usr/bin/docker
  error: the Docker daemon does not answer
    = help: start it, and then look again
  error: it ended with status 1
    so it \\x1b[2Jsays
    = help: try again

podman          ok        4.3.1  /usr/bin/podman
  rootless      yes
  storage       overlay
  warning: it is slow
    = help: make it fast

singularity     not here  install Apptainer (apptainer.org)

machine
  GPUs          none"""


def examination(*engines: Diagnosis) -> Examination:
    return Examination(engines=engines, machine=MACHINE)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Examination]:
    """Holds what the command finds."""
    holder: list[Examination] = []

    def examine(engine: str | None = None) -> Examination:
        everything = holder[0]
        if engine is None:
            return everything
        return Examination(engines=tuple(each for each in everything.engines if each.engine == engine))

    monkeypatch.setattr("mlcommons_box.diagnosis.examination.examine", examine)
    monkeypatch.delenv(PLATFORM_VARIABLE, raising=False)
    return holder


def test_the_text() -> None:
    assert examination_text(examination(BAD, GOOD, GONE)) == TEXT


def test_colour_changes_nothing_else() -> None:
    coloured = examination_text(examination(BAD, GOOD, GONE), colour=True)
    plain = coloured
    for style in ("32;1", "31;1", "33;1", "34;1", "2", "0"):
        plain = plain.replace(f"\x1b[{style}m", "")
    assert plain == TEXT
    assert "docker          \x1b[31;1mproblem\x1b[0m   28.2.2" in coloured


@pytest.mark.parametrize("width", [1, 40, 60])
def test_lines_are_broken_between_words(width: int) -> None:
    text = examination_text(examination(BAD, GOOD, GONE), width=width)
    assert max(map(len, text.splitlines())) <= max(width, 40) + len("/usr/bin/docker")
    assert text.split() == TEXT.split()
    assert text != TEXT or width == 60


def test_all(found: list[Examination], capsys: pytest.CaptureFixture[str]) -> None:
    found.append(examination(BAD, GOOD, GONE))
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out == f"{TEXT}\n\nfirst choice for a box here: podman\n"


@pytest.mark.parametrize(
    ("words", "status"),
    [([], 0), (["podman"], 0), (["docker"], EX_UNAVAILABLE), (["singularity"], EX_UNAVAILABLE)],
)
def test_exit_statuses(found: list[Examination], words: list[str], status: int) -> None:
    found.append(examination(BAD, GOOD, GONE))
    assert main(["doctor", *words]) == status
    assert main(["doctor", *words, "--json"]) == status


def test_no_engine_at_all(found: list[Examination], capsys: pytest.CaptureFixture[str]) -> None:
    found.append(examination(BAD, GONE))
    assert main(["doctor"]) == EX_UNAVAILABLE
    assert capsys.readouterr().out.endswith("\n\nno box can run here\n")


def test_one_engine_says_nothing_of_others(found: list[Examination], capsys: pytest.CaptureFixture[str]) -> None:
    found.append(examination(BAD, GOOD, GONE))
    main(["doctor", "podman"])
    out = capsys.readouterr().out
    assert out.startswith("podman ")
    assert "machine" not in out
    assert "first choice" not in out


def test_an_engine_that_nobody_knows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "dokcer"]) == EX_USAGE
    assert "invalid choice: 'dokcer'" in capsys.readouterr().err


def test_json(found: list[Examination], capsys: pytest.CaptureFixture[str]) -> None:
    found.append(examination(BAD, GOOD, GONE))
    main(["doctor", "--json"])
    data = json.loads(capsys.readouterr().out)
    assert data["usable"] == ["podman"]
    assert [each["status"] for each in data["engines"]] == ["problem", "ok", "not here"]
    assert data["engines"][1] == {
        "engine": "podman",
        "status": "ok",
        "usable": True,
        "version": "4.3.1",
        "executable": "/usr/bin/podman",
        "details": {"rootless": "yes", "storage": "overlay"},
        "findings": [{"severity": "warning", "message": "it is slow", "hint": "make it fast"}],
    }
    assert data["engines"][2]["executable"] is None
    assert data["machine"] == {"details": {"GPUs": "none"}, "findings": []}
    main(["doctor", "podman", "--json"])
    assert json.loads(capsys.readouterr().out)["machine"] is None


def test_the_first_choice() -> None:
    local = Diagnosis(engine="local", usable=True, executable=Path("/usr/bin/python3"))
    assert first_choice(examination(BAD, GOOD, local), None) == "first choice for a box here: podman, then local"
    assert first_choice(examination(local), "cluster") == (
        "first choice for a box here: the platform 'cluster', which MLCOMMONS_BOX_PLATFORM names"
    )
