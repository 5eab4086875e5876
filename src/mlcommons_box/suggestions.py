"""What to propose to somebody who has mistyped a word, and how to show words to people."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that ``word`` may be a slip of; neither long texts nor long lists are searched to the end."""
    from difflib import get_close_matches

    near = get_close_matches(word, list(islice(known, 1000)), n=1) if len(word) <= 100 else []
    return near[0] if near else None


def did_you_mean(word: str | None) -> str | None:
    """The hint that names ``word``."""
    return f"did you mean {word!r}?" if word else None


def listed(words: Iterable[str], joint: str = "and") -> str:
    """``'a', 'b' and 'c'``; no more than a reader looks through."""
    every = list(words)
    items = [quoted(word) for word in every[:20]]
    if len(every) > 20:
        items.append(f"{len(every) - 20} more")
    return f" {joint} ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def shortened(text: str) -> str:
    """A text as a message has room for it."""
    return text if len(text) <= _MESSAGE_ROOM else text[: _MESSAGE_ROOM - 3] + "..."


def quoted(text: str) -> str:
    """A text in quotes, as a message has room for it."""
    return repr(shortened(text))


_MESSAGE_ROOM = 80
