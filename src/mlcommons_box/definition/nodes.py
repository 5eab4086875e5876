"""The nodes of a YAML file, each of which remembers its file, line and column."""

from __future__ import annotations

import re

from mlcommons_box.errors import Location
from mlcommons_box.suggestions import quoted, shortened
from mlcommons_box.value import Value


class ScalarNode(Value):
    """A single value; ``plain`` is whether it was written without quotes."""

    value: str
    plain: bool
    location: Location


class SequenceNode(Value):
    """A list."""

    items: tuple[Node, ...]
    location: Location


class MappingNode(Value):
    """A mapping; keys are unique."""

    entries: tuple[tuple[ScalarNode, Node], ...]
    location: Location


Node = ScalarNode | SequenceNode | MappingNode
_INTEGER = r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"
_FLOAT = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
_WORDS: dict[str, bool | None] = {"": None, "~": None}
_WORDS.update(dict.fromkeys(("null", "Null", "NULL")))
_WORDS.update(dict.fromkeys(("true", "True", "TRUE"), True))
_WORDS.update(dict.fromkeys(("false", "False", "FALSE"), False))


def resolve(node: ScalarNode) -> str | int | float | bool | None:
    """The value of a scalar by the core schema of YAML 1.2 (section 10.3.2): ``no`` and ``1.0.0`` are text."""
    text = node.value
    if not node.plain:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if re.fullmatch(_INTEGER, text):
        return _integer(text)
    if re.fullmatch(_FLOAT, text):
        word = text.lower()
        return float(word.replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _integer(text: str) -> int | float:
    # What no float holds is infinite: int() refuses long texts, and so does str() the number made from one.
    if len(text) > 250:
        return float("-inf" if text.startswith("-") else "inf")
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


def kind_of(node: Node) -> str:
    """What a node is, in the words of a message: ``a list``, ``the number 1.0``, ``nothing``."""
    if isinstance(node, SequenceNode):
        return "a list"
    if isinstance(node, MappingNode):
        return "a mapping"
    value = resolve(node)
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return node.value
    return f"the text {quoted(value)}" if isinstance(value, str) else f"the number {shortened(node.value)}"
