"""Frames: a length, a kind, a payload. Bytes in, frames out; no I/O.

The decoder looks at a header before it buffers a payload, so a peer can make it hold one legal frame and no more,
whatever it announces.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from typing import NamedTuple

from rum.protocol.errors import LocalProtocolError, RemoteProtocolError
from rum.protocol.limits import CHUNK_MAX, MESSAGE_MAX

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


class Frame(NamedTuple):
    """One frame; its payload is within the limit of its kind."""

    kind: Kind
    payload: bytes

    @property
    def size(self) -> int:
        """Bytes on the wire, header included."""
        return HEADER.size + len(self.payload)


def encode_frame(kind: Kind, payload: bytes) -> bytes:
    """The frame's bytes. Raises LocalProtocolError for a payload over its limit."""
    if len(payload) > PAYLOAD_MAX[kind]:
        raise LocalProtocolError(f"a {kind.name} payload of {len(payload)} bytes is over {PAYLOAD_MAX[kind]}")
    return HEADER.pack(len(payload), kind) + payload


def encode_output(kind: Kind, timestamp_us: int, data: bytes) -> bytes:
    """An output frame's bytes; the time is in microseconds since the epoch."""
    return encode_frame(kind, TIMESTAMP.pack(timestamp_us) + data)


def split_output(payload: bytes) -> tuple[int, bytes]:
    """Time in microseconds since the epoch and data of an output frame's payload. Raises RemoteProtocolError."""
    if len(payload) < TIMESTAMP.size:
        raise RemoteProtocolError("an output frame is too short for its time")
    return TIMESTAMP.unpack_from(payload)[0], payload[TIMESTAMP.size :]


class FrameDecoder:
    """Turns a byte stream into frames, however it was cut."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def buffered(self) -> int:
        """Bytes held that no frame has been made of yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take what was read from the stream."""
        self._buffer += data

    def frames(self) -> Iterator[Frame]:
        """Every whole frame so far. Raises RemoteProtocolError at the first one that breaks a rule."""
        while (frame := self.maybe_next_frame()) is not None:
            yield frame

    def maybe_next_frame(self) -> Frame | None:
        """The next frame if it is whole. Raises RemoteProtocolError."""
        if len(self._buffer) < HEADER.size:
            return None
        length, number = HEADER.unpack_from(self._buffer)
        kind = check_header(length, number)
        end = HEADER.size + length
        if len(self._buffer) < end:
            return None
        payload = bytes(memoryview(self._buffer)[HEADER.size : end])
        del self._buffer[:end]
        return Frame(kind, payload)


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
