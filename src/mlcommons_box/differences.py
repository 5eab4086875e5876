"""What tells two runs apart, or a run from what is there now, each with a name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from mlcommons_box.fingerprint import Content
from mlcommons_box.tree_store import TreeStore
from mlcommons_box.value import Value

Kind = Literal[
    "record",
    "code",
    "binding",
    "environment",
    "platform",
    "hyperparameter",
    "input",
    "output",
    "image",
    "metric",
    "run",
]
_MOST_NAMES = 20
"""Files of one tree that are named."""


class Difference(Value):
    """One thing that differs; ``before`` and ``after`` are None where there is nothing to show."""

    kind: Kind
    name: str
    says: str
    before: Any = None
    after: Any = None


def changes_of_values(kind: Kind, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    """What differs between named values, a difference for each name."""
    for name in dict.fromkeys((*before, *after)):
        if name not in after:
            yield Difference(kind=kind, name=name, says=f"{before[name]} is gone", before=before[name])
        elif name not in before:
            yield Difference(kind=kind, name=name, says=f"{after[name]} is new", after=after[name])
        elif before[name] != after[name] or type(before[name]) is not type(after[name]):
            says = f"{_text(before[name])} became {_text(after[name])}"
            yield Difference(kind=kind, name=name, says=says, before=before[name], after=after[name])


def changes_of_content(
    kind: Kind, name: str, recorded: Mapping[str, Any], content: Content, trees: TreeStore
) -> Iterator[Difference]:
    """What differs between a recorded fingerprint and what is there, file by file where that is known."""
    now = content.whole
    if not content.entries:
        yield Difference(kind=kind, name=name, says="it is not there", before=recorded.get("digest"))
        return
    yield from changes_of_trees(
        kind, name, recorded, {"kind": now.kind, "digest": now.digest}, trees, content.digests
    )


def changes_of_trees(
    kind: Kind,
    name: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    trees: TreeStore,
    files_after: Mapping[str, str] | None = None,
) -> Iterator[Difference]:
    """What differs between two fingerprints, file by file where that is known; nothing when they are the same."""
    first, second = _digest(before), _digest(after)
    if first == second and first:
        return
    if first is None and second is None:
        return
    whole_change = Difference(kind=kind, name=name, says=_change(first, second), before=first, after=second)
    if before.get("kind") != "directory" or after.get("kind") != "directory":
        yield whole_change
        return
    old = trees.entries(first) if first else None
    new = files_after if files_after is not None or not second else trees.entries(second)
    if old is None or new is None:
        yield whole_change
        return
    changed = sorted(each for each in {*old, *new} if old.get(each) != new.get(each))
    base = name if name.endswith("/") else f"{name}/"
    for each in changed[:_MOST_NAMES]:
        yield Difference(
            kind=kind,
            name=f"{base}{each}",
            says=_change(old.get(each), new.get(each)),
            before=old.get(each),
            after=new.get(each),
        )
    if len(changed) > _MOST_NAMES:
        yield Difference(kind=kind, name=name, says=f"{len(changed) - _MOST_NAMES} more files differ")
    if not changed:  # only directories, which hold nothing
        yield whole_change


def _digest(fingerprint: Mapping[str, Any]) -> str | None:
    """A stranger's record may hold anything."""
    digest = fingerprint.get("digest")
    return digest if digest and isinstance(digest, str) else None


def _change(before: str | None, after: str | None) -> str:
    if not before:
        return "it is new"
    if not after:
        return "it is gone"
    return f"its content changed ({before[:12]} became {after[:12]})"


def _text(value: Any) -> str:
    return repr(value) if isinstance(value, str) else "nothing" if value is None else str(value)
