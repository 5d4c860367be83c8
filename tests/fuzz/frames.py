"""Frames, as both sides decode them."""

from __future__ import annotations

from rum.protocol import FrameDecoder, Kind, RemoteProtocolError, encode_frame, encode_message, encode_output
from rum.protocol.frames import HEADER, PAYLOAD_MAX
from tests.fuzz.cuts import Pieces, same_however_cut

SEEDS = [
    encode_message({"type": "ack"}),
    encode_output(Kind.STDOUT, 5, b"text") + encode_output(Kind.STDERR, 6, b""),
    encode_frame(Kind.STDIN, b"") + encode_frame(Kind.BYTES, b"x" * 20),
    HEADER.pack(PAYLOAD_MAX[Kind.BYTES] + 1, Kind.BYTES),
    HEADER.pack(3, Kind.STDOUT) + b"abc",
]


def events_of(stream: Pieces) -> list[str]:
    decoder = FrameDecoder()
    events: list[str] = []
    for piece in stream:
        decoder.feed(piece)
        try:
            events.extend(f"{frame.kind.name} {frame.payload!r}" for frame in decoder.frames())
        except RemoteProtocolError:
            return [*events, "error"]
        assert decoder.buffered <= HEADER.size + max(PAYLOAD_MAX.values())
    return events


def check(data: bytes) -> None:
    """Frames or RemoteProtocolError; what was decoded encodes to what was read."""
    same_however_cut(data, events_of)
    decoder = FrameDecoder()
    decoder.feed(data)
    encoded = b""
    try:
        for frame in decoder.frames():
            encoded += encode_frame(frame.kind, frame.payload)
    except RemoteProtocolError:
        pass
    assert data.startswith(encoded)
