"""Host to guest: this side reads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from rum.host.channel.checked import BrokenProtocolError
from rum.host.cp import failures
from rum.host.cp.guest_says import check_record, copied
from rum.host.cp.request import CopyRequest
from rum.host.cp.session import WAIT, stdin_pieces
from rum.host.cp.watching import Watching
from rum.host.errors import RumError
from rum.host.outcome import Copied
from rum.protocol import Frame, Kind, parse_message
from rum.transfer.records import TransferError, data, message, spelled
from rum.transfer.source import Source


class Upload:
    """`copied` is what has taken its place in the guest, as far as the guest has said so."""

    def __init__(self, request: CopyRequest, watching: Watching) -> None:
        self._request = request
        self._watching = watching
        self._source = Source(list(request.sources), watching.skipped)
        self._streamed: Copied | None = None
        self._failure: RumError | None = None
        self.copied = Copied()
        self._over = False

    def outgoing(self) -> Iterator[bytes]:
        """Everything that the guest's end is told."""
        several = len(self._request.sources) > 1
        names = [spelled(name) for name in self._request.names()]
        yield message("receive", path=spelled(self._request.destination), several=several, names=names)
        try:
            yield from self._contents()
        except TransferError as exc:
            # The guest is to keep what it has whole, and to say how much that is.
            self._failure = failures.on_host(exc)
            yield message("stop")

    def _contents(self) -> Iterator[bytes]:
        if self._request.from_stdin:
            yield from self._stream()
            return
        self._watching.expect(self._source.total().size)
        for frame in self._source.frames():
            self._watching.moved_frame(frame)
            yield frame

    def _stream(self) -> Iterator[bytes]:
        """Standard input as a file, whose name is the destination's."""
        yield message("file", mode=None)
        digest = hashlib.sha256()
        size = 0
        try:
            for piece in stdin_pieces():
                digest.update(piece)
                size += len(piece)
                yield data(piece) if piece else WAIT
        except OSError as exc:
            raise TransferError(f"standard input cannot be read: {exc.strerror}") from exc
        self._streamed = Copied(1, size)
        yield message("end", size=size, sha256=digest.hexdigest())
        yield message("done")

    def take(self, frame: Frame) -> None:
        """What the guest's end says: how it ended. Raises RumError."""
        record = parse_message(frame.payload) if frame.kind is Kind.MESSAGE else {"type": frame.kind.name}
        if self._over or record["type"] not in ("done", "failed"):
            raise BrokenProtocolError(f"cp: the guest said {record['type'][:80]!r} where it only says how it ended")
        check_record(record)
        self._over = True
        self.copied = copied(record)
        if record["type"] == "failed":
            raise failures.in_guest(record, self._request)
        if self.copied != self._sent() and not self._failure:
            text = f"the guest says that it has {failures.amount(self.copied)}, which is not what was sent"
            raise BrokenProtocolError(f"cp: {text}")

    def _sent(self) -> Copied | None:
        """What was sent, None while that is not all of it."""
        if self._request.from_stdin:
            return self._streamed
        return Copied(self._source.files, self._source.size) if self._source.complete else None

    def finish(self) -> None:
        """The guest's end has ended. Raises RumError."""
        if self._failure:
            raise self._failure
        if not self._over:
            raise BrokenProtocolError("cp: the guest's end of the copy ended before it was done")

    def close(self) -> None:
        """Close what is open."""
        self._source.close()
