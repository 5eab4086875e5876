"""The values of trials: the same for everybody, each set of them once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlcommons_box.errors import ConfigurationError, ProblemsError
from mlcommons_box.model import Sweep, SweepMethod, SweepRange
from mlcommons_box.parameter_file import read_parameter_file
from mlcommons_box.sweep import Bounds, Space, Values, space_of, value_sets, values_key


def sweep_of(method: SweepMethod, parameters: dict[str, Any], **settings: Any) -> Sweep:
    return Sweep(
        name="s", file=Path("s.yaml"), run="train", method=method, parameters=tuple(parameters.items()), **settings
    )


def sets(method: SweepMethod, parameters: dict[str, Any], **settings: Any) -> list[Values]:
    sweep = sweep_of(method, parameters, **settings)
    return value_sets(sweep, space_of(sweep, None))


def drawn(space: Space, trials: int, seed: int = 0) -> list[Values]:
    return value_sets(sweep_of("random", {}, trials=trials, seed=seed), space)


def test_a_grid_has_every_value_with_every_other() -> None:
    assert sets("grid", {"a": ("1", "2"), "b": ("x", "y")}) == [
        (("a", "1"), ("b", "x")),
        (("a", "1"), ("b", "y")),
        (("a", "2"), ("b", "x")),
        (("a", "2"), ("b", "y")),
    ]


def test_a_list_has_the_values_of_one_place() -> None:
    assert sets("list", {"a": ("1", "2"), "b": ("x", "x")}) == [(("a", "1"), ("b", "x")), (("a", "2"), ("b", "x"))]


def test_the_same_values_are_one_trial() -> None:
    assert sets("grid", {"a": ("1", "2", "1")}) == [(("a", "1"),), (("a", "2"),)]
    lists = {"a": ("1", "2", "1"), "b": ("x", "y", "x")}
    assert sets("list", lists) == sets("list", {"a": ("1", "2"), "b": ("x", "y")})


SPACE: Space = (
    ("rate", Bounds(low=1e-5, high=0.1, logarithmic=True)),
    ("dropout", Bounds(low=0, high=0.5)),
    ("width", Bounds(low=1, high=8, whole=True)),
    ("depth", Bounds(low=1, high=100, whole=True, logarithmic=True)),
    ("optimizer", ("adam", "sgd")),
)


def test_what_is_drawn_follows_from_the_seed_alone() -> None:
    """These very values: on every machine, with every version of Python."""
    assert drawn(SPACE, 3, seed=1) == [
        (("rate", 3.44712e-05), ("dropout", 0.423717), ("width", 7), ("depth", 3), ("optimizer", "adam")),
        (("rate", 0.000628007), ("dropout", 0.325796), ("width", 7), ("depth", 1), ("optimizer", "adam")),
        (("rate", 0.0220323), ("dropout", 0.216384), ("width", 7), ("depth", 1), ("optimizer", "adam")),
    ]


def test_more_trials_begin_with_the_same_ones() -> None:
    assert drawn(SPACE, 30)[:10] == drawn(SPACE, 10)
    assert drawn(SPACE, 10, seed=1) != drawn(SPACE, 10, seed=2)


def test_what_is_drawn_is_within_its_bounds() -> None:
    whole = [dict(values) for values in drawn(SPACE, 400)]
    assert {each["width"] for each in whole} == set(range(1, 9))
    assert {each["optimizer"] for each in whole} == {"adam", "sgd"}
    for name, low, high in (("rate", 1e-5, 0.1), ("dropout", 0, 0.5), ("depth", 1, 100)):
        found = [float(str(each[name])) for each in whole]
        assert low <= min(found) <= max(found) <= high
    assert sum(float(str(each["rate"])) < 1e-3 for each in whole) > 150
    assert all(type(each["depth"]) is int for each in whole)


def test_bounds_hold_at_their_ends() -> None:
    for _, choices in SPACE[:-1]:
        assert isinstance(choices, Bounds)
        assert choices.at(0.0) == choices.low
        assert choices.at(1.0) == choices.high


def test_a_space_with_fewer_values_than_trials_has_each_once() -> None:
    assert len(drawn((("a", (1, 2)), ("b", ("x", "y"))), 10)) == 4


def test_more_trials_than_anybody_could_run_are_refused() -> None:
    many = tuple(str(each) for each in range(1000))
    with pytest.raises(ConfigurationError, match="1000000 trials"):
        sets("grid", {"a": many, "b": many})


def test_values_are_told_apart_by_their_types() -> None:
    keys = [values_key((("a", value),)) for value in (1, 1.0, True, "1")]
    assert len(set(keys)) == 4
    assert values_key((("a", 1), ("b", 2))) == values_key((("b", 2), ("a", 1)))


def test_types_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "parameters.yaml"
    path.write_text("epochs: 5\nrate: 0.1\noptimizer: adam\nwidth: 8\n")
    sweep = sweep_of(
        "random",
        {
            "epochs": SweepRange(low=1, high=10.0),
            "rate": SweepRange(low=0, high=1),
            "optimizer": ("adam", "1"),
            "width": SweepRange(low=0.5, high=8),
        },
    )
    assert space_of(sweep, read_parameter_file(path)) == (
        ("epochs", Bounds(low=1, high=10.0, whole=True)),
        ("rate", Bounds(low=0, high=1)),
        ("optimizer", ("adam", "1")),
        ("width", Bounds(low=0.5, high=8)),
    )


def test_every_name_and_value_that_does_not_fit_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "parameters.yaml"
    path.write_text("batch_size: 5\nmodel: {width: 1}\noptimizer: adam\n")
    parameters = {
        "batchsize": ("1",),
        "model": ("1",),
        "batch_size": ("1", "big"),
        "optimizer": SweepRange(low=0, high=1),
        "zzz": ("1",),
    }
    with pytest.raises(ProblemsError) as caught:
        space_of(sweep_of("random", parameters), read_parameter_file(path))
    said = [f"{each.message}; {each.hint}" for each in caught.value.problems]
    parts = [
        "did you mean 'batch_size'?",
        "such as 'model.width'",
        "expected a number, as in the file, found 'big'",
        "bounds are for numbers, and the file has none there",
        "it has: batch_size, model.width, optimizer",
    ]
    assert [part in text for part, text in zip(parts, said, strict=True)] == [True] * 5
