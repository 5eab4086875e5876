"""What the trials of a sweep choose from, and the values of each.

The same sweep file gives the same trials on every machine and with every version of Python: what is drawn is drawn
from the seed alone, by the formulas here.
"""

from __future__ import annotations

import itertools
import math
import random

from mlcommons_box.errors import ConfigurationError, Location, Problem, ProblemsError
from mlcommons_box.model import Sweep, SweepRange
from mlcommons_box.parameter_file import ParameterFile, Scalar, typed
from mlcommons_box.suggestions import did_you_mean, nearest, quoted
from mlcommons_box.value import Value

MOST_TRIALS = 100_000
_DIGITS = 6
"""Significant digits of a number that is drawn: enough for a hyper-parameter, and the same on every machine."""

Values = tuple[tuple[str, Scalar], ...]


class Bounds(Value):
    """Numbers from ``low`` to ``high``, that one included; ``whole`` ones where the file has a whole number."""

    low: float
    high: float
    logarithmic: bool = False
    whole: bool = False

    def at(self, place: float) -> float:
        """The number at a place from 0 to 1."""
        low, high = (self.low, self.high + 1) if self.whole else (self.low, self.high)
        if self.logarithmic:
            number = math.exp(math.log(low) + place * (math.log(high) - math.log(low)))
        else:
            number = low + place * (high - low)
        return self.rounded(math.floor(number) if self.whole else number)

    def rounded(self, number: float) -> float:
        """A number of these bounds as it is written down."""
        if self.whole:
            return min(max(round(number), int(self.low)), int(self.high))
        return min(max(float(f"{number:.{_DIGITS}g}"), float(self.low)), float(self.high))


Choices = tuple[Scalar, ...] | Bounds
Space = tuple[tuple[str, Choices], ...]
"""What a trial chooses from, by the names of the hyper-parameters."""


def space_of(sweep: Sweep, file: ParameterFile | None) -> Space:
    """What the trials of a sweep choose from; with a ``file``, of the types that it has.

    Raises :class:`ProblemsError` with every name that the file does not have, and every value of another type.
    """
    problems: list[Problem] = []
    space = []
    places = sweep.places or (Location(file=str(sweep.file)),) * len(sweep.parameters)
    for (name, values), place in zip(sweep.parameters, places, strict=True):
        if file is not None and name not in file.leaves:
            problems.append(_unknown(name, file, place))
            continue
        try:
            space.append((name, _choices(values, "" if file is None else file.leaves[name].value)))
        except ValueError as error:
            problems.append(Problem(code="bad-value", message=f"{quoted(name)}: {error}", location=place))
    if problems:
        raise ProblemsError(problems)
    return tuple(space)


def _choices(values: tuple[str, ...] | SweepRange, like: Scalar) -> Choices:
    if isinstance(values, tuple):
        return tuple(typed(text, like) for text in values)
    if not isinstance(like, int | float) or isinstance(like, bool):
        raise ValueError("bounds are for numbers, and the file has none there")
    whole = isinstance(like, int) and float(values.low).is_integer() and float(values.high).is_integer()
    return Bounds(low=values.low, high=values.high, logarithmic=values.logarithmic, whole=whole)


def _unknown(name: str, file: ParameterFile, place: Location) -> Problem:
    if name in file.groups:
        below = next((each for each in file.leaves if each.startswith(f"{name}.")), None)
        message = f"{quoted(name)} is no single value in {str(file.path)!r}"
        return Problem(
            code="unknown-parameter", message=message, location=place, hint=below and f"such as {quoted(below)}"
        )
    known = ", ".join(list(file.leaves)[:12])
    return Problem(
        code="unknown-parameter",
        message=f"there is no {quoted(name)} in {str(file.path)!r}",
        location=place,
        hint=did_you_mean(nearest(name, file.leaves)) or f"it has: {known}",
    )


def value_sets(sweep: Sweep, space: Space) -> list[Values]:
    """The values of every trial of a grid, a list or random draws, each set of values once.

    Raises :class:`ConfigurationError` for more than anybody could run.
    """
    if sweep.method in ("random", "search"):
        return _drawn(space, sweep.trials or 1, sweep.seed or 0)
    names = [name for name, _ in space]
    lists = [choices for _, choices in space if not isinstance(choices, Bounds)]
    combine = itertools.product if sweep.method == "grid" else zip
    count = math.prod(map(len, lists)) if sweep.method == "grid" else 1
    if count > MOST_TRIALS:
        raise ConfigurationError(
            f"the sweep {sweep.name!r} has {count} trials, and at most {MOST_TRIALS} are possible",
            hint="write fewer values, or 'method: random' with 'trials'",
        )
    found = [tuple(zip(names, values, strict=True)) for values in combine(*lists)]
    return list({values_key(values): values for values in found}.values())


def _drawn(space: Space, count: int, seed: int) -> list[Values]:
    """Values drawn one trial after the other, so that more trials begin with the same ones."""
    if count > MOST_TRIALS:
        raise ConfigurationError(f"a sweep has at most {MOST_TRIALS} trials, not {count}")
    source = random.Random(seed)  # noqa: S311  # nothing here is a secret
    found: dict[object, Values] = {}
    in_vain = 0
    while len(found) < count and in_vain < 1000 + count:
        values = tuple((name, chosen(choices, source.random())) for name, choices in space)
        in_vain = in_vain + 1 if values_key(values) in found else 0
        found.setdefault(values_key(values), values)
    return list(found.values())


def chosen(choices: Choices, place: float) -> Scalar:
    """The value at a place from 0 to 1."""
    return choices.at(place) if isinstance(choices, Bounds) else choices[int(place * len(choices))]


def values_key(values: Values) -> tuple[tuple[str, str, Scalar], ...]:
    """What tells values apart, 1, 1.0 and true included."""
    return tuple(sorted((name, type(value).__name__, value) for name, value in values))
