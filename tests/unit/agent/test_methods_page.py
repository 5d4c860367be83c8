"""docs/protocol.md lists the methods that the agent has."""

from __future__ import annotations

from rum.agent.methods import METHODS
from tests.unit.test_docs import rows


def test_methods() -> None:
    assert {row[0].strip("`") for row in rows("Methods")} == set(METHODS)
