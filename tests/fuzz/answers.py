"""What the host makes of a welcome, a status, the end of a command, an error."""

from __future__ import annotations

import json
from contextlib import suppress

from rum.host.channel.checked import check_message
from rum.host.channel.client import agent_error, check_welcome
from rum.host.channel.wire import result_from_json
from rum.host.errors import GuestError
from rum.host.exec import exit_status
from rum.host.runs.provisioning import cached_identities, is_applied
from rum.host.show.status_text import agent_text
from rum.protocol import Message, ProvisionScript, RemoteProtocolError, RunOn, parse_message
from rum.protocol.messages import welcome

SCRIPT = ProvisionScript("a", "true", 1, RunOn.SYSTEM)
LAST = {"run_id": "r", "boot_id": "b", "sha256": SCRIPT.sha256, "exit_code": 0, "signal": None, "timed_out": False}
STATUS = {
    "type": "result",
    "agent_version": "1",
    "python": "3",
    "uptime_s": 1.5,
    "run": {"run_id": "r", "script": "a", "index": 1, "total": 2},
    "scripts": [{"name": "a", "order": 1, "run_on": "system", "sha256": "0", "last": LAST}],
}
SEEDS = [
    json.dumps(message).encode()
    for message in (
        welcome("1", "b", "v"),
        STATUS,
        {"type": "result", "exit_code": 1, "signal": None, "timed_out": False},
        {"type": "error", "code": "busy", "message": "later"},
        {"type": "result", "success": True, "ran": ["a"], "changed": []},
    )
]


def check(data: bytes) -> None:
    """A sentence, a number or GuestError."""
    with suppress(RemoteProtocolError):
        make_something_of(parse_message(data))


def make_something_of(message: Message) -> None:
    with suppress(GuestError):
        check_welcome(message, "v")
    with suppress(GuestError):
        assert 0 <= exit_status(message) <= 255
    with suppress(GuestError):
        assert len(str(agent_error(message))) < 1000
    with suppress(GuestError):
        hash(result_from_json(message).success)
    with suppress(GuestError):
        check_message("status", message)
        cached_identities(message)
        is_applied(SCRIPT, message)
        assert len(agent_text(message)) < 1000
