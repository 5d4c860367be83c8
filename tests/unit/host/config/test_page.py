"""docs/config.md: its tables are made from the schema, and its examples are valid.

`python -m tests.unit.host.config.test_page` writes the tables anew.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rum.host.config.draft import allowed
from rum.host.config.load import load_config
from rum.host.config.schema import json_schema, resolved
from tests.unit.host.cli.test_config import keys_of

PAGE = Path(__file__).resolve().parents[4] / "docs/config.md"
TEXT = PAGE.read_text(encoding="utf-8")
HEADERS = {"Network": "network", "Filesystems": "fs", "Provision": "provision"}
"""The tables that have tables, as they are written."""
EXAMPLES = re.findall(r"^```toml\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def value(schema: Mapping[str, Any], *place: str) -> str:
    """What a key can be."""
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(choice)}`" for choice in schema["enum"])
    if schema["type"] == "string":
        return f"string: {allowed(schema, place)}"
    if schema["type"] == "object" and "propertyNames" in schema and "$ref" not in str(schema["patternProperties"]):
        return "table of strings"
    return allowed(schema, place).removeprefix("an ").removeprefix("a ")


def default(schema: Mapping[str, Any], *, required: bool) -> str:
    """What a key is where it is absent."""
    if required:
        return "required"
    return f"`{json.dumps(schema['default'])}`" if schema.get("default") not in (None, []) else ""


def table(name: str) -> str:
    """The keys of one table of rum.toml, as a table."""
    described = json_schema() if name == "File" else json_schema()["$defs"][name]
    # Of the two kinds of scripts, the one with a name says only what it has more.
    shared = json_schema()["$defs"]["Script"]["properties"] if name == "NamedScript" else {}
    header = [HEADERS[name]] if name in HEADERS else []
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key, schema in described["properties"].items():
        if key in shared:
            continue
        full = resolved(schema)
        cells = [f"`{key}`", value(full, *header, key), default(full, required=key in described.get("required", []))]
        rows.append(f"| {' | '.join([*cells, full['description']])} |".replace("|  |", "| |"))
    return "\n".join(rows)


def with_tables(text: str) -> str:
    """The page with every table as it is now."""
    return re.sub(
        r"(<!-- keys: (\w+) -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}{table(found[2])}\n{found[3]}",
        text,
        flags=re.DOTALL,
    )


def test_the_tables_are_current() -> None:
    assert with_tables(TEXT) == TEXT


def test_every_table_is_there() -> None:
    assert sorted(re.findall(r"<!-- keys: (\w+) -->", TEXT)) == sorted(["File", *json_schema()["$defs"]])


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_valid(tmp_path: Path, example: str) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "boot.sh").touch()
    image = "" if "[image]" in example else '[image]\nbase = "debian-12"\n'
    (tmp_path / "rum.toml").write_text(image + example, encoding="utf-8")
    load_config(tmp_path / "rum.toml")


def test_every_key_has_an_example() -> None:
    shown = {key for example in EXAMPLES for key in keys_of(tomllib.loads(example))}
    assert {key for described in json_schema()["$defs"].values() for key in described["properties"]} - shown == {
        "sha256"
    }


if __name__ == "__main__":
    PAGE.write_text(with_tables(TEXT), encoding="utf-8")
