from __future__ import annotations

import os
import socket
import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import yaml

from mlcommons_box.definition.file_kinds import check_file
from mlcommons_box.definition.loader import read_task
from mlcommons_box.definition.platforms import read_platform
from mlcommons_box.definition.problems import Problems
from mlcommons_box.definition.run_configurations import read_run_configuration
from mlcommons_box.definition.source import MAX_BYTES, MAX_DEPTH, MAX_NODES, parse_source, read_source
from mlcommons_box.errors import Problem
from mlcommons_box.model import Parameter, Task
from mlcommons_box.report.problems import problem_text
from tests.unit.definition.definition_corpus import KINDS

TASK = "schema_version: 1.1.0\nschema_type: mlbox_task\noutputs: []\n"
DOCKER = "schema_version: 1.1.0\nschema_type: mlbox_docker\nimage: ubuntu\ndocker_runtime: docker\n"
LONGEST_MESSAGE = 1000


def problems_of(text: str, kind: str = "mlbox_task") -> list[Problem]:
    """Everything that is wrong with a text, which is not little and is shown without harm."""
    problems = Problems()
    node = parse_source(text, "a.yaml", problems)
    if node:
        check_file(node, (kind,), problems)
    assert problems
    for problem in problems:
        assert_harmless(problem)
    return problems


def codes_of(text: str, kind: str = "mlbox_task") -> list[str]:
    return [problem.code for problem in problems_of(text, kind)]


def assert_harmless(problem: Problem) -> None:
    for line in problem_text(problem).splitlines():
        assert line.isprintable()
        assert len(line) <= LONGEST_MESSAGE


def calls(work: Callable[[], object]) -> int:
    """How many functions of Python some work calls: what it costs, on any machine."""
    count = 0

    def profile(_: FrameType, event: str, __: object) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The parser's events that were looked at."""
    seen: list[object] = []

    class Counting(yaml.CSafeLoader):
        def get_event(self) -> Any:
            event = super().get_event()
            seen.append(event)
            return event

    monkeypatch.setattr(yaml, "CSafeLoader", Counting)
    return seen


# Nesting


@pytest.mark.parametrize("opening", ["[", "{", "- ", "? ", "[{", "{a: [", "- - ", "[[ "])
@pytest.mark.parametrize("before", ["", TASK + "inputs: "])
def test_a_hundred_thousand_levels_are_refused_at_the_first_that_is_too_deep(
    events: list[object], opening: str, before: str
) -> None:
    before = before if opening[0] in "[{" else before + "\n  " * bool(before)

    assert codes_of(before + opening * 100_000) == ["too-deep"]
    assert len(events) < 3 * MAX_DEPTH + 20


