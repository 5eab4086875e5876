"""Searches by Optuna: what is proposed follows from the seed and from what is known."""

from __future__ import annotations

import sys

import pytest

from mlcommons_box.errors import UnavailableError
from mlcommons_box.searching import Search
from mlcommons_box.sweep import Bounds, Space, Values

SPACE: Space = (
    ("rate", Bounds(low=1e-4, high=1, logarithmic=True)),
    ("width", Bounds(low=1, high=16, whole=True)),
    ("optimizer", ("adam", "sgd", "adam")),
)


def loss(values: Values) -> float:
    given = dict(values)
    rate, width = given["rate"], given["width"]
    assert isinstance(rate, float)
    assert isinstance(width, int)
    return (rate - 0.1) ** 2 + width / 100 + 0.5 * (given["optimizer"] == "sgd")


def run(search: Search, trials: int, jobs: int = 1) -> list[Values]:
    done: list[Values] = []
    while len(done) < trials:
        proposed = search.ask(min(jobs, trials - len(done)))
        for values in proposed:
            search.tell(values, loss(values))
        done += proposed
    return done


@pytest.mark.parametrize("jobs", [1, 4])
def test_the_same_seed_gives_the_same_search(jobs: int) -> None:
    one, other = (run(Search(SPACE, "minimize", 1), 16, jobs) for _ in range(2))
    assert one == other
    assert one[:4] != run(Search(SPACE, "minimize", 2), 4, jobs)
    assert len(set(one)) == 16


def test_a_search_that_was_interrupted_goes_on_as_if_it_had_not_been() -> None:
    whole = run(Search(SPACE, "minimize", 1), 16)
    second = Search(SPACE, "minimize", 1)
    for values in whole[:9]:
        second.tell(values, loss(values))
    assert run(second, 7) == whole[9:]


def test_it_learns() -> None:
    found = run(Search(SPACE, "minimize", 0), 40)
    assert min(map(loss, found[20:])) < min(map(loss, found[:10]))
    assert sum(dict(values)["optimizer"] == "adam" for values in found[20:]) > 14


def test_a_trial_that_failed_counts_as_tried() -> None:
    search = Search((("a", ("x", "y")),), "maximize", 0)
    (first,) = search.ask(1)
    search.tell(first, None)
    (second,) = search.ask(1)
    assert {first, second} == {(("a", "x"),), (("a", "y"),)}
    assert search.ask(1) == []


def test_what_was_tried_in_another_space_does_not_count() -> None:
    search = Search(SPACE, "minimize", 0)
    good: Values = (("optimizer", "sgd"), ("width", 3), ("rate", 0.5))
    assert search.fitted(good) == (("rate", 0.5), ("width", 3), ("optimizer", "sgd"))
    for bad in (
        good[:2],
        (*good, ("more", 1)),
        (("optimizer", "rmsprop"), *good[1:]),
        (*good[:2], ("rate", 2.0)),
        (*good[:2], ("rate", True)),
        (*good[:2], ("other", 0.5)),
    ):
        assert search.fitted(bad) is None


def test_without_optuna_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UnavailableError) as caught:
        Search(SPACE, "minimize", 0)
    assert "pip install 'mlcommons-box[search]'" in str(caught.value.hint)
