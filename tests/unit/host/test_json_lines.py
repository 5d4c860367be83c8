"""docs/json.md and docs/json-schema.json: made from rum.host.json_lines; every example is valid.

`python -m tests.unit.host.test_json_lines` writes both anew.
"""

from __future__ import annotations

import ast
import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from jsonschema import Draft202012Validator

from e2e.json_lines import SCHEMA_FILE, checked
from rum.host.json_lines import SCHEMA_VERSION, answers, events

PAGE = SCHEMA_FILE.with_name("json.md")
TEXT = PAGE.read_text(encoding="utf-8")
SOURCES = PAGE.parents[1] / "rum/host"
EXAMPLES = [
    line for block in re.findall(r"^```json\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE) for line in block.splitlines()
]

LINES = (*get_args(events.Event), *get_args(answers.Answer))

Schema = dict[str, Any]


@functools.cache
def described() -> dict[str, dict[str, str]]:
    """The text below each field, by class: what Python itself does not keep."""
    found: dict[str, dict[str, str]] = {}
    sources = [Path(str(module.__file__)).read_text(encoding="utf-8") for module in (events, answers)]
    for node in [node for source in sources for node in ast.parse(source).body]:
        if isinstance(node, ast.ClassDef):
            inherited = [found.get(ast.unparse(base), {}) for base in node.bases]
            own = {
                ast.unparse(field.target): ast.literal_eval(text.value)
                for field, text in zip(node.body, node.body[1:], strict=False)
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
            }
            found[node.name] = {key: text for texts in (*inherited, own) for key, text in texts.items()}
    return found


def tidied(name: str, schema: Schema) -> Schema:
    """A definition with its fields in the order of the source, described."""
    texts = described()[name]
    order = list(getattr(answers if hasattr(answers, name) else events, name).__annotations__)
    order.sort(key=lambda key: (key != "type", key == "replayed"))
    fields = {key: {**tidied_value(schema["properties"][key]), **said(texts.get(key))} for key in order}
    required = [key for key in order if key in schema["required"]]
    return {"description": schema["description"], "type": "object", "properties": fields, "required": required}


def said(text: str | None) -> Schema:
    return {} if text is None else {"description": text}


def tidied_value(schema: Mapping[str, Any]) -> Schema:
    """`const` for a single value."""
    match schema:
        case {"enum": [value]}:
            return {"const": value}
        case _:
            return dict(schema)


@functools.cache
def json_schema() -> Schema:
    """The whole schema, in draft 2020-12."""
    references, definitions = msgspec.json.schema_components(LINES, ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"A line of rum -o json, version {SCHEMA_VERSION}",
        "oneOf": list(references),
        "$defs": {name: tidied(name, definition) for name, definition in definitions.items()},
    }


def schema_text() -> str:
    return json.dumps(json_schema(), indent=1) + "\n"


def value(schema: Schema) -> str:
    """What a field holds, in words."""
    match schema:
        case {"const": constant}:
            return f"`{json.dumps(constant)}`"
        case {"enum": choices}:
            return ", ".join(f"`{json.dumps(choice)}`" for choice in choices)
        case {"$ref": reference}:
            name = reference.rpartition("/")[2]
            return f"[{name}](#{name.lower()})"
        case {"anyOf": choices}:
            return " or ".join(value(choice) for choice in choices)
        case {"type": "array", "items": items}:
            return f"list of {value(items)}"
        case _:
            return str(schema["type"])


def table(name: str) -> str:
    """A definition as a table of Markdown."""
    definition = json_schema()["$defs"][name]
    rows = [definition["description"], "", "| key | value | meaning |", "|---|---|---|"]
    for key, schema in definition["properties"].items():
        optional = "" if key in definition["required"] else " (optional)"
        cells = (f"`{key}`", value(schema) + optional, schema.get("description", ""))
        rows.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
    return "\n".join(rows)


def with_tables(text: str) -> str:
    """The page with every table as it is now."""
    return re.sub(
        r"(<!-- object: (\w+) -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}{table(found[2])}\n{found[3]}",
        text,
        flags=re.DOTALL,
    )


def test_the_schema_is_current() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text()


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(json_schema())


def test_the_tables_are_current() -> None:
    assert with_tables(TEXT) == TEXT


def test_every_object_has_its_table_under_a_heading_of_its_name() -> None:
    headed = re.findall(r"^#+ (\w+)\n\n<!-- object: \1 -->$", TEXT, re.MULTILINE)
    assert sorted(headed) == sorted(json_schema()["$defs"])


def test_every_phase_that_a_command_has_is_named() -> None:
    sources = [path.read_text(encoding="utf-8") for path in sorted(SOURCES.rglob("*.py"))]
    begun = {name for source in sources for name in re.findall(r"\b(?:phase\([\w.]+, |Phase\()\"(\w+)\"", source)}
    assert begun == set(re.findall(r"`(\w+)`", described()["Phase"]["name"]))


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_valid(example: str) -> None:
    checked(example)
    Draft202012Validator(json_schema()).validate(json.loads(example))


def test_every_type_has_an_example() -> None:
    documented = {line.__name__ for line in LINES}
    types = {name: json_schema()["$defs"][name]["properties"]["type"]["const"] for name in documented}
    assert {json.loads(example)["type"] for example in EXAMPLES} == set(types.values())


@pytest.mark.parametrize(
    "line",
    [
        '{"type": "notice", "text": "a", "warning": 1}',
        '{"type": "notice", "text": "a"}',
        '{"type": "notice", "text": "a", "warning": false, "more": 1}',
        '{"type": "nosuch"}',
        '{"text": "a"}',
    ],
)
def test_what_is_not_documented_is_noticed(line: str) -> None:
    with pytest.raises(AssertionError):
        checked(line)


def test_readers_of_the_schema_are_told_to_expect_more_keys() -> None:
    line = {"type": "notice", "text": "a", "warning": False, "more": 1}
    Draft202012Validator(json_schema()).validate(line)


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
    PAGE.write_text(with_tables(TEXT), encoding="utf-8")