def test_as_many_levels_as_allowed_are_read() -> None:
    problems = Problems()

    assert parse_source("[" * MAX_DEPTH + "]" * MAX_DEPTH, "a.yaml", problems)
    assert problems == []
    assert not parse_source("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "a.yaml", problems)


# Aliases


def laughs(levels: int, width: int, opening: str = "[", closing: str = "]") -> str:
    lines = ["a0: &a0 ha\n"]
    for level in range(1, levels):
        items = ", ".join(
            f"*a{level - 1}" if opening == "[" else f"k{number}: *a{level - 1}" for number in range(width)
        )
        lines.append(f"a{level}: &a{level} {opening}{items}{closing}\n")
    return "".join(lines)


@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_a_billion_laughs_are_refused_before_they_are_told(events: list[object], brackets: str) -> None:
    text = laughs(10, 10, *brackets)

    assert codes_of(text) == ["too-large"]
    assert len(events) < 200


def test_a_billion_laughs_in_a_list_that_is_read_are_refused(events: list[object]) -> None:
    text = TASK + "inputs:\n- &p0 {name: a, type: file}\n"
    for level in range(1, 10):
        text += f"- &p{level} [" + ", ".join([f"*p{level - 1}"] * 10) + "]\n"

    assert codes_of(text) == ["too-large"]
    assert len(events) < 200


def test_what_an_alias_repeats_counts_again() -> None:
    record = "{" + ", ".join(f"k{number}: 1" for number in range(1000)) + "}"

    assert codes_of(f"{TASK}inputs: [&a {record}, {', '.join(['*a'] * 40_000)}]\n") == ["too-large"]


def test_levels_hidden_behind_aliases_count() -> None:
    text = "a0: &a0 [x]\n" + "".join(f"a{level}: &a{level} [*a{level - 1}]\n" for level in range(1, 10_000))

    assert codes_of(text) == ["too-deep"]


def test_ten_thousand_aliases_of_one_value_are_read() -> None:
    problems = Problems()
    text = "[&a x, " + ", ".join(["*a"] * 10_000) + "]"

    assert parse_source(text, "a.yaml", problems)
    assert problems == []


@pytest.mark.parametrize("text", ["&a [*a]", "&a {b: *a}", "&a {*a : b}", "&a [&b [*a, *b]]", "*a", "[*a, &a b]"])
def test_an_alias_of_what_is_not_complete_is_refused(text: str) -> None:
    assert codes_of(text) == ["alias"]


# Size


def test_a_hundred_megabytes_are_refused_without_reading_them(tmp_path: Path) -> None:
    file = tmp_path / "huge.yaml"
    with file.open("wb") as stream:
        stream.truncate(100 << 20)
    problems = Problems()

    tracemalloc.start()
    try:
        node = read_source(file, problems)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert node is None
    assert [problem.code for problem in problems] == ["too-large"]
    assert peak < 4 * MAX_BYTES


def test_the_largest_file_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    text = "a: b # "
    problems = Problems()

    file.write_text(text + "x" * (MAX_BYTES - len(text)))
    assert read_source(file, problems)
    assert problems == []

    file.write_text(text + "x" * (MAX_BYTES - len(text) + 1))
    assert not read_source(file, problems)
    assert [problem.code for problem in problems] == ["too-large"]


def test_too_many_keys_are_refused(events: list[object]) -> None:
    assert codes_of(TASK + "".join(f"k{number}: 1\n" for number in range(60_000))) == ["too-large"]
    assert len(events) < MAX_NODES + 50


def test_too_many_items_are_refused() -> None:
    assert codes_of(TASK + "inputs: [" + "x," * (MAX_NODES + 1) + "]\n") == ["too-large"]


@pytest.mark.parametrize("name", ["inputx", "zzzzz"])
def test_the_first_hundred_of_many_mistakes_are_reported_and_the_rest_not_looked_for(name: str) -> None:
    keys = (MAX_NODES - 50) // 2
    node = parse_source(TASK + "".join(f"{name}{number}: 1\n" for number in range(keys)), "a.yaml", Problems())
    assert node

    problems = Problems()
    count = calls(lambda: check_file(node, ("mlbox_task",), problems))

    assert [problem.code for problem in problems] == ["unknown-key"] * 100 + ["too-many"]
    assert count < 10 * keys


def test_many_mistakes_in_a_list_and_in_a_mapping_are_cut_off_too() -> None:
    assert codes_of(TASK + "inputs: [" + "x," * 20_000 + "]\n") == ["wrong-type"] * 100 + ["too-many"]
    variables = ", ".join(f"'{number}': 1" for number in range(20_000))
    assert codes_of(f"{TASK}inputs: []\nenvironment: {{{variables}}}\n") == ["bad-value"] * 100 + ["too-many"]


def test_a_task_with_thousands_of_parameters_costs_no_more_than_each_of_them_once(tmp_path: Path) -> None:
    count = 4_000
    parameters = tuple(Parameter(name=f"parameter{number}", type="file") for number in range(count))
    task = Task(name="train", file=tmp_path, inputs=parameters, outputs=())
    file = tmp_path / "run.yaml"
    for prefix in ("parameter", "paramter"):
        bindings = "".join(f"  {prefix}{number}: a\n" for number in range(count))
        file.write_text(
            "schema_type: mlbox_invoke\nschema_version: 1.0.0\ntask_name: train\n"
            f"output_binding: {{}}\ninput_binding:\n{bindings}"
        )
        problems = Problems()
        used = calls(partial(read_run_configuration, file, tmp_path, {"train": task}, problems))
        assert len(problems) == (0 if prefix == "parameter" else 101)
        assert used < 300 * count


@pytest.mark.parametrize(
    "text",
    [
        "{long}: 1\n" + TASK,
        TASK + "inputs: {long}\n",
        TASK + "inputs: [{{name: '{long} ', type: '{long}'}}]\n",
        TASK + "inputs: []\nnetwork: {long}\n",
        TASK + "inputs: !{long} []\n",
        TASK + "inputs: *{long}\n",
        "schema_type: {long}\n",
        "schema_type: mlbox_task\nschema_version: {long}\n",
        TASK + "{long}: 1\n{long}: 2\n",
        TASK + "description: {digits}\n",
    ],
)
def test_a_very_long_line_is_shown_in_part(text: str) -> None:
    problems_of(text.format(long="x" * 300_000, digits="1" * 900_000))


@pytest.mark.parametrize(
    "range_of_versions",
    [" " * 500_000 + "x", "1" + " " * 500_000 + "x", "1," * 200_000 + "x", "1" + ".1" * 200_000 + "x"],
)
def test_a_long_version_range_is_refused_in_one_pass(range_of_versions: str) -> None:
    text = (
        "schema_version: 1.0.0\nschema_type: mlcommons_box_platform\ncontainer: {image: ubuntu}\n"
        f'platform: {{name: docker, version: "{range_of_versions}"}}\n'
    )
    assert codes_of(text, "mlcommons_box_platform") == ["bad-value"]


@pytest.mark.parametrize("image", ["a" * 500_000 + "!", "a-" * 250_000, "a/" * 250_000, "a.a" * 200_000 + ":"])
def test_a_long_image_name_is_refused_in_one_pass(image: str) -> None:
    assert codes_of(DOCKER.replace("ubuntu", f"'{image}'"), "mlbox_docker") == ["bad-value"]


@pytest.mark.parametrize("version", ["1" * 500_000, "1.0.0-" + "1" * 500_000 + "!", "1.0.0-" + "a." * 250_000])
def test_a_long_version_is_refused_in_one_pass(version: str) -> None:
    text = f"schema_version: 1.0.0\nschema_type: mlbox_root\nname: a\nauthor: a\nversion: {version}\n"
    assert len(problems_of(text, "mlbox_root")) == 3


HUGE = [
    "9" * 400,
    "-" + "9" * 400,
    "9" * 5000,
    "0x" + "f" * 5000,
    "0o" + "7" * 5000,
    "1e99999",
    ".inf",
    "-.INF",
    ".NaN",
]


@pytest.mark.parametrize("number", HUGE)
@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("mlbox_slurm", "platform: a\nnodes: {}\n"),
        ("mlbox_ssh", "host: a\nplatform: a\nport: {}\n"),
        ("mlbox_local", "resources: {{cpus: {}}}\n"),
        ("mlbox_local", "resources: {{gpus: {}}}\n"),
        ("mlbox_local", "resources: {{memory: {}}}\n"),
        ("mlbox_local", "resources: {{time: {}}}\n"),
        ("mlbox_local", "resources: {{memory: '{}G'}}\n"),
        ("mlbox_local", "resources: {{time: '{}s'}}\n"),
        ("mlbox_local", "resources: {{time: '{}:00:00'}}\n"),
        ("mlbox_local", "python: {}\n"),
    ],
)
def test_a_number_beyond_measure_is_refused(tmp_path: Path, number: str, kind: str, keys: str) -> None:
    file = tmp_path / "platform.yaml"
    file.write_text(f"schema_type: {kind}\nschema_version: 1.1.0\n{keys.format(number)}")
    problems = Problems()

    assert read_platform(file, problems) is None
    assert len(problems) == 1
    assert_harmless(problems[0])


