"""The connection of a copy: frames of `rum.transfer` through the streams of a command that the agent runs."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator

from rum.host.channel.checked import BrokenProtocolError, check_message
from rum.host.channel.client import AgentConnection, LostError, is_result
from rum.host.cp.program import exec_params, guest_program
from rum.host.errors import GuestError
from rum.host.terminal import is_ours
from rum.protocol import Frame, FrameDecoder, Kind, Message, Received, RemoteProtocolError, split_output
from rum.protocol.limits import CHUNK_MAX, PEER_LOST_S
from rum.transfer.records import CHUNK

STDIN = 0

WAIT: bytes = b""
"""In the place of a frame: there is none before standard input has something to read."""

SAID_MAX = 4096
"""Bytes of the guest's standard error that are kept: the end says what went wrong."""

Take = Callable[[Frame], None]


class CopySession:
    """Sends frames and takes frames until the guest's end has ended."""

    def __init__(self, connection: AgentConnection, outgoing: Iterator[bytes], take: Take) -> None:
        """`outgoing` may yield WAIT."""
        self._connection = connection
        self._outgoing: Iterator[bytes] | None = outgoing
        self._take = take
        self._decoder = FrameDecoder()
        self._waiting = False
        self._unsent = bytearray()
        self._said = b""
        self._silence_s = 0.0

    def run(self, user: str | None) -> None:
        """Raises LostError, AgentError, BrokenProtocolError; GuestError where the guest's end could not even start."""
        program = guest_program()
        self._connection.send_request("exec", exec_params(program, user))
        self._queue(program)
        while True:
            for received in self._connection.received():
                if is_result(received):
                    self._connection.acknowledge()
                    self._ended(received.message or {})
                    return
                self._received(received)
            self._fill()
            self._move()

    def _received(self, received: Received) -> None:
        kind = received.frame.kind
        if kind is Kind.STDOUT:
            self._decoder.feed(split_output(received.frame.payload)[1])
            self._take_frames()
        elif kind is Kind.STDERR:
            self._said = (self._said + split_output(received.frame.payload)[1])[-SAID_MAX:]

    def _take_frames(self) -> None:
        try:
            for frame in self._decoder.frames():
                self._take(frame)
        except RemoteProtocolError as exc:
            raise BrokenProtocolError(f"cp: {exc}") from exc

    def _ended(self, result: Message) -> None:
        check_message("exec", result)
        if result.get("exit_code") == 0:
            return
        lines = self._said.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
        reason = lines[-1].removeprefix("rum-agent: ")
        raise GuestError(f"the guest's end of the copy failed: {reason}")

    def _queue(self, data: bytes | bytearray) -> None:
        for start in range(0, len(data), CHUNK_MAX):
            self._unsent += self._connection.encode(Kind.STDIN, bytes(data[start : start + CHUNK_MAX]))

    def _fill(self) -> None:
        """Small frames travel together: each of the agent's costs the guest as much as one that is full."""
        if self._outgoing is None or self._unsent or self._waiting:
            return
        together = bytearray()
        while len(together) < CHUNK:
            frame = next(self._outgoing, None)
            if frame is None:
                self._outgoing = None
                break
            if frame == WAIT:
                self._waiting = True
                break
            together += frame
        self._queue(together)

    def _move(self) -> None:
        """Wait until something can be moved, and move it."""
        start = time.monotonic()
        poller = select.poll()
        poller.register(self._connection.fileno(), select.POLLIN | (select.POLLOUT if self._unsent else 0))
        if self._waiting and is_ours(STDIN):
            poller.register(STDIN, select.POLLIN)
        ready = dict(poller.poll(1000))
        if STDIN in ready:
            self._waiting = False
        event = ready.get(self._connection.fileno())
        if event is None:
            self._note_silence(time.monotonic() - start)
            return
        if event & select.POLLOUT:
            del self._unsent[: self._connection.send_some(self._unsent)]
        if event & ~select.POLLOUT:
            self._silence_s = 0.0
            self._connection.take(self._connection.read_some())

    def _note_silence(self, seconds: float) -> None:
        """Only time spent listening counts: while our own disk was busy, nobody could be heard."""
        self._silence_s += seconds
        if self._silence_s > PEER_LOST_S:
            raise LostError(f"the agent has been silent for {PEER_LOST_S:.0f} s")


def stdin_pieces() -> Iterator[bytes]:
    """Standard input, and WAIT before each piece. Raises OSError."""
    while True:
        yield WAIT
        data = os.read(STDIN, CHUNK)
        if not data:
            return
        yield data
