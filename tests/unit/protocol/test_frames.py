"""Frames: whatever arrives, however it was cut, becomes frames or a RemoteProtocolError, never anything else."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rum.protocol import Frame, FrameDecoder, Kind, LocalProtocolError, RemoteProtocolError, encode_frame
from rum.protocol.frames import HEADER, PAYLOAD_MAX, encode_output, split_output
from rum.protocol.limits import CHUNK_MAX, LARGE_MESSAGE, MESSAGE_MAX

MOMENT = (1_700_000_000_000_001).to_bytes(8, "big")

CASES = [
    pytest.param(Kind.MESSAGE, b'{"type":"ack"}', b"\x00\x00\x00\x0e\x01" + b'{"type":"ack"}', id="message"),
    pytest.param(Kind.MESSAGE, b"", b"\x00\x00\x00\x00\x01", id="empty-message"),
    pytest.param(Kind.STDIN, b"", b"\x00\x00\x00\x00\x10", id="end-of-input"),
    pytest.param(Kind.STDIN, b"\x00\xff", b"\x00\x00\x00\x02\x10\x00\xff", id="stdin"),
    pytest.param(Kind.STDOUT, MOMENT + b"x", b"\x00\x00\x00\x09\x11" + MOMENT + b"x", id="stdout"),
    pytest.param(Kind.STDERR, MOMENT, b"\x00\x00\x00\x08\x12" + MOMENT, id="stderr-without-data"),
    pytest.param(Kind.BYTES, b"z" * CHUNK_MAX, b"\x00\x01\x00\x00\x13" + b"z" * CHUNK_MAX, id="largest-chunk"),
]

BROKEN = [
    pytest.param(HEADER.pack(MESSAGE_MAX + 1, Kind.MESSAGE), id="message-too-long"),
    pytest.param(HEADER.pack(CHUNK_MAX + 1, Kind.STDIN), id="stdin-too-long"),
    pytest.param(HEADER.pack(CHUNK_MAX + 1, Kind.STDOUT), id="stdout-too-long"),
    pytest.param(HEADER.pack(2**32 - 1, Kind.BYTES), id="bytes-endless"),
    pytest.param(HEADER.pack(7, Kind.STDOUT), id="output-without-time"),
    pytest.param(HEADER.pack(0, Kind.STDERR), id="output-empty"),
    pytest.param(HEADER.pack(0, 0x00), id="kind-zero"),
    pytest.param(HEADER.pack(0, 0x14), id="kind-unknown"),
    pytest.param(b"GET / HTTP/1.1\r\n", id="another-protocol"),
]

payloads = st.one_of(
    st.tuples(st.sampled_from([Kind.MESSAGE, Kind.STDIN, Kind.BYTES]), st.binary(max_size=100)),
    st.tuples(st.sampled_from([Kind.STDOUT, Kind.STDERR]), st.binary(min_size=8, max_size=100)),
)


@pytest.mark.parametrize(("kind", "payload", "wire"), CASES)
def test_a_frame_has_these_bytes(kind: Kind, payload: bytes, wire: bytes) -> None:
    assert encode_frame(kind, payload) == wire


@pytest.mark.parametrize(("kind", "payload", "wire"), CASES)
def test_a_frame_that_arrives_whole(kind: Kind, payload: bytes, wire: bytes) -> None:
    decoder = FrameDecoder()
    decoder.feed(wire)
    assert list(decoder.frames()) == [Frame(kind, payload)]
    assert decoder.buffered == 0


@pytest.mark.parametrize(("kind", "payload", "wire"), [case for case in CASES if case.id != "largest-chunk"])
def test_a_frame_that_arrives_byte_by_byte(kind: Kind, payload: bytes, wire: bytes) -> None:
    decoder = FrameDecoder()
    for number in wire[:-1]:
        decoder.feed(bytes([number]))
        assert decoder.maybe_next_frame() is None
    decoder.feed(wire[-1:])
    assert decoder.maybe_next_frame() == Frame(kind, payload)


@pytest.mark.parametrize(("kind", "payload", "wire"), CASES)
def test_a_frame_with_data_after_it(kind: Kind, payload: bytes, wire: bytes) -> None:
    decoder = FrameDecoder()
    decoder.feed(wire + b"\x00\x00\x00")
    assert decoder.maybe_next_frame() == Frame(kind, payload)
    assert decoder.maybe_next_frame() is None
    assert decoder.buffered == 3


@given(st.lists(payloads, max_size=8), st.data())
def test_cuts_do_not_matter(frames: list[tuple[Kind, bytes]], data: st.DataObject) -> None:
    wire = b"".join(encode_frame(*frame) for frame in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=12)))
    decoder = FrameDecoder()
    received = []
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        decoder.feed(wire[start:end])
        received += list(decoder.frames())
    assert received == [Frame(*frame) for frame in frames]


@pytest.mark.parametrize("wire", BROKEN)
def test_a_broken_header_is_refused_before_its_payload(wire: bytes) -> None:
    decoder = FrameDecoder()
    decoder.feed(wire)
    with pytest.raises(RemoteProtocolError):
        decoder.maybe_next_frame()


@given(st.binary(max_size=300))
def test_hostile_bytes_make_frames_or_a_protocol_error(wire: bytes) -> None:
    decoder = FrameDecoder()
    decoder.feed(wire)
    try:
        frames = list(decoder.frames())
    except RemoteProtocolError:
        return
    assert b"".join(encode_frame(frame.kind, frame.payload) for frame in frames) == wire[: len(wire) - decoder.buffered]


@given(st.binary(min_size=5, max_size=5))
def test_never_more_is_awaited_than_one_legal_frame(header: bytes) -> None:
    length, number = struct.unpack("!IB", header)
    decoder = FrameDecoder()
    decoder.feed(header)
    try:
        decoder.maybe_next_frame()
    except RemoteProtocolError:
        return
    assert length <= PAYLOAD_MAX[Kind(number)]


@pytest.mark.parametrize("kind", list(Kind))
def test_a_payload_over_its_limit_is_never_sent(kind: Kind) -> None:
    encode_frame(kind, bytes(PAYLOAD_MAX[kind]))
    with pytest.raises(LocalProtocolError):
        encode_frame(kind, bytes(PAYLOAD_MAX[kind] + 1))


def test_output_carries_its_time() -> None:
    frame = encode_output(Kind.STDERR, 1_700_000_000_000_001, b"data")
    assert split_output(frame[HEADER.size :]) == (1_700_000_000_000_001, b"data")
    assert Frame(Kind.STDERR, frame[HEADER.size :]).size == len(frame) == 5 + 8 + 4


def test_output_without_a_time_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match=r"^an output frame is too short for its time$"):
        split_output(b"1234567")


def test_output_may_be_a_time_alone() -> None:
    assert split_output(bytes(7) + b"\x01") == (1, b"")


class Pieces:
    """A large payload as a list of pieces."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def take(self, data: bytes) -> None:
        self.pieces.append(data)

    def message(self) -> dict[str, object]:
        return {"type": "request", "size": len(b"".join(self.pieces))}


