"""The agent's files, damaged: it starts all the same, says nothing on its standard error, and never runs the damage."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rum.protocol import Message, encode_message
from tests.unit.agent.harness import Agent, boot, system

STATE: dict[str, Any] = {
    "boot_tried": None,
    "system": {},
    "boot": {"boot_id": "boot-1", "passed": {}},
    "last": {},
}
ENTRY: dict[str, Any] = {
    "name": "boot",
    "order": 1,
    "run_on": "boot",
    "content_sha256": "0" * 64,
    "timeout_s": None,
    "env": {},
    "after": "local-fs",
}
WRONG: list[Any] = ["../x", []]
DEEP = "[" * 100_000

STATES = {
    "deep": DEEP,
    "passed-is-a-number": {**STATE, "boot": {"boot_id": "boot-1", "passed": {"boot": 5}}},
    "passed-is-text": {**STATE, "boot": {"boot_id": "boot-1", "passed": {"boot": "x"}}},
    "last-is-text": {**STATE, "last": {"boot": "x"}},
    "last-is-nested": {**STATE, "last": {"boot": {"exit_code": [[]]}}},
    "no-boot-id": {**STATE, "boot": {"passed": {}}},
    "a-list": [],
}
LISTS = {
    "deep": DEEP,
    "not-a-list": 5,
    "an-object": {"a": 1},
    "items-are-text": ["x"],
    "items-are-numbers": [5],
    **{f"{field}-is-{json.dumps(value)[:20]}": [{**ENTRY, field: value}] for field in ENTRY for value in WRONG},
    "twice": [ENTRY, ENTRY],
}
RUN_ID = "000001-abcdef"
STARTED: Message = {"type": "run_started", "run_id": RUN_ID, "first_boot": True, "skipped": []}
SCRIPT: Message = {"type": "script_started", "name": "boot", "index": 1}
RECORDS: dict[str, list[Message]] = {
    "skipped-is-a-number": [{**STARTED, "skipped": 5}],
    "skipped-is-null": [{**STARTED, "skipped": None}],
    "no-index": [STARTED, {"type": "script_started", "name": "boot"}],
    "index-is-a-path": [STARTED, {**SCRIPT, "index": "../../x"}],
    "name-is-a-list": [STARTED, {**SCRIPT, "name": [[]]}],
    "two-starts": [STARTED, STARTED],
    "result-first": [{"type": "result"}],
}


def put(agent: Agent, name: str, content: object) -> None:
    path = agent.state_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def require_works(agent: Agent) -> None:
    """It answers, and runs what it is sent."""
    assert agent.start().status()["type"] == "result"
    assert agent.provision(system("echo one"), boot("echo two")).stdout == b"one\ntwo\n"
    assert agent.status()["scripts"][1]["last"]["exit_code"] == 0


@pytest.mark.parametrize("about", STATES)
def test_state(guest: Agent, about: str) -> None:
    put(guest, "state.json", STATES[about])
    require_works(guest)


@pytest.mark.parametrize("about", LISTS)
def test_scripts(guest: Agent, about: str) -> None:
    put(guest, "scripts.json", LISTS[about])
    put(guest, ".system-provisioned", "")
    guest.start()
    guest.status()
    guest.wait_for_no_child()
    guest.stop()
    (guest.state_dir / ".system-provisioned").unlink()
    require_works(guest)


@pytest.mark.parametrize("about", RECORDS)
def test_records(guest: Agent, about: str) -> None:
    guest.record_path(RUN_ID).parent.mkdir(parents=True)
    guest.record_path(RUN_ID).write_bytes(b"".join(map(encode_message, RECORDS[about])))
    require_works(guest)
