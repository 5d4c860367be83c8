"""The JSON Schema of rum.toml, made from `document`: for editors, for messages, and for docs/config.md."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from rum.host.config.document import File
from rum.host.config.place import Place

Schema = Mapping[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class TomlSchema(GenerateJsonSchema):
    """TOML has no null: a key that may be absent is just that."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """The value, where there is one."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Only defaults that one could write down; a table has its own."""
        made = super().default_schema(schema)
        if made.get("default") is None or isinstance(made["default"], dict):
            made.pop("default", None)
        return made

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """Names that do not match are refused, not ignored."""
        names = self.generate_inner(schema["keys_schema"])
        return {**super().dict_schema(schema), "propertyNames": names, "additionalProperties": False}

    def field_title_should_be_set(self, _schema: object) -> bool:
        """A title that repeats the key tells nobody anything."""
        return False


@functools.cache
def json_schema() -> Schema:
    """The whole schema, in draft 2020-12."""
    made = File.model_json_schema(schema_generator=TomlSchema)
    return {"$schema": DIALECT, "title": "rum.toml", **{key: made[key] for key in made if key != "title"}}


def schema_at(place: Place) -> Schema:
    """The schema of what stands at a place that `document` knows."""
    found = json_schema()
    for key in place:
        found = inner(resolved(found), key)
    return resolved(found)


def inner(schema: Schema, key: str | int) -> Schema:
    """The schema of a member of a table, or of an element of a list."""
    if isinstance(key, int):
        return dict(schema["items"])
    if key in schema.get("properties", {}):
        return dict(schema["properties"][key])
    [pattern] = schema["patternProperties"].values()
    return dict(pattern)


def resolved(schema: Schema) -> Schema:
    """What a reference refers to, with what is said beside it."""
    if "$ref" not in schema:
        return schema
    target = json_schema()["$defs"][schema["$ref"].rpartition("/")[2]]
    return {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