def test_a_large_message_passes_through_the_decoder_in_pieces() -> None:
    made: list[Pieces] = []

    def make() -> Pieces:
        made.append(Pieces())
        return made[-1]

    payload = bytes(range(256)) * 1000
    wire = encode_frame(Kind.MESSAGE, payload) + encode_frame(Kind.STDIN, b"after")
    decoder = FrameDecoder(make)
    frames: list[Frame] = []
    held = 0
    for start in range(0, len(wire), 1000):
        decoder.feed(wire[start : start + 1000])
        frames += decoder.frames()
        held = max(held, decoder.buffered)
    assert [(frame.kind, frame.payload, frame.large) for frame in frames] == [
        (Kind.MESSAGE, b"", made[0]),
        (Kind.STDIN, b"after", None),
    ]
    assert b"".join(made[0].pieces) == payload
    assert held < 1000


@pytest.mark.parametrize(
    ("length", "number", "sentence"),
    [
        (0, 0x99, "frame kind 0x99 is unknown"),
        (64 * 1024 + 1, 0x10, "a STDIN payload of 65537 bytes is over 65536"),
        (7, 0x11, "an output frame is too short for its time"),
    ],
)
def test_a_broken_header_is_told_in_a_sentence(length: int, number: int, sentence: str) -> None:
    decoder = FrameDecoder()
    decoder.feed(struct.pack("!IB", length, number))
    with pytest.raises(RemoteProtocolError, match=f"^{sentence}$"):
        decoder.maybe_next_frame()


def test_so_is_a_payload_that_is_never_sent() -> None:
    with pytest.raises(LocalProtocolError, match=r"^a STDIN payload of 65537 bytes is over 65536$"):
        encode_frame(Kind.STDIN, bytes(64 * 1024 + 1))


def test_a_message_that_is_not_large_stays_in_memory() -> None:
    decoder = FrameDecoder(Pieces)
    for payload in (b"{}", bytes(LARGE_MESSAGE)):
        decoder.feed(encode_frame(Kind.MESSAGE, payload))
        assert decoder.maybe_next_frame() == Frame(Kind.MESSAGE, payload)
