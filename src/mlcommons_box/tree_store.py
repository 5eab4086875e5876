"""What trees held, file by file, so that a difference between two of them has a name.

``.mlbox/trees.jsonl`` in a workspace has a line for each tree, however many runs have read or made it: it is
found by its digest.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

from mlcommons_box.errors import CannotCreateError
from mlcommons_box.fingerprint import Content
from mlcommons_box.journal import Journal, entry_of

FILE = Path(".mlbox", "trees.jsonl")
"""Below the workspace."""
MOST_ENTRIES = 10_000
"""A tree of more entries is told from others by its digest alone."""
_LINE = re.compile(rb'^\{"digest": "([0-9a-f]{64})".*', re.MULTILINE)


@lru_cache(maxsize=8)
def tree_store(workspace: Path) -> TreeStore:
    """The trees of a workspace; it remembers which it has."""
    return TreeStore(workspace)


class TreeStore:
    """The trees of a workspace."""

    def __init__(self, workspace: Path) -> None:
        self.journal = Journal(workspace / FILE)
        self._known: set[str] | None = None

    def keep(self, content: Content) -> None:
        """Write down what a tree holds, unless that was done.  Raises :class:`CannotCreateError`."""
        if content.whole.kind != "directory" or len(content.entries) > MOST_ENTRIES:
            return
        digest = content.whole.digest
        try:
            if self._known is None:
                self._known = {match[1].decode() for match in _LINE.finditer(self.journal.content())}
            if digest not in self._known:
                self.journal.append([{"digest": digest, "entries": content.digests}])
                self._known.add(digest)
        except OSError as error:
            raise CannotCreateError(
                f"cannot write {str(self.journal.file)!r}: {error.strerror}", hint="free some space"
            ) from error

    def keep_only(self, digests: Collection[str]) -> None:
        """Leave out all other trees.  Raises :class:`CannotCreateError`."""

        def is_kept(line: bytes) -> bool:
            found = _LINE.match(line)
            return found is not None and found[1].decode() in digests

        try:
            self.journal.keep(is_kept)
            self._known = None
        except OSError as error:
            raise CannotCreateError(f"cannot write {str(self.journal.file)!r}: {error.strerror}") from error

    def entries(self, digest: str) -> dict[str, str] | None:
        """The digests of all files and links of a tree by their names; None where they cannot be looked up."""
        try:
            content = self.journal.content()
        except OSError:
            return None
        for match in _LINE.finditer(content):
            if match[1].decode() == digest:
                entry = entry_of(match[0])
                if entry is not None and isinstance(entry.get("entries"), dict):
                    return {name: str(each) for name, each in entry["entries"].items()}
        return None
