"""The rules of :mod:`mlcommons_box.definition.schema` as JSON Schema, for editors.

The files in ``schemas/`` are made by ``make schemas``; a test proves that they are up to date, and that they
and our own rules accept and refuse the same files.
"""

from __future__ import annotations

import json
from pathlib import Path

from mlcommons_box.definition import platform_schema, schema
from mlcommons_box.definition.file_kinds import SCHEMA_TYPE, SCHEMA_VERSION, SCHEMAS, FileSchema
from mlcommons_box.definition.rules import JsonSchema, Version, version_text

DIRECTORY = Path(__file__).parent / "schemas"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def published() -> dict[str, JsonSchema]:
    """Every schema by the name of its file."""
    return {f"{kind}.json": file_schema(each) for kind, each in SCHEMAS.items()}


def file_schema(described: FileSchema) -> JsonSchema:
    """The JSON Schema of one ``schema_type``, with one definition for each of its versions."""
    body: JsonSchema = {
        "type": "object",
        "required": [SCHEMA_TYPE, SCHEMA_VERSION],
        "properties": {SCHEMA_VERSION: {"enum": [version_text(version) for version in described.versions]}},
        "allOf": [_for_version(version) for version in described.versions],
    }
    head: JsonSchema = {"$schema": _DIALECT, "title": f"MLCommons-Box: {described.what} ({described.type})"}
    definitions: JsonSchema = {version_text(version): _record(described, version) for version in described.versions}
    if described.type == "mlbox_ssh":
        definitions["typed"] = body
        definitions["tutorial"] = platform_schema.Ssh.TUTORIAL_RECORD.json_schema(schema.V1_0)
        definitions["release"] = platform_schema.Ssh.RELEASE_RECORD.json_schema(schema.V1_0)
        body = {
            "if": {"required": [SCHEMA_TYPE]},
            "then": _reference("typed"),
            "else": {
                "if": {"anyOf": [{"required": ["authentication"]}, {"required": ["interpreter"]}]},
                "then": _reference("release"),
                "else": _reference("tutorial"),
            },
        }
    return {**head, **body, "$defs": definitions}


def _for_version(version: Version) -> JsonSchema:
    text = version_text(version)
    return {"if": {"properties": {SCHEMA_VERSION: {"const": text}}}, "then": _reference(text)}


def _reference(name: str) -> JsonSchema:
    return {"$ref": f"#/$defs/{name}"}


def _record(described: FileSchema, version: Version) -> JsonSchema:
    record = described.record.json_schema(version)
    header: JsonSchema = {
        SCHEMA_TYPE: {"description": "Kind of this file.", "const": described.type},
        SCHEMA_VERSION: {"description": "Version of the rules for this file.", "const": version_text(version)},
    }
    properties = record["properties"]
    if not isinstance(properties, dict):
        raise TypeError("the rules of a file are a record")
    record["properties"] = {**header, **properties}
    return record


def text_of(content: JsonSchema) -> str:
    """A schema as it is written to its file."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write every schema to its file."""
    for name, content in published().items():
        (DIRECTORY / name).write_text(text_of(content), "utf-8")


if __name__ == "__main__":
    main()
