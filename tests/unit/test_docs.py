"""docs/protocol.md says what the code does: its tables are read and compared."""

from __future__ import annotations

import re
from pathlib import Path

from rum.protocol import ErrorCode, Kind, Phase, ProvisionResult
from rum.protocol.frames import PAYLOAD_MAX
from rum.protocol.phases import AGENT_SENDS, EVENT, HOST_SENDS

DOCS = Path(__file__).resolve().parents[2] / "docs"


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading of protocol.md."""
    section = (DOCS / "protocol.md").read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def words(cell: str) -> set[str]:
    """What a cell names, either as code or as the name of a frame's kind."""
    return set(re.findall(r"`([a-z_]+)`", cell)) | set(re.findall(r"\b[A-Z]{5,}\b", cell))


def test_phases() -> None:
    documented = {
        (row[0], row[1], what, row[3]) for row in rows("Phases") for what in words(row[2].replace("(any other", ""))
    }
    implemented = {
        (phase.value, sender, what.name if isinstance(what, Kind) else what, after.value)
        for sender, table in (("agent", AGENT_SENDS), ("host", HOST_SENDS))
        for phase, row in table.items()
        for what, after in row.items()
    }
    assert documented == implemented
    assert EVENT in {what for _, _, what, _ in documented}
    assert {phase.value for phase in Phase} == {row[0] for row in rows("Phases")} | {"closed"}


def test_kinds_and_their_limits() -> None:
    sizes = {"16 MiB": 16 << 20, "64 KiB": 64 << 10}
    documented = {
        (int(row[0], 16), row[1], next(size for text, size in sizes.items() if row[3].startswith(text)))
        for row in rows("Frames")
    }
    assert documented == {(kind.value, kind.name, PAYLOAD_MAX[kind]) for kind in Kind}


def test_error_codes() -> None:
    assert [row[0].strip("`") for row in rows("Error codes")] == [code.value for code in ErrorCode]


def test_result_fields() -> None:
    (result,) = [row for row in rows("Run events and results") if row[0] == "`result`"]
    assert result[1].strip("`").split(", ") == list(ProvisionResult._fields)


def test_links_lead_somewhere() -> None:
    for page in [*DOCS.glob("*.md"), DOCS.parent / "README.md", DOCS.parent / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
