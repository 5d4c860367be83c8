"""What `-o json` prints: one object per line, of one of these types.

The one definition: what prints is typed by it, docs/json.md and docs/json-schema.json are made from it, and the tests
hold every line that they see against it. Version 1 promises that keys and types are added, never changed or removed.
"""

from __future__ import annotations

from typing import Literal

SCHEMA_VERSION: Literal[1] = 1
