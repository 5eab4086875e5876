"""The kinds of definition files, by their schema types, and the check of a file of one of them."""

from __future__ import annotations

from collections.abc import Container

from mlcommons_box.definition.nodes import MappingNode, Node, ScalarNode, kind_of, resolve
from mlcommons_box.definition.platform_schema import (
    Docker,
    Generic,
    Kubernetes,
    Local,
    Other,
    Singularity,
    Slurm,
    Ssh,
)
from mlcommons_box.definition.problems import Problems
from mlcommons_box.definition.rules import (
    Context,
    Invalid,
    Version,
    version_text,
)
from mlcommons_box.definition.schema import V0_1, V1_0, V1_1, Invoke, Root, Sweep, Task
from mlcommons_box.definition.structures import Fields, Record
from mlcommons_box.suggestions import did_you_mean, listed, nearest, quoted
from mlcommons_box.value import Value


class FileSchema(Value):
    """The rules of one ``schema_type`` and the versions in which they are published."""

    type: str
    what: str
    record: Record
    versions: tuple[Version, ...] = (V1_0, V1_1)


SCHEMAS: dict[str, FileSchema] = {
    schema.type: schema
    for schema in (
        FileSchema(type="mlbox_root", what="a box", record=Root.RECORD),
        FileSchema(type="mlbox_task", what="a task", record=Task.RECORD),
        FileSchema(type="mlbox_invoke", what="a run configuration", record=Invoke.RECORD),
        FileSchema(type="mlbox_docker", what="a Docker platform", record=Docker.RECORD),
        FileSchema(type="mlbox_singularity", what="a Singularity platform", record=Singularity.RECORD),
        FileSchema(
            type="mlcommons_box_platform", what="a platform", record=Generic.RECORD, versions=(V0_1, V1_0, V1_1)
        ),
        FileSchema(type="mlbox_local", what="a local platform", record=Local.RECORD),
        FileSchema(type="mlbox_ssh", what="an SSH platform", record=Ssh.RECORD),
        FileSchema(type="mlbox_slurm", what="a Slurm platform", record=Slurm.RECORD),
        FileSchema(type="mlbox_kubernetes", what="a Kubernetes platform", record=Kubernetes.RECORD),
        FileSchema(type="mlbox_runner", what="a platform of another distribution's runner", record=Other.RECORD),
        FileSchema(type="mlbox_sweep", what="a sweep", record=Sweep.RECORD),
    )
}
_NOT_PLATFORMS = ("mlbox_root", "mlbox_task", "mlbox_invoke", "mlbox_sweep")
PLATFORM_TYPES = tuple(name for name in SCHEMAS if name not in _NOT_PLATFORMS)
SCHEMA_TYPE = "schema_type"
SCHEMA_VERSION = "schema_version"
SSH_TUTORIAL = "ssh (tutorial)"
SSH_RELEASE = "ssh (0.2.3)"


def check_file(node: Node, allowed: tuple[str, ...], problems: Problems) -> tuple[str, Fields] | None:
    """The kind and the values of a definition file's root node, which has to be of an ``allowed`` kind.

    Returns None when anything is wrong; every problem found is in ``problems``.
    """
    if not isinstance(node, MappingNode):
        problems.report(
            "wrong-type", f"expected keys like 'schema_type: ...', found {kind_of(node)}", node.location
        )
        return None
    keys = {key.value for key, _ in node.entries}
    if not keys & {SCHEMA_TYPE, SCHEMA_VERSION} and Ssh.HOST.name in keys and "mlbox_ssh" in allowed:
        return _check_untyped_ssh(node, problems)
    kind = _schema_type(node, allowed, problems)
    if kind is None:
        return None
    schema = SCHEMAS[kind]
    slip = _slip(node, SCHEMA_VERSION, schema.record.fields)
    version = _schema_version(node, schema, slip, problems)
    if version is None:
        return None
    header = (SCHEMA_TYPE, SCHEMA_VERSION, slip and slip.value)
    body = tuple(entry for entry in node.entries if entry[0].value not in header)
    fields = _check_record(schema.record, MappingNode(entries=body, location=node.location), version, problems)
    return None if fields is None or SCHEMA_VERSION not in keys else (kind, fields)


