"""What a research object says of runs, as names and values of RO-Crate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from mimetypes import guess_type
from typing import Any
from urllib.parse import unquote

from mlcommons_box.record import RunRecord
from mlcommons_box.report.crate_data import HeldFile
from mlcommons_box.report.run_files import is_number

TERMS = "https://w3id.org/ro/terms/workflow-run"
_SCHEMA = "http://schema.org/"
Properties = dict[str, Any]


def action_properties(record: RunRecord) -> Properties:
    """What is said of a run in plain words."""
    succeeded = record.status == "succeeded"
    reason = record.reason or f"the run is {record.status}"
    ended_at = record.ended_at or record.started_at
    return {
        "name": f"{record.run}: task {record.task} of the box {record.box}",
        "description": "\n".join(record.commands) or f"run {record.id} on the platform {record.platform}",
        "startTime": record.started_at.replace("Z", "+00:00"),
        "endTime": ended_at.replace("Z", "+00:00"),
        "actionStatus": f"{_SCHEMA}{'Completed' if succeeded else 'Failed'}ActionStatus",
        "error": None if succeeded else reason,
        "identifier": record.id,
    }


def image_properties(record: RunRecord) -> Properties | None:
    """The image that the task ran in; None when it ran in none, or in one that the record does not name."""
    reference = record.image.get("reference")
    if not isinstance(reference, str) or not reference:
        return None
    name, _, digest = reference.partition("@")
    known = (record.image.get("digest"), record.image.get("id"))
    digest = digest or next((each for each in known if isinstance(each, str)), "")
    sha256 = digest.rpartition(":")[2]
    if record.runner == "singularity" or reference.endswith((".sif", ".simg")):
        return {"additionalType": {"@id": f"{TERMS}#SIFImage"}, "name": reference, "sha256": sha256}
    path, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        path, tag = name, ""
    host, slash, rest = path.partition("/")
    has_host = bool(slash) and ("." in host or ":" in host or host == "localhost")
    return {
        "additionalType": {"@id": f"{TERMS}#DockerImage"},
        "name": rest if has_host else path,
        "registry": host if has_host else "docker.io",
        "tag": tag or ("" if digest else "latest"),
        "sha256": sha256,
    }


def link(entity: Any, name: str, other: Any) -> None:
    """Add a value to a property, once; a single value stands alone, as the rules recommend."""
    known = entity.get(name)
    values = known if isinstance(known, list) else [] if known is None else [known]
    if other not in values:
        entity[name] = [*values, other] if values else other


def mark(entity: Any) -> str:
    """The identifier of an entity as it was before it became a part of a URI."""
    return unquote(str(entity.id))


def is_uri(text: str) -> bool:
    """Whether it names a page of the web."""
    return text.startswith(("http://", "https://"))


def file_properties(held: HeldFile) -> Properties:
    """The hash, the size and the kind of a file."""
    kind, _ = guess_type(held.name)
    said = {"contentSize": str(held.size), "encodingFormat": kind or "application/octet-stream"}
    return {"sha256": held.digest, **said}


def scalars(values: Any) -> Iterator[tuple[str, Any]]:
    """The names whose values are texts, numbers or truth values."""
    if isinstance(values, Mapping):
        for name, value in values.items():
            if isinstance(value, str | bool) or is_number(value):
                yield str(name), value
