"""One connection after the handshake, seen from either end: frames checked against the phases. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from rum.protocol.errors import LocalProtocolError, RemoteProtocolError
from rum.protocol.frames import Frame, FrameDecoder, Kind, LargePayload, encode_header
from rum.protocol.messages import Message, encode_message, parse_message
from rum.protocol.phases import Phase, Role, next_phase


class Received(NamedTuple):
    """A frame from the peer that was allowed where it came; `message` is set for MESSAGE frames."""

    frame: Frame
    message: Message | None


class Conversation:
    """Both ends keep one. `send_*` return the bytes to send, `received` yields what arrived.

    With `make_large` messages over LARGE_MESSAGE go to what it makes instead of into memory.
    """

    def __init__(self, role: Role, make_large: Callable[[], LargePayload] | None = None) -> None:
        self._role = role
        self._peer = Role.HOST if role is Role.AGENT else Role.AGENT
        self._decoder = FrameDecoder(make_large)
        self.phase = Phase.WELCOME

    def feed(self, data: bytes) -> None:
        """Take what was read from the stream."""
        self._decoder.feed(data)

    def rest(self) -> bytes:
        """What no frame has been made of: the first bytes of the raw stream that follows the last one."""
        return self._decoder.take_rest()

    def received(self) -> Iterator[Received]:
        """Every whole frame so far. Raises RemoteProtocolError at the first that is broken or out of turn."""
        while (frame := self._decoder.maybe_next_frame()) is not None:
            message = read_message(frame) if frame.kind is Kind.MESSAGE else None
            self._advance(self._peer, frame.kind, message)
            yield Received(frame, message)

    def send_message(self, message: Message) -> bytes:
        """The bytes of a message. Raises LocalProtocolError where it is out of turn."""
        self._advance(self._role, Kind.MESSAGE, message)
        return encode_message(message)

    def send_header(self, kind: Kind, size: int) -> bytes:
        """The header of another frame, of so many bytes. Raises LocalProtocolError where it is out of turn."""
        self._advance(self._role, kind, None)
        return encode_header(kind, size)

    def send_frame(self, kind: Kind, payload: bytes) -> bytes:
        """The bytes of another frame. Raises LocalProtocolError where it is out of turn."""
        return self.send_header(kind, len(payload)) + payload

    def relayed_result(self) -> None:
        """Take note that a result was sent as part of a run's record, whose frames do not pass through here."""
        self._advance(self._role, Kind.MESSAGE, {"type": "result"})

    def _advance(self, sender: Role, kind: Kind, message: Message | None) -> None:
        message_type = None if message is None else message["type"]
        after = next_phase(self.phase, sender, kind, message_type)
        if after is None:
            what = message_type or kind.name
            sentence = f"the {sender.value} sent {what[:80]!r} in phase {self.phase.value}"
            raise LocalProtocolError(sentence) if sender is self._role else RemoteProtocolError(sentence)
        self.phase = after


def read_message(frame: Frame) -> Message:
    """The message of a MESSAGE frame. Raises RemoteProtocolError."""
    return frame.large.message() if frame.large else parse_message(frame.payload)