# Content that would do something


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch pwned']",
        "!!python/object/new:os.system ['touch pwned']",
        "!!python/name:os.system",
        "!!python/module:os",
        "!<tag:yaml.org,2002:python/object/apply:os.system> ['touch pwned']",
    ],
)
def test_a_tag_makes_nothing_happen(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    done: list[str] = []
    monkeypatch.setattr(os, "system", done.append)

    assert codes_of(TASK + f"inputs: {value}\n")[0] == "tag"
    assert done == []


STEERING = [
    "\x1b[31m",
    "\x1b]0;title\x07",
    "\r",
    "\x08",
    "\x7f",
    "\x9b31m",
    "\u202e",
    "\u2066",
    "\u200b",
    "\u2028",
    "\x85",
    "\ufeff",
    "\U000e0041",
]


@pytest.mark.parametrize("character", STEERING)
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (TASK + '"{}": 1\ninputs: []\n', "mlbox_task"),
        (TASK + 'inputs: [{{name: "a {}", type: file}}]\n', "mlbox_task"),
        (TASK + 'inputs: [{{name: a, type: "{}file"}}]\n', "mlbox_task"),
        (DOCKER.replace("ubuntu", '"ubuntu{}"'), "mlbox_docker"),
        ('schema_type: "{}mlbox_task"\n', "mlbox_task"),
        ('schema_type: mlbox_task\nschema_version: "1{}"\n', "mlbox_task"),
    ],
)
def test_characters_that_steer_a_terminal_are_shown_as_escapes(character: str, text: str, kind: str) -> None:
    problems_of(text.format(character), kind)
    problems_of(text.format("".join(f"\\U{ord(each):08x}" for each in character)), kind)