def _check_record(record: Record, node: Node, version: Version, problems: Problems) -> Fields | None:
    try:
        return record.check(node, Context(problems=problems, version=version))
    except Invalid:
        return None


def _check_untyped_ssh(node: MappingNode, problems: Problems) -> tuple[str, Fields] | None:
    keys = {key.value for key, _ in node.entries}
    release = bool(keys & {"authentication", "interpreter"})
    fields = _check_record(Ssh.RELEASE_RECORD if release else Ssh.TUTORIAL_RECORD, node, V1_0, problems)
    return None if fields is None else (SSH_RELEASE if release else SSH_TUTORIAL, fields)


def _schema_type(node: MappingNode, allowed: tuple[str, ...], problems: Problems) -> str | None:
    wanted = listed(allowed, "or")
    value = _header(node, SCHEMA_TYPE)
    if value is None:
        hint = f"write 'schema_type: {allowed[0]}'" if len(allowed) == 1 else f"its value is {wanted}"
        _missing(SCHEMA_TYPE, node, _slip(node, SCHEMA_TYPE, ()), hint, problems)
        return None
    if not isinstance(value, ScalarNode):
        problems.report("wrong-type", f"expected {wanted}, found {kind_of(value)}", value.location)
        return None
    kind = value.value
    if kind not in SCHEMAS:
        hint = did_you_mean(nearest(kind, allowed)) or f"expected {wanted}"
        problems.report("schema-type", f"unknown schema_type {quoted(kind)}", value.location, hint=hint)
        return None
    if kind not in allowed:
        message = f"expected {wanted}, found {kind!r}, which is {SCHEMAS[kind].what}"
        problems.report("schema-type", message, value.location)
        return None
    return kind


def _schema_version(
    node: MappingNode, schema: FileSchema, slip: ScalarNode | None, problems: Problems
) -> Version | None:
    """The declared version; the first one when the key is missing, so that the rest can still be checked."""
    known = [version_text(version) for version in schema.versions]
    value = _header(node, SCHEMA_VERSION)
    if value is None:
        _missing(SCHEMA_VERSION, node, slip, f"write 'schema_version: {version_text(V1_0)}'", problems)
        return schema.versions[0]
    text = resolve(value) if isinstance(value, ScalarNode) else None
    if isinstance(text, str) and text in known:
        return schema.versions[known.index(text)]
    hint = f"known versions: {listed(known)}"
    if isinstance(text, str):
        problems.report("schema-version", f"unsupported schema_version {quoted(text)}", value.location, hint=hint)
    else:
        found = kind_of(value)
        problems.report("wrong-type", f"expected a version like 1.0.0, found {found}", value.location, hint=hint)
    return None


def _slip(node: MappingNode, name: str, known: Container[str]) -> ScalarNode | None:
    """The key that may be a slip of ``name``, when that is not there itself."""
    keys = [key for key, _ in node.entries]
    if any(key.value == name for key in keys):
        return None
    strange = (key for key in keys if key.value not in (SCHEMA_TYPE, SCHEMA_VERSION) and key.value not in known)
    return next((key for key in strange if nearest(key.value, [name])), None)


def _missing(name: str, node: MappingNode, slip: ScalarNode | None, hint: str, problems: Problems) -> None:
    if slip:
        message = f"unknown key {quoted(slip.value)}"
        problems.report("unknown-key", message, slip.location, hint=did_you_mean(name))
    else:
        problems.report("missing-key", f"the key {name!r} is missing", node.location, hint=hint)


def _header(node: MappingNode, name: str) -> Node | None:
    return next((value for key, value in node.entries if key.value == name), None)
