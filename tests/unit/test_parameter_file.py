"""Files of hyper-parameters: what they hold, and copies with other values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from mlcommons_box.errors import CannotReadError, ConfigurationError, ProblemsError
from mlcommons_box.parameter_file import Scalar, read_parameter_file, typed, yaml_text

TEXT = """\
# How to train.
optimizer: "adam"     # or sgd
rate: 1e-3
augment: yes
model:
    width: 8          # units
    name: 'a: b'
layers: [16, {size: 4}]
note: |
    two
    lines
nothing:
"""


def write(tmp_path: Path, text: str, name: str = "parameters.yaml") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


def test_values_have_names_and_types(tmp_path: Path) -> None:
    file = read_parameter_file(write(tmp_path, TEXT))
    assert {name: leaf.value for name, leaf in file.leaves.items()} == {
        "optimizer": "adam",
        "rate": 0.001,
        "augment": True,
        "model.width": 8,
        "model.name": "a: b",
        "layers.0": 16,
        "layers.1.size": 4,
        "note": "two\nlines\n",
        "nothing": None,
    }
    assert file.groups == {"model", "layers", "layers.1"}


def test_in_a_copy_nothing_changes_but_the_values(tmp_path: Path) -> None:
    file = read_parameter_file(write(tmp_path, TEXT))
    values: dict[str, Scalar] = {
        "optimizer": "sgd",
        "rate": 1e-05,
        "augment": False,
        "model.width": 16,
        "layers.1.size": 2,
        "note": "no",
    }
    text = file.with_values(values)
    assert text == (
        TEXT.replace('"adam"', '"sgd"')
        .replace("1e-3", "1.0e-05")
        .replace("yes", "false")
        .replace("width: 8 ", "width: 16 ")
        .replace("size: 4", "size: 2")
        .replace("|\n    two\n    lines\n", '"no"\n')
    )
    assert yaml.safe_load(text)["rate"] == 1e-05


def test_line_breaks_of_another_system_stay(tmp_path: Path) -> None:
    file = read_parameter_file(write(tmp_path, "a: 1\r\nb: é\r\n"))
    assert file.with_values({"a": 2}) == "a: 2\r\nb: é\r\n"


@pytest.mark.parametrize("value", ["no", "1.0", "", "a\nb", "\x85\u2028", "ü'\"\\", "# x", "null"])
def test_a_text_stays_that_text_for_every_reader(value: str, tmp_path: Path) -> None:
    file = read_parameter_file(write(tmp_path, "a: b\nc: 1\n"))
    text = file.with_values({"a": value})
    assert yaml.safe_load(text) == {"a": value, "c": 1}
    assert read_parameter_file(write(tmp_path, text)).leaves["a"].value == value


@pytest.mark.parametrize("number", [0, -3, 1.5, 1e-5, 1.5e-7, -2e22, 1e300, 10**20])
def test_a_number_stays_a_number_for_every_reader(number: float, tmp_path: Path) -> None:
    assert yaml.safe_load(yaml_text(number)) == number
    assert type(yaml.safe_load(yaml_text(number))) is type(number)


def test_json_has_the_same_names(tmp_path: Path) -> None:
    content = {"model": {"width": 8, "ü": "x"}, "layers": [1, 2.5], "on": True}
    file = read_parameter_file(write(tmp_path, json.dumps(content), "parameters.json"))
    assert list(file.leaves) == ["model.width", "model.ü", "layers.0", "layers.1", "on"]
    copy = file.with_values({"model.width": 16, "layers.1": 1e-05, "on": False})
    assert json.loads(copy) == {"model": {"width": 16, "ü": "x"}, "layers": [1, 1e-05], "on": False}
    assert "ü" in copy


@pytest.mark.parametrize(
    ("text", "like", "value"),
    [
        ("32", 5, 32),
        ("0.5", 5, 0.5),
        ("1e-3", 0.1, 0.001),
        ("1", 0.1, 1),
        ("true", False, True),
        ("1", "x", "1"),
        ("true", "x", "true"),
        ("sgd", None, "sgd"),
        ("3", None, 3),
    ],
)
def test_a_value_is_of_the_type_that_the_file_has(text: str, like: Scalar, value: Scalar) -> None:
    found = typed(text, like)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(("text", "like"), [("fast", 1), ("true", 1), ("1", True), ("yes", True), (".inf", 1.0)])
def test_a_value_of_another_type_is_refused(text: str, like: Scalar) -> None:
    with pytest.raises(ValueError, match="expected"):
        typed(text, like)


def test_what_is_shared_by_an_alias_is_refused(tmp_path: Path) -> None:
    file = read_parameter_file(write(tmp_path, "a: &x 1\nb: *x\n"))
    with pytest.raises(ConfigurationError, match="cannot replace 'b'") as caught:
        file.with_values({"b": 2})
    assert "anchors" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "a: [1\n"),
        ("a.yaml", ""),
        ("a.yaml", "12"),
        ("a.yaml", "a: \0"),
        ("a.yaml", "a: &a [*a]\n"),
        ("a.yaml", "[" * 9000),
        ("a.yaml", "a: " + "x" * (1 << 18)),
        ("a.json", "{"),
        ("a.json", "3"),
        ("a.json", "[" * 90000),
    ],
    ids=range(10),
)
def test_what_is_no_such_file_is_a_problem_with_a_place(name: str, text: str, tmp_path: Path) -> None:
    path = write(tmp_path, text, name)
    with pytest.raises(ProblemsError) as caught:
        read_parameter_file(path)
    (problem,) = caught.value.problems
    assert problem.location
    assert problem.location.file == str(path)


def test_a_small_file_with_very_many_names_takes_no_time(tmp_path: Path) -> None:
    lines = ["a0: &a0 {x: 1, y: 2}", *(f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}}}" for n in range(1, 40))]
    assert len(read_parameter_file(write(tmp_path, "\n".join(lines))).leaves) < 20_000


def test_a_file_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CannotReadError):
        read_parameter_file(tmp_path / "nothing.yaml")
