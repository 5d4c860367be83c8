"""Guest to host: this side writes."""

from __future__ import annotations

from collections.abc import Iterator

from rum.host.channel.checked import BrokenProtocolError
from rum.host.cp import failures
from rum.host.cp.guest_says import check_record
from rum.host.cp.request import CopyRequest
from rum.host.cp.stdout import StdoutSink
from rum.host.cp.watching import Watching
from rum.host.outcome import Copied
from rum.protocol import Frame, Kind, Message, parse_message
from rum.transfer.destination import Destination
from rum.transfer.records import BrokenStreamError, TransferError, get_bytes, message, spelled
from rum.transfer.sink import Sink
from rum.transfer.source import TRIES


class Download:
    """`copied` is what has taken its place here."""

    def __init__(self, request: CopyRequest, watching: Watching) -> None:
        self._request = request
        self._watching = watching
        self._sink: Sink | StdoutSink
        if request.to_stdout:
            self._sink = StdoutSink()
        else:
            several = len(request.sources) > 1
            self._sink = Sink(Destination(request.destination, several), request.names())

    @property
    def copied(self) -> Copied:
        """In files and bytes."""
        return Copied(self._sink.files, self._sink.size)

    def outgoing(self) -> Iterator[bytes]:
        """Everything that the guest's end is told."""
        # What has gone to standard output cannot be taken back.
        tries = 1 if self._request.to_stdout else TRIES
        paths = [spelled(path) for path in self._request.sources]
        yield message("send", paths=paths, tries=tries, total=True)

    def take(self, frame: Frame) -> None:
        """What the guest's end sends. Raises RumError."""
        try:
            if frame.kind is Kind.BYTES:
                self._sink.take_data(frame.payload)
                self._watching.moved(len(frame.payload))
            elif frame.kind is Kind.MESSAGE:
                self._take_record(parse_message(frame.payload))
            else:
                raise BrokenStreamError(f"a {frame.kind.name} frame came out of turn")
        except (TransferError, BrokenStreamError) as exc:
            self._sink.close()
            raise failures.on_host(exc) from exc

    def _take_record(self, record: Message) -> None:
        kind = record["type"]
        if kind in ("total", "skipped", "failed"):
            check_record(record)
        if kind == "total":
            self._watching.expect(record["bytes"])
        elif kind == "skipped":
            self._watching.skipped(get_bytes(record, "path"), record["what"])
        elif kind == "failed":
            self._sink.close()
            raise failures.in_guest(record, self._request)
        else:
            self._sink.take_record(record)

    def finish(self) -> None:
        """The guest's end has ended. Raises RumError."""
        if not self._sink.complete:
            raise BrokenProtocolError("cp: the guest's end of the copy ended before it was done")

    def close(self) -> None:
        """Keep what is whole, drop what is not."""
        self._sink.close()
