"""Immutable values with named fields.

They behave as ``@dataclass(frozen=True, kw_only=True)`` of the standard library does, for people and for type
checkers (PEP 681).  That one writes Python source for every class, compiles it, and loads the modules that read
source text: for the classes of this package 20 ms at every start, a third of the time in which a box is checked.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from typing import TypeVar

    from typing_extensions import dataclass_transform

    T = TypeVar("T")
    V = TypeVar("V", bound="Value")
else:

    def dataclass_transform(**_):
        """Only type checkers need it; Python has it from 3.11 on."""
        return lambda kind: kind


class _Aside:
    def __init__(self, default: object) -> None:
        self.default = default


def aside(*, default: T) -> T:
    """A field that takes no part in comparisons and is not shown: where a value comes from, say."""
    return _Aside(default)  # type: ignore[return-value]


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(aside,))
class Value:
    """A value: two with equal fields are equal, and none ever changes.

    The fields are the annotated names of the class body, and those of the classes it is derived from; what is
    assigned to one is its default.  They are given by name.  Raises :class:`TypeError` for a name that is no
    field, and for a field without a default that is not given.
    """

    _fields: ClassVar[frozenset[str]] = frozenset()
    _required: ClassVar[frozenset[str]] = frozenset()
    _compared: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        required, compared = set(cls._required), list(cls._compared)
        own = [name for name, kind in cls.__annotations__.items() if not kind.startswith("ClassVar[")]
        for name in own:
            default = cls.__dict__.get(name, cls)
            if default is cls:
                required.add(name)
            if isinstance(default, _Aside):
                setattr(cls, name, default.default)
            else:
                compared.append(name)
        cls._fields = cls._fields.union(own)
        cls._required = frozenset(required)
        cls._compared = tuple(compared)

    def __init__(self, **values: Any) -> None:
        if not (values.keys() <= self._fields and values.keys() >= self._required):
            unknown = ", ".join(sorted(values.keys() - self._fields)) or "none"
            missing = ", ".join(sorted(self._required - values.keys())) or "none"
            raise TypeError(f"{type(self).__name__}: unknown fields: {unknown}; missing fields: {missing}")
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} does not change; replace() makes another")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} does not change; replace() makes another")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self._compared)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in self._compared))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._compared)
        return f"{type(self).__name__}({shown})"


def replace(value: V, **changes: Any) -> V:
    """A value that differs from another in some fields; raises :class:`TypeError` for a name that is no field."""
    return type(value)(**{**value.__dict__, **changes})


def is_required(kind: type[Value], name: str) -> bool:
    """Whether a field has no default."""
    return name in kind._required


def field_names(kind: type[Value]) -> tuple[str, ...]:
    """The fields that take part in comparisons, those of base classes first."""
    return kind._compared


def as_data(value: Any) -> Any:
    """A value, and all values in it, as dictionaries, tuples and what else they consist of."""
    if isinstance(value, Value):
        return {name: as_data(getattr(value, name)) for name in field_names(type(value))}
    if isinstance(value, tuple):
        return tuple(map(as_data, value))
    if isinstance(value, dict | MappingProxyType):
        return {name: as_data(each) for name, each in value.items()}
    return value
