"""A conversation from either end, beginning in any phase."""

from __future__ import annotations

import tempfile
from unittest import mock

from rum.agent.large_message import LargeMessage
from rum.protocol import (
    Conversation,
    Kind,
    Phase,
    RemoteProtocolError,
    Role,
    encode_frame,
    encode_message,
    encode_output,
)
from rum.protocol import frames as frames_module
from rum.protocol.messages import ACK, HEARTBEAT, request, welcome
from tests.fuzz.cuts import Pieces, same_however_cut

PHASES = list(Phase)
SMALL_LARGE_MESSAGE = 100
"""So that what the agent does with large messages is reached by small ones."""

SEEDS = [
    b"\x00" + encode_message(welcome("1", "b", "v")) + encode_message({"type": "result"}),
    b"\x02" + encode_message(HEARTBEAT) + encode_output(Kind.STDOUT, 1, b"x") + encode_message({"type": "result"}),
    b"\x06" + encode_message(request("status", {})) + encode_message(ACK),
    b"\x06" + encode_message(request("provision", {"text": "x" * 400})) + encode_message({"type": "resize"}),
    b"\x07" + encode_frame(Kind.STDIN, b"x") + encode_frame(Kind.BYTES, b""),
]


def check(data: bytes) -> None:
    """Frames that are allowed where they come, or RemoteProtocolError."""
    number = data[0] if data else 0
    role, phase = list(Role)[number // len(PHASES) % 2], PHASES[number % len(PHASES)]

    def events_of(stream: Pieces) -> list[str]:
        made: list[LargeMessage] = []

        def make() -> LargeMessage:
            made.append(LargeMessage(tempfile.gettempdir()))
            return made[-1]

        conversation = Conversation(role, make if role is Role.AGENT else None)
        conversation.phase = phase
        try:
            return list(received(conversation, stream))
        finally:
            for large in made:
                large.close()

    with mock.patch.object(frames_module, "LARGE_MESSAGE", SMALL_LARGE_MESSAGE):
        same_however_cut(data[1:], events_of)


def received(conversation: Conversation, stream: Pieces) -> list[str]:
    events: list[str] = []
    for piece in stream:
        conversation.feed(piece)
        try:
            for item in conversation.received():
                shown = "large" if item.frame.large else repr(item.message)
                events.append(f"{item.frame.kind.name} {item.frame.payload!r} {shown} {conversation.phase.value}")
        except RemoteProtocolError:
            return [*events, "error"]
    return events
