"""Every line of `-o json` that a test sees is held against docs/json-schema.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SCHEMA_FILE = Path(__file__).resolve().parents[1] / "docs/json-schema.json"


# A key that is not documented is a defect here; for everybody else it is a later version's.
DEFINITIONS = {
    name: {**definition, "additionalProperties": False}
    for name, definition in json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))["$defs"].items()
}
VALIDATORS = {
    definition["properties"]["type"]["const"]: Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": DEFINITIONS})
    for name, definition in DEFINITIONS.items()
    if "type" in definition["properties"]
}


def checked(line: str | bytes) -> dict[str, Any]:
    """The object in a line; fails unless it is one of the documented ones."""
    found: dict[str, Any] = json.loads(line)
    validator = VALIDATORS.get(found.get("type", ""))
    assert validator is not None, f"docs/json-schema.json has no such type: {line!r}"
    problems = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(found)]
    assert not problems, f"{'; '.join(problems)} in {line!r}"
    return found
