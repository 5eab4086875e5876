"""What of a run's inputs and outputs goes into a research object, and what is only named there.

A record may come from a stranger, who could name any file of this machine as an output; whoever hands the object
on would hand on that file.  So only what still has the very bytes that the record has a hash of is copied: whoever
wrote the hash knew them.  Links are left out, because they may lead anywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from mlcommons_box.errors import BoxError
from mlcommons_box.parameter_content import content_of_parameter
from mlcommons_box.planning import BoundParameter
from mlcommons_box.record import RunRecord
from mlcommons_box.value import Value

_MOST_FILES = 10_000


class HeldFile(Value):
    """One file: where it is here, its name in the object, and its hash."""

    path: Path
    name: str
    digest: str
    size: int


class Held(Value):
    """What a parameter held during a run.

    ``key`` is the same for the same contents at the same place: what one run wrote and another has read.
    ``digest`` is empty where the record has none.  ``files`` are to be copied; where nothing is, ``reason`` says
    why.
    """

    parameter: BoundParameter
    key: str
    digest: str
    size: int | None
    files: tuple[HeldFile, ...] = ()
    reason: str | None = None

    @property
    def name(self) -> str:
        """The place in the object; that of a directory ends with a slash."""
        last = self.parameter.path.name or self.parameter.name
        return f"data/{self.key[:12]}/{last}" + ("/" if self.parameter.type == "directory" else "")


def held_by(record: RunRecord, most: int) -> list[Held]:
    """What every parameter of a run held; inputs of more than ``most`` bytes are not copied."""
    parameters = record.parameters
    return [
        _held(record, each, [other for other in parameters if other.direction != each.direction], most)
        for each in parameters
    ]


def _held(record: RunRecord, parameter: BoundParameter, others: Sequence[BoundParameter], most: int) -> Held:
    recorded = (record.inputs if parameter.direction == "input" else record.outputs).get(parameter.name)
    recorded = recorded if isinstance(recorded, dict) else {}
    digest, size = recorded.get("digest"), recorded.get("size")
    digest = digest if isinstance(digest, str) else ""
    size = size if isinstance(size, int) and not isinstance(size, bool) else None
    key = hashlib.sha256(f"{digest or record.id} {parameter.path}".encode("utf-8", "surrogatepass")).hexdigest()

    def held(reason: str | None, files: tuple[HeldFile, ...] = ()) -> Held:
        return Held(parameter=parameter, key=key, digest=digest, size=size, files=files, reason=reason)

    if not digest:
        return held("the record has no hash of it")
    if parameter.elsewhere:
        return held("it is not on this machine")
    if parameter.direction == "input" and (size or 0) > most:
        return held(f"it is larger than {most} bytes")
    try:
        content = content_of_parameter(parameter, others)
    except BoxError as error:
        return held(error.message)
    if content.whole.digest != digest:
        return held("it is not there any more" if not content.entries else "it has changed since")
    if len(content.entries) > _MOST_FILES:
        return held(f"it has more than {_MOST_FILES} entries")
    prefix = Held(parameter=parameter, key=key, digest=digest, size=size).name
    digests = content.digests
    files = tuple(
        HeldFile(path=parameter.path / name, name=prefix + name, digest=digests[name], size=state[2])
        for name, kind, state in sorted(content.entries)
        if kind == "file" and _is_text(name)
    )
    return held(None, files)


def _is_text(name: str) -> bool:
    """Whether a file's name can be written in JSON."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