@pytest.mark.parametrize("code", ["ud800", "udfff", "U0000d800", "U00110000", "Uffffffff"])
def test_an_escape_that_is_no_character_is_refused(code: str) -> None:
    assert codes_of(TASK + f'inputs: "\\{code}"\n') == ["yaml-syntax"]


def test_a_lone_surrogate_is_refused() -> None:
    assert codes_of("name: \ud800") == ["control-character"]


@pytest.mark.parametrize("kind", KINDS)
def test_nul_is_in_no_value(kind: str) -> None:
    assert "control-character" in codes_of("a: b\0c", kind)


# Places that are no regular file


def directory(path: Path) -> None:
    path.mkdir()


def fifo(path: Path) -> None:
    os.mkfifo(path)


def dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


def looping_link(path: Path) -> None:
    path.symlink_to(path.name)


def endless_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def bound_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize(
    ("make", "code", "message"),
    [
        (directory, "not-a-file", "expected a YAML file, found a directory"),
        (fifo, "not-a-file", "expected a YAML file, found something that is not a regular file"),
        (endless_device, "not-a-file", "expected a YAML file, found something that is not a regular file"),
        (dangling_link, "missing-file", "the file does not exist"),
        (looping_link, "unreadable", "cannot read the file: Too many levels of symbolic links"),
        (bound_socket, "unreadable", "cannot read the file: No such device or address"),
    ],
)
def test_what_is_not_a_file_is_named_and_left_open_by_nobody(
    tmp_path: Path, make: Callable[[Path], None], code: str, message: str
) -> None:
    place = tmp_path / "a.yaml"
    make(place)
    before = os.listdir("/proc/self/fd")
    problems = Problems()

    assert read_source(place, problems) is None
    assert [(problem.code, problem.message) for problem in problems] == [(code, message)]
    assert os.listdir("/proc/self/fd") == before


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    problems = Problems()

    assert read_task(tmp_path / "none.yaml", problems) is None
    assert [problem.code for problem in problems] == ["missing-file"]


@pytest.mark.parametrize("name", ["a" * 5000, "nul\0"])
def test_a_name_that_no_file_can_have_is_a_problem(tmp_path: Path, name: str) -> None:
    problems = Problems()

    assert read_source(tmp_path / name, problems) is None
    assert [problem.code for problem in problems] == ["unreadable"]


@pytest.mark.parametrize("function", ["open", "fstat", "fdopen"])
@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_file_that_the_system_refuses_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, error: OSError
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    file = tmp_path / "a.yaml"
    file.write_text("a: b")
    before = os.listdir("/proc/self/fd")
    problems = Problems()

    with monkeypatch.context() as patched:
        patched.setattr(os, function, refuse)
        node = read_source(file, problems)

    assert node is None
    assert [problem.message for problem in problems] == [f"cannot read the file: {error.strerror}"]
    assert os.listdir("/proc/self/fd") == before


def test_a_link_to_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "real.yaml").write_text("a: b")
    (tmp_path / "link.yaml").symlink_to("real.yaml")
    problems = Problems()

    assert read_source(tmp_path / "link.yaml", problems)
    assert problems == []


def test_a_platform_with_a_name_that_no_file_can_have_is_missing(tmp_path: Path) -> None:
    from mlcommons_box.definition.platforms import check_referenced_platform

    file = tmp_path / "ssh.yaml"
    file.write_text(f"host: a\nplatform: {'x' * 5000}\n")
    problems = Problems()
    platform = read_platform(file, problems)
    assert platform

    check_referenced_platform(platform, tmp_path, problems)

    assert [problem.code for problem in problems] == ["missing-file"]
    assert_harmless(problems[0])
