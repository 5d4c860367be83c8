"""The phases of a connection as a table: who may say what, and what follows. A missing row is a protocol error.

docs/protocol.md draws this table; a test keeps the two the same.
"""

from __future__ import annotations

import enum
from typing import Union

from rum.protocol.frames import Kind


class Phase(enum.Enum):
    """Where a connection stands once the handshake is done."""

    WELCOME = "welcome"
    """The agent is to send its welcome."""
    REQUEST = "request"
    """The host is to send its request."""
    ANSWER = "answer"
    """The agent sends events and, at last, one result or error; the host may feed the process it runs."""
    ACK = "ack"
    """The host is to acknowledge the result, so that the agent knows that it arrived."""
    CLOSED = "closed"


class Role(enum.Enum):
    """The two ends of a connection."""

    AGENT = "agent"
    HOST = "host"


Table = dict[Phase, dict[Union[str, Kind], Phase]]

EVENT = "event"
"""Stands for every message of the agent that is neither welcome, result nor error."""

AGENT_SENDS: Table = {
    Phase.WELCOME: {"welcome": Phase.REQUEST, "error": Phase.ACK},
    Phase.REQUEST: {"error": Phase.ACK},
    Phase.ANSWER: {
        EVENT: Phase.ANSWER,
        Kind.STDOUT: Phase.ANSWER,
        Kind.STDERR: Phase.ANSWER,
        Kind.BYTES: Phase.ANSWER,
        "result": Phase.ACK,
        "error": Phase.ACK,
    },
}

HOST_SENDS: Table = {
    Phase.REQUEST: {"request": Phase.ANSWER},
    Phase.ANSWER: {
        "resize": Phase.ANSWER,
        "signal": Phase.ANSWER,
        Kind.STDIN: Phase.ANSWER,
        Kind.BYTES: Phase.ANSWER,
    },
    # What the host sent before it saw the result is still on its way.
    Phase.ACK: {
        "ack": Phase.CLOSED,
        "resize": Phase.ACK,
        "signal": Phase.ACK,
        Kind.STDIN: Phase.ACK,
        Kind.BYTES: Phase.ACK,
    },
}

_NAMED = frozenset({"welcome", "result", "error"})


def next_phase(phase: Phase, sender: Role, kind: Kind, message_type: str | None) -> Phase | None:
    """The phase after `sender` has sent such a frame, None where it must not."""
    rows = AGENT_SENDS if sender is Role.AGENT else HOST_SENDS
    row = rows.get(phase, {})
    if kind is not Kind.MESSAGE:
        return row.get(kind)
    if sender is Role.AGENT and message_type not in _NAMED:
        return row.get(EVENT)
    return row.get(message_type or "")
