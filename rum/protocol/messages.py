"""Messages: JSON objects with a `type`. Built here and nowhere else, so that their fields have one home.

Run events and results are built by `rum.agent.run`, which is the only one to know a run; their fields are listed in
docs/protocol.md and checked against it by a test.
"""

from __future__ import annotations

import json
import math
from typing import Any

from rum.protocol.errors import ErrorCode, RemoteProtocolError
from rum.protocol.frames import Kind, encode_frame
from rum.protocol.limits import DIGITS_MAX, LARGE_MESSAGE, NESTING_MAX, PROTOCOL_VERSION, STRUCTURE_MAX

Message = dict[str, Any]


def encode_message(message: Message) -> bytes:
    """The MESSAGE frame of a message. Raises LocalProtocolError where it is over the limit."""
    return encode_frame(Kind.MESSAGE, json.dumps(message, separators=(",", ":")).encode("utf-8"))


def parse_message(payload: bytes) -> Message:
    """The message in a MESSAGE payload. Raises RemoteProtocolError for anything but an object with a `type`."""
    if len(payload) > LARGE_MESSAGE:
        check_structure(payload)
    try:
        text = payload.decode("utf-8")
        message = json.loads(text, parse_int=bounded, parse_float=finite, parse_constant=finite)
    except (ValueError, RecursionError):
        raise RemoteProtocolError("a message is not JSON in UTF-8") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise RemoteProtocolError("a message is not an object with a type")
    check_nesting(message)
    return message


def bounded(text: str) -> int:
    """The number. Raises ValueError where it has more digits than any field holds."""
    if len(text) > DIGITS_MAX:
        raise ValueError(f"an integer has more than {DIGITS_MAX} digits")
    return int(text)


def finite(text: str) -> float:
    """The number. Raises ValueError for Infinity and NaN, which Python reads and writes although JSON has neither."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:80]} is no finite number")
    return number


def check_structure(payload: bytes) -> None:
    """Raises RemoteProtocolError where parsing would make a hundred times the payload's size of small objects."""
    bare = payload.replace(b"\\\\", b"").replace(b'\\"', b"")
    # A string is an element of something or the name of one.
    too_many = bare.count(b'"') > 4 * STRUCTURE_MAX
    outside = [] if too_many else bare.split(b'"')[::2]
    if too_many or sum(piece.count(mark) for piece in outside for mark in (b"[", b"{", b",")) > STRUCTURE_MAX:
        raise RemoteProtocolError(f"a message has more than {STRUCTURE_MAX} elements")


def check_nesting(message: Message) -> None:
    """Raises RemoteProtocolError where what walks the message could run out of stack."""
    level: list[Any] = [message]
    for _ in range(NESTING_MAX):
        inside = [item.values() if isinstance(item, dict) else item for item in level]
        level = [item for items in inside for item in items if isinstance(item, (dict, list))]
        if not level:
            return
    raise RemoteProtocolError(f"a message is nested more than {NESTING_MAX} deep")


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
