"""Runs as a research object: an RO-Crate by the profile for processes, https://w3id.org/ro/wfrun/process/0.5.

That profile describes executions of tools that may feed each other, which is what runs of a box are: a task is a
tool (``SoftwareApplication``), a run of it is a ``CreateAction``, and what one run wrote and another has read is
one entity, by its place and its hash.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlcommons_box.errors import CannotCreateError
from mlcommons_box.planning import BoundParameter
from mlcommons_box.record import RunRecord
from mlcommons_box.report.crate_data import Held, held_by
from mlcommons_box.report.crate_entities import (
    TERMS,
    Properties,
    action_properties,
    file_properties,
    image_properties,
    is_uri,
    link,
    mark,
    scalars,
)
from mlcommons_box.report.problems import counted
from mlcommons_box.report.run_files import is_number, steps_of
from mlcommons_box.run_store import RunStore
from mlcommons_box.value import Value, as_data

PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_OURSELVES = "https://pypi.org/project/mlcommons-box/"


class CrateOptions(Value):
    """What its maker decides.  ``agent`` is a name or a URI such as an ORCID of whoever started the runs."""

    license: str
    most: int
    agent: str | None = None
    has_logs: bool = False


def write_crate(
    records: Sequence[RunRecord],
    store: RunStore,
    target: Path,
    options: CrateOptions,
    on_left_out: Callable[[Held], None],
) -> None:
    """Write the object into a new directory, or into a new file when ``target`` ends in ``.zip``.

    ``on_left_out`` is told what is named but not copied.  Raises :class:`CannotCreateError`.
    """
    crate = _Crate(options, store)
    crate.describe(records)
    for record in records:
        for held in crate.add_run(record):
            on_left_out(held)
    whole = target.absolute()  # which has a name and a parent, unlike '.'
    partial = whole.parent / f".{os.getpid()}.{whole.name}"
    try:
        try:
            if target.suffix == ".zip":
                crate.crate.write_zip(partial)
                with zipfile.ZipFile(partial, "a") as archive:  # directories are a part of it, too
                    for name in crate.directories:
                        archive.writestr(name, b"")
            else:
                crate.crate.write(partial)
            partial.replace(whole)
        except BaseException:
            with suppress(OSError):
                partial.unlink() if partial.is_file() else shutil.rmtree(partial)
            raise
    except OSError as error:
        raise CannotCreateError(f"cannot write {str(target)!r}: {error.strerror or error}") from error


class _Crate:
    """The object while it grows."""

    def __init__(self, options: CrateOptions, store: RunStore) -> None:
        from rocrate.rocrate import ROCrate

        self.options = options
        self.store = store
        self.crate = ROCrate(version="1.1")
        self.crate.metadata.extra_contexts.append(f"{TERMS}/context")
        self.data: dict[str, Any] = {}
        self.directories: list[str] = []

    def describe(self, records: Sequence[RunRecord]) -> None:
        """What the whole is."""
        root = self.crate.root_dataset
        boxes = ", ".join(dict.fromkeys(f"{record.box} {record.box_version}" for record in records))
        runs = ", ".join(dict.fromkeys(record.run for record in records))
        root["name"] = f"Runs of {boxes}"
        root["description"] = f"{counted(len(records), 'recorded run')} ({runs}) of the box {boxes}"
        root["datePublished"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
        root["license"] = self.license()
        if self.options.agent:
            root["author"] = self.agent(self.options.agent)
        profile = {"name": "Process Run Crate", "version": "0.5"}
        root["conformsTo"] = self.entity(PROFILE, "CreativeWork", profile)

    def entity(self, identifier: str, kind: str | list[str], properties: Mapping[str, Any]) -> Any:
        """An entity, made once; ``identifier`` is a URI, or any text behind a ``#``."""
        if identifier.startswith("#"):
            identifier = f"#{quote(identifier[1:], safe='-._~')}"
        known = self.crate.dereference(identifier)
        if known is not None:
            return known
        from rocrate.model.contextentity import ContextEntity

        said = {name: value for name, value in properties.items() if value not in (None, "", [])}
        return self.crate.add(ContextEntity(self.crate, identifier, {"@type": kind, **said}))

    def add_run(self, record: RunRecord) -> Iterator[Held]:
        """One run with all that belongs to it; what is named but not copied."""
        action = self.entity(f"#run-{record.id}", "CreateAction", action_properties(record))
        action["instrument"] = tool = self.tool_of(record)
        link(self.crate.root_dataset, "mentions", action)
        if self.options.agent:
            action["agent"] = self.agent(self.options.agent)
        for held in held_by(record, self.options.most):
            is_input = held.parameter.direction == "input"
            if not is_input and not held.digest:
                continue  # a run that has failed need not have made it
            data = self.data_of(held)
            link(data, "exampleOfWork", self.formal_parameter(tool, held.parameter))
            link(action, "object" if is_input else "result", data)
            if held.reason:
                yield held
        self.add_values(record, action)
        image = image_properties(record)
        if image is not None:
            identifier = f"#image-{record.image['reference']}-{image['sha256'][:12]}"
            action["containerImage"] = self.entity(identifier, "ContainerImage", image)
        self.add_files(record, action)

    def tool_of(self, record: RunRecord) -> Any:
        """The task, as a tool; the hashes of its code tell it from others of the same name."""
        code = record.code
        build = code.get("build")
        git = code.get("git")
        digests = [
            ("definition", code.get("definition")),
            ("build", build.get("digest") if isinstance(build, dict) else None),
            ("commit", git.get("commit") if isinstance(git, dict) else None),
        ]
        known = [(name, value) for name, value in digests if isinstance(value, str) and value]
        version = "-".join(value[:8] for _, value in known) or record.box_version
        identifier = f"#task-{record.box}-{record.task}-{version}"
        return self.entity(
            identifier,
            "SoftwareApplication",
            {
                "name": f"{record.box} / {record.task}",
                "softwareVersion": record.box_version,
                "applicationCategory": "machine learning",
                "identifier": [
                    self.property(f"{identifier}-{name}", f"sha of {name}" if name != "commit" else name, value)
                    for name, value in known
                ],
                "softwareRequirements": self.entity(
                    f"{_OURSELVES}{quote(record.tool_version)}/",
                    "SoftwareApplication",
                    {"name": "MLCommons-Box", "softwareVersion": record.tool_version, "url": _OURSELVES},
                ),
            },
        )

    def formal_parameter(self, tool: Any, parameter: BoundParameter) -> Any:
        """What a task takes or makes, whatever a run bound it to."""
        direction = parameter.direction
        kind = "Dataset" if parameter.type == "directory" else "File"
        identifier = f"{mark(tool)}-{direction}-{parameter.name}"
        formal = self.entity(identifier, "FormalParameter", {"name": parameter.name, "additionalType": kind})
        link(tool, direction, formal)
        return formal

    def data_of(self, held: Held) -> Any:
        """What a parameter held; one entity for what one run wrote and others have read."""
        if held.key in self.data:
            return self.data[held.key]
        is_directory = held.parameter.type == "directory"
        said: Properties = {"name": held.parameter.path.name or held.parameter.name}
        if held.size is not None:
            said["contentSize"] = str(held.size)
        if held.digest and is_directory:
            said["identifier"] = self.property(f"#tree-{held.digest}", "SHA-256 of the tree", held.digest)
        elif held.digest:
            said["sha256"] = held.digest
        if held.reason:
            said["description"] = f"not in this object: {held.reason}"
            data = self.entity(f"#data-{held.key}", "CreativeWork", said)
        elif is_directory:
            data = self.crate.add_dataset(dest_path=held.name, properties=said)
            self.directories.append(held.name)
            for each in held.files:
                link(
                    data,
                    "hasPart",
                    self.crate.add_file(each.path, each.name, properties=file_properties(each)),
                )
        else:
            (file,) = held.files
            data = self.crate.add_file(file.path, file.name, properties={**said, **file_properties(file)})
        self.data[held.key] = data
        return data

    def add_values(self, record: RunRecord, action: Any) -> None:
        """Hyper-parameters, metrics, the environment, and what the run used up."""
        for where, values in record.hyperparameters.items():
            for name, value in scalars(values):
                link(action, "object", self.property(f"{mark(action)}-hyperparameter-{where}-{name}", name, value))
        for name, value in record.metrics.items():
            if is_number(value):
                link(action, "result", self.property(f"{mark(action)}-metric-{name}", name, value))
        for name, value in scalars(record.plan.get("environment")):
            link(action, "environment", self.property(f"{mark(action)}-environment-{name}", name, value))
        usage = {**dict(scalars(record.usage)), "duration": record.duration}
        for name, unit in (("peak_memory", "bytes"), ("cpu_time", "seconds"), ("duration", "seconds")):
            if is_number(usage.get(name)):
                identifier = f"{mark(action)}-usage-{name}"
                link(action, "resourceUsage", self.property(identifier, name, usage[name], unitText=unit))

    def add_files(self, record: RunRecord, action: Any) -> None:
        """The record itself, the steps of the metrics, and the logs if they are wanted."""
        texts = {"record.json": json.dumps(as_data(record), indent=2)}
        steps = steps_of(self.store, record.id)
        if steps:
            texts["metrics.jsonl"] = "".join(f"{json.dumps(step)}\n" for step in steps)
        for name, text in texts.items():
            kind = "application/json" if name.endswith(".json") else "application/jsonl"
            said = {"name": f"{name} of the run {record.id}", "encodingFormat": kind, "about": action}
            self.crate.add_file(io.StringIO(text), f"runs/{record.id}/{name}", properties=said)
        for stream in ("stdout", "stderr") if self.options.has_logs else ():
            with suppress(OSError), self.store.open_log(record.id, stream) as log:
                said = {"name": f"{stream} of the run {record.id}", "encodingFormat": "text/plain", "about": action}
                self.crate.add_file(io.BytesIO(log.read()), f"runs/{record.id}/{stream}.log", properties=said)

    def agent(self, text: str) -> Any:
        """A person, by name or by URI."""
        return self.entity(text if is_uri(text) else f"#{text}", "Person", {"name": text})

    def license(self) -> Any:
        """What others may do with the whole: a page, or plain words."""
        text = self.options.license
        return self.entity(text, "CreativeWork", {"name": text.rpartition("/")[2]}) if is_uri(text) else text

    def property(self, identifier: str, name: str, value: Any, **more: Any) -> Any:
        """A name with a value."""
        return self.entity(identifier, "PropertyValue", {"name": name, "value": value, **more})
