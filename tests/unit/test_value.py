"""Values behave as frozen, keyword-only dataclasses do."""

from __future__ import annotations

import copy
import pickle
import sys
from typing import Any

import pytest

from mlcommons_box.value import Value, as_data, aside, field_names, is_required, replace


class Point(Value):
    """Two fields to compare, one not to."""

    x: int
    y: int = 0
    seen_by: str | None = aside(default=None)


class Named(Point):
    """Derived: a required field after one with a default."""

    name: str


def test_fields_are_given_by_name_and_have_defaults() -> None:
    point = Point(x=1)
    assert (point.x, point.y, point.seen_by) == (1, 0, None)
    assert repr(Named(x=1, name="a")) == "Named(x=1, y=0, name='a')"


@pytest.mark.parametrize("wrong", [{}, {"y": 1}, {"x": 1, "z": 2}])
def test_what_is_missing_or_unknown_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"Point: unknown fields: (z|none); missing fields: (x|none)"):
        Point(**wrong)


def test_equal_fields_make_equal_values_whoever_saw_them() -> None:
    assert Point(x=1, y=0, seen_by="me") == Point(x=1)
    assert hash(Point(x=1, y=0, seen_by="me")) == hash(Point(x=1))
    assert Point(x=1) != Point(x=2)
    assert Point(x=1) != Named(x=1, name="a")
    assert Point(x=1) != (1, 0)


def test_values_do_not_change() -> None:
    point = Point(x=1)
    with pytest.raises(AttributeError, match="does not change"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="does not change"):
        del point.x
    assert point == Point(x=1)


def test_replace_makes_another_and_keeps_the_rest() -> None:
    first = Point(x=1, seen_by="me")
    second = replace(first, y=5)
    assert (first.y, second.x, second.y, second.seen_by) == (0, 1, 5, "me")
    with pytest.raises(TypeError, match="unknown fields: z"):
        replace(first, z=1)


def test_copies_are_equal() -> None:
    point = Point(x=1, y=2)
    assert copy.deepcopy(point) == pickle.loads(pickle.dumps(point)) == point


def test_as_plain_data() -> None:
    assert as_data({"points": (Point(x=1, seen_by="me"), 3)}) == {"points": ({"x": 1, "y": 0}, 3)}
    assert field_names(Named) == ("x", "y", "name")
    assert (is_required(Named, "x"), is_required(Named, "y"), is_required(Named, "name")) == (True, False, True)


def test_no_class_of_ours_is_made_from_source_text() -> None:
    modules = [name for name in sys.modules if name.startswith("mlcommons_box.") and ".contract" not in name]
    made = [
        kind
        for name in modules
        for kind in vars(sys.modules[name]).values()
        if isinstance(kind, type) and kind.__module__ == name and hasattr(kind, "__dataclass_fields__")
    ]
    assert made == []
