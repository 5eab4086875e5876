"""The definition files in ``tests/definitions`` and what they say about themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlcommons_box.definition import file_kinds
from mlcommons_box.definition.files import read_fields
from mlcommons_box.definition.loader import read_task
from mlcommons_box.definition.nodes import MappingNode, Node, ScalarNode, SequenceNode, resolve
from mlcommons_box.definition.platforms import read_platform
from mlcommons_box.definition.problems import Problems
from mlcommons_box.definition.sweeps import read_sweep
from mlcommons_box.errors import Problem
from mlcommons_box.model import Binding, RunConfiguration
from mlcommons_box.report.problems import shown

DEFINITIONS = Path(__file__).parents[2] / "definitions"
VALID = DEFINITIONS / "valid"
INVALID = DEFINITIONS / "invalid"
WHOLE_BOXES = ("published", "tutorial", "boxes")
KINDS = tuple(file_kinds.SCHEMAS)

_EXPECTATION = re.compile(r"(?:# )?expect: (?P<code>\S+) (?:file|(?P<line>\d+):(?P<column>\d+)) (?P<part>.+)")


@dataclass(frozen=True, kw_only=True)
class Expected:
    """One problem that a file says it has."""

    code: str
    line: int
    column: int
    part: str


def single_files(directory: Path) -> list[Path]:
    """The files below ``directory`` that are a test of their own, not part of a box."""
    files = (file for file in directory.rglob("*.yaml") if file.relative_to(directory).parts[0] not in WHOLE_BOXES)
    return sorted(files)


def every_file() -> list[Path]:
    """Every YAML file, right or wrong."""
    return sorted(file for file in DEFINITIONS.rglob("*") if file.suffix in (".yaml", ".yml"))


def name_of(file: Path) -> str:
    """The name of a file (or box) in a test report."""
    return file.relative_to(DEFINITIONS).as_posix()


def boxes(directory: Path) -> list[Path]:
    """The boxes below ``directory``."""
    return sorted(file.parent for file in directory.rglob("mlbox.yaml"))


def expected_problems(file: Path) -> list[Expected]:
    """What a file, or its ``.expect`` neighbour, says is wrong with it."""
    neighbour = file.with_name(f"{file.name}.expect")
    return list(_expectations(neighbour if neighbour.exists() else file))


def _expectations(file: Path) -> Iterator[Expected]:
    for line in file.read_text("utf-8", "replace").splitlines():
        if not line.removeprefix("# ").startswith("expect:"):
            return
        matched = _EXPECTATION.fullmatch(line)
        assert matched, f"{file}: not an expectation: {line}"
        yield Expected(
            code=matched["code"],
            line=int(matched["line"] or 0),
            column=int(matched["column"] or 0),
            part=matched["part"],
        )


def assert_exactly(problems: list[Problem], expected: list[Expected]) -> None:
    """The problems are the expected ones, in their order, and no others."""
    found = [
        (problem.code, *((place.line, place.column) if (place := problem.location) else (0, 0)))
        for problem in problems
    ]
    assert found == [(each.code, each.line, each.column) for each in expected]
    for problem, each in zip(problems, expected, strict=True):
        assert each.part in shown(f"{problem.message}; {problem.hint}")


def read_single(file: Path) -> list[Problem]:
    """Everything that is wrong with a file of its own, read as what its directory says it is."""
    problems = Problems()
    kind = file.parent.name
    if kind in ("task", "yaml"):
        made: object = read_task(file, problems)
    elif kind == "platform":
        made = read_platform(file, problems)
    elif kind == "sweep":
        made = read_sweep(file, file.parent, [TRAIN], problems)
    else:
        made = read_fields(file, (f"mlbox_{kind}",), problems)
    assert (made is None) == bool(problems), "a file is either read, or has a problem"
    return problems


TRAIN = RunConfiguration(
    name="train",
    file=Path("run/train.yaml"),
    task="train",
    inputs=(
        Binding(parameter="data_dir", path="data"),
        Binding(parameter="parameters_file", path="parameters.yaml"),
    ),
    outputs=(),
)
"""The run that the sweeps of the corpus repeat."""

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]


def plain(node: Node) -> Plain:
    """A node as the data that a JSON parser would give."""
    if isinstance(node, ScalarNode):
        return resolve(node)
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.items]
    assert isinstance(node, MappingNode)
    return {key.value: plain(value) for key, value in node.entries}


def as_yaml(data: Plain) -> str:
    """JSON that is YAML too: what only JSON allows in a text is escaped, and nothing as JSON alone does."""
    text = json.dumps(data, ensure_ascii=False)
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff]", lambda found: f"\\u{ord(found.group()):04x}", text)
