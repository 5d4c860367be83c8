"""Frames: a length, a kind, a payload. Bytes in, frames out; no I/O.

The decoder looks at a header before it buffers a payload, so a peer can make it hold one legal frame and no more,
whatever it announces.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, Union

from rum.protocol.errors import LocalProtocolError, RemoteProtocolError
from rum.protocol.limits import CHUNK_MAX, LARGE_MESSAGE, MESSAGE_MAX

HEADER = struct.Struct("!IB")
TIMESTAMP = struct.Struct("!Q")


class Kind(enum.IntEnum):
    """What a payload is."""

    MESSAGE = 0x01
    """One JSON object."""
    STDIN = 0x10
    """Bytes for the process; empty is the end of its input."""
    STDOUT = 0x11
    STDERR = 0x12
    BYTES = 0x13
    """Contents of a file."""


OUTPUT_KINDS = {Kind.STDOUT: "stdout", Kind.STDERR: "stderr"}
PAYLOAD_MAX = {kind: MESSAGE_MAX if kind is Kind.MESSAGE else CHUNK_MAX for kind in Kind}


Payload = Union[bytes, bytearray, memoryview]


class LargePayload(Protocol):
    """Takes the payload of a large message piece by piece, so that the decoder does not have to hold it."""

    def take(self, data: bytes) -> None:
        """The next piece."""

    def message(self) -> dict[str, Any]:
        """The message, once all of it has been taken. Raises RemoteProtocolError."""


class Frame(NamedTuple):
    """One frame; its payload is within the limit of its kind, and empty where `large` has taken it."""

    kind: Kind
    payload: bytes
    large: LargePayload | None = None

    @property
    def size(self) -> int:
        """Bytes on the wire, header included."""
        return HEADER.size + len(self.payload)


def encode_header(kind: Kind, size: int) -> bytes:
    """The header of a frame whose payload has so many bytes. Raises LocalProtocolError where it is over its limit."""
    if size > PAYLOAD_MAX[kind]:
        raise LocalProtocolError(f"a {kind.name} payload of {size} bytes is over {PAYLOAD_MAX[kind]}")
    return HEADER.pack(size, kind)


def encode_frame(kind: Kind, *payload: Payload) -> bytes:
    """The bytes of a frame whose payload are these parts. Raises LocalProtocolError where it is over its limit."""
    return b"".join((encode_header(kind, sum(map(len, payload))), *payload))


def encode_output(kind: Kind, timestamp_us: int, data: Payload) -> bytes:
    """An output frame's bytes; the time is in microseconds since the epoch."""
    return encode_frame(kind, TIMESTAMP.pack(timestamp_us), data)


def split_output(payload: bytes) -> tuple[int, bytes]:
    """Time in microseconds since the epoch and data of an output frame's payload. Raises RemoteProtocolError."""
    if len(payload) < TIMESTAMP.size:
        raise RemoteProtocolError("an output frame is too short for its time")
    return TIMESTAMP.unpack_from(payload)[0], payload[TIMESTAMP.size :]


class FrameDecoder:
    """Turns a byte stream into frames, however it was cut."""

    def __init__(self, make_large: Callable[[], LargePayload] | None = None) -> None:
        self._buffer = bytearray()
        self._make_large = make_large
        self._large: LargePayload | None = None
        self._large_missing = 0

    @property
    def buffered(self) -> int:
        """Bytes held that no frame has been made of yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take what was read from the stream."""
        self._buffer += data

    def take_rest(self) -> bytes:
        """Hand out what is buffered, where the stream goes on without frames."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def frames(self) -> Iterator[Frame]:
        """Every whole frame so far. Raises RemoteProtocolError at the first one that breaks a rule."""
        while (frame := self.maybe_next_frame()) is not None:
            yield frame

    def maybe_next_frame(self) -> Frame | None:
        """The next frame if it is whole. Raises RemoteProtocolError."""
        if self._large:
            return self._feed_large(self._large)
        if len(self._buffer) < HEADER.size:
            return None
        length, number = HEADER.unpack_from(self._buffer)
        kind = check_header(length, number)
        if self._make_large and kind is Kind.MESSAGE and length > LARGE_MESSAGE:
            self._large, self._large_missing = self._make_large(), length
            del self._buffer[: HEADER.size]
            return self._feed_large(self._large)
        end = HEADER.size + length
        if len(self._buffer) < end:
            return None
        payload = bytes(memoryview(self._buffer)[HEADER.size : end])
        del self._buffer[:end]
        return Frame(kind, payload)

    def _feed_large(self, large: LargePayload) -> Frame | None:
        piece = bytes(memoryview(self._buffer)[: self._large_missing])
        del self._buffer[: len(piece)]
        self._large_missing -= len(piece)
        large.take(piece)
        if self._large_missing:
            return None
        self._large = None
        return Frame(Kind.MESSAGE, b"", large)


def check_header(length: int, number: int) -> Kind:
    """The kind that a header announces. Raises RemoteProtocolError for an unknown kind or a length over its limit."""
    try:
        kind = Kind(number)
    except ValueError:
        raise RemoteProtocolError(f"frame kind 0x{number:02x} is unknown") from None
    if length > PAYLOAD_MAX[kind]:
        raise RemoteProtocolError(f"a {kind.name} payload of {length} bytes is over {PAYLOAD_MAX[kind]}")
    if kind in OUTPUT_KINDS and length < TIMESTAMP.size:
        raise RemoteProtocolError("an output frame is too short for its time")
    return kind
