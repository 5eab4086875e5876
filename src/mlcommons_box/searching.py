"""The method 'search': Optuna proposes the values of the next trials by the metrics of those that were run.

What is proposed follows from the seed and the trials that are known alone.  So a search that was interrupted goes
on as if it had not been.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlcommons_box.errors import UnavailableError
from mlcommons_box.model import Direction
from mlcommons_box.parameter_file import Scalar
from mlcommons_box.sweep import Bounds, Choices, Space, Values, values_key

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

_TRIES = 50
"""Proposals that are asked for until there is one that has not been tried."""


def check_available() -> None:
    """Raise :class:`UnavailableError` when Optuna is not there."""
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise UnavailableError(
            "the method 'search' needs Optuna, which is not installed",
            hint="pip install 'mlcommons-box[search]', or use 'method: random'",
        ) from error


class Search:
    """A study of what was tried in a space."""

    def __init__(self, space: Space, direction: Direction, seed: int) -> None:
        check_available()
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space = space
        self.seed = seed
        self._distributions = {name: _distribution(choices) for name, choices in space}
        self._study = optuna.create_study(direction=direction)
        self._numbers: dict[object, int] = {}

    def fitted(self, values: Values) -> Values | None:
        """Values in the order of the space; None when they cannot be of it, which may have been another once."""
        by_name = dict(values)
        if len(by_name) != len(self.space) or any(name not in by_name for name, _ in self.space):
            return None
        if not all(_holds(choices, by_name[name]) for name, choices in self.space):
            return None
        return tuple((name, by_name[name]) for name, _ in self.space)

    def ask(self, count: int) -> list[Values]:
        """Values for the next trials, none of which were tried; fewer when the space seems to have no more."""
        proposed: list[Values] = []
        attempt = 0
        while len(proposed) < count and attempt < _TRIES:
            values = self._proposal(attempt)
            attempt += 1
            if values_key(values) not in self._numbers:
                self._begin(values)
                proposed.append(values)
                attempt = 0
        return proposed

    def tell(self, values: Values, metric: float | None) -> None:
        """What came out of a trial; None when nothing did."""
        import optuna

        if values_key(values) not in self._numbers:
            self._begin(values)
        number = self._numbers[values_key(values)]
        if metric is None:
            self._study.tell(number, state=optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(number, metric)

    def _proposal(self, attempt: int) -> Values:
        import optuna

        seed = (self.seed * 1_000_003 + len(self._numbers) * _TRIES + attempt) % 2**32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is new in Optuna
            self._study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
            asked = self._study.ask(dict(self._distributions))
        self._study.tell(asked, state=optuna.trial.TrialState.FAIL)  # only what was run counts
        return tuple((name, _written(choices, asked.params[name])) for name, choices in self.space)

    def _begin(self, values: Values) -> None:
        import optuna

        trial: optuna.trial.FrozenTrial = optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING, params=dict(values), distributions=dict(self._distributions)
        )
        self._study.add_trial(trial)
        self._numbers[values_key(values)] = self._study.trials[-1].number


def _distribution(choices: Choices) -> BaseDistribution:
    import optuna

    if not isinstance(choices, Bounds):
        return optuna.distributions.CategoricalDistribution(_unique(choices))
    if choices.whole:
        return optuna.distributions.IntDistribution(int(choices.low), int(choices.high), log=choices.logarithmic)
    return optuna.distributions.FloatDistribution(float(choices.low), float(choices.high), log=choices.logarithmic)


def _unique(values: Sequence[Scalar]) -> tuple[Any, ...]:
    return tuple({(type(value), value): value for value in values}.values())


def _holds(choices: Choices, value: Scalar) -> bool:
    if isinstance(choices, Bounds):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and choices.low <= float(value or 0) <= choices.high
    return any(type(each) is type(value) and each == value for each in choices)


def _written(choices: Choices, value: Any) -> Scalar:
    scalar: Scalar = choices.rounded(value) if isinstance(choices, Bounds) else value
    return scalar
