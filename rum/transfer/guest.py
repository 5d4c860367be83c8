"""The guest's end: started by the agent's `exec`, frames on its standard input and output.

Its first frame says which end it is: `send` {"paths", "tries", "total"} or `receive` {"path", "several", "names"}.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import BinaryIO

from rum.protocol.errors import RemoteProtocolError
from rum.protocol.fields import Fields, get_bool, get_int, get_list
from rum.protocol.frames import Frame, FrameDecoder, Kind
from rum.protocol.messages import parse_message
from rum.transfer.descriptors import allow_many
from rum.transfer.destination import Destination
from rum.transfer.records import BrokenStreamError, TransferError, get_bytes, message, spelled
from rum.transfer.sink import Sink
from rum.transfer.source import Source

READ_SIZE = 64 * 1024


def main() -> int:
    """Be one end of a copy; the exit status."""
    signal.signal(signal.SIGTERM, leave)
    allow_many()
    incoming, outgoing = sys.stdin.buffer, sys.stdout.buffer
    frames = frames_of(incoming)
    try:
        asked = parse_message(next(frames).payload)
        status = {"send": send, "receive": receive}[asked["type"]](asked, frames, outgoing)
        outgoing.flush()
    except BrokenPipeError:
        # The agent tells nobody any more.
        os._exit(1)
    return status


def leave(_number: int, _frame: FrameType | None) -> None:
    """End by way of an exception, so that what is not whole is removed."""
    sys.exit(1)


def frames_of(stream: BinaryIO) -> Iterator[Frame]:
    """Frames as they come, until the stream's end. Raises RemoteProtocolError."""
    decoder = FrameDecoder()
    while data := stream.read1(READ_SIZE):  # type: ignore[attr-defined]
        decoder.feed(data)
        yield from decoder.frames()


def at_home(path: bytes) -> bytes:
    """As scp(1): what is not absolute begins at the user's home, and ~ is that, too."""
    return os.path.join(os.environb.get(b"HOME", b"/"), os.path.expanduser(path))


def send(asked: Fields, _frames: Iterator[Frame], outgoing: BinaryIO) -> int:
    """Write what was asked for."""

    def warn(path: bytes, what: str) -> None:
        outgoing.write(message("skipped", path=spelled(path), what=what))

    paths = [at_home(get_bytes({"path": item}, "path")) for item in get_list(asked, "paths")]
    source = Source(paths, warn, get_int(asked, "tries", low=1, high=100))
    try:
        if get_bool(asked, "total", default=False):
            total = source.total()
            outgoing.write(message("total", files=total.files, bytes=total.size))
        for frame in source.frames():
            outgoing.write(frame)
    except TransferError as exc:
        outgoing.write(failure(exc))
        return 1
    return 0


def receive(asked: Fields, frames: Iterator[Frame], outgoing: BinaryIO) -> int:
    """Read what is to be written, and say how much it was."""
    names = [spelled_name(item) for item in get_list(asked, "names")]
    path = at_home(get_bytes(asked, "path"))
    sink = Sink(Destination(path, get_bool(asked, "several", default=False)), names)
    try:
        for frame in frames:
            take(sink, frame)
            if sink.over:
                outgoing.write(message("done", files=sink.files, bytes=sink.size))
                return 0
    except (TransferError, BrokenStreamError, RemoteProtocolError) as exc:
        sink.close()
        outgoing.write(failure(exc, sink))
    finally:
        sink.close()
    return 1


def take(sink: Sink, frame: Frame) -> None:
    """Pass on a frame. Raises TransferError, BrokenStreamError, RemoteProtocolError."""
    if frame.kind is Kind.BYTES:
        sink.take_data(frame.payload)
    else:
        sink.take_record(parse_message(frame.payload))


def spelled_name(item: object) -> bytes:
    """A name that may be empty."""
    return get_bytes({"name": item}, "name") if item else b""


def failure(exc: Exception, sink: Sink | None = None) -> bytes:
    """The record that ends a copy that has failed, with what was copied before."""
    known = exc if isinstance(exc, TransferError) else TransferError(str(exc))
    return message(
        "failed",
        text=str(known),
        path_is_wrong=known.path_is_wrong,
        missing=None if known.missing is None else spelled(known.missing),
        errno=known.number,
        files=sink.files if sink else 0,
        bytes=sink.size if sink else 0,
    )
