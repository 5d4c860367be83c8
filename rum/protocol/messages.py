"""Messages: JSON objects with a `type`. Built here and nowhere else, so that their fields have one home.

Run events and results are built by `rum.agent.run`, which is the only one to know a run; their fields are listed in
docs/protocol.md and checked against it by a test.
"""

from __future__ import annotations

import json
from typing import Any

from rum.protocol.errors import ErrorCode, RemoteProtocolError
from rum.protocol.frames import Kind, encode_frame
from rum.protocol.limits import PROTOCOL_VERSION

Message = dict[str, Any]


def encode_message(message: Message) -> bytes:
    """The MESSAGE frame of a message. Raises LocalProtocolError where it is over the limit."""
    return encode_frame(Kind.MESSAGE, json.dumps(message, separators=(",", ":")).encode("utf-8"))


def parse_message(payload: bytes) -> Message:
    """The message in a MESSAGE payload. Raises RemoteProtocolError for anything but an object with a `type`."""
    try:
        message = json.loads(payload)
    except (ValueError, RecursionError):
        raise RemoteProtocolError("a message is not JSON in UTF-8") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise RemoteProtocolError("a message is not an object with a type")
    return message


def welcome(agent_version: str, boot_id: str, vm_id: str, build: str | None = None) -> Message:
    """The agent's first message; `build` is the hash of the file that it is, None for one run from its sources."""
    return {
        "type": "welcome",
        "protocol": PROTOCOL_VERSION,
        "agent_version": agent_version,
        "boot_id": boot_id,
        "vm_id": vm_id,
        "build": build,
    }


def request(method: str, params: Message) -> Message:
    """The host's one request."""
    return {"type": "request", "method": method, "params": params}


def error(code: ErrorCode, text: str) -> Message:
    """The end of a conversation that failed."""
    return {"type": "error", "code": code.value, "message": text}


HEARTBEAT: Message = {"type": "heartbeat"}
ACK: Message = {"type": "ack"}
