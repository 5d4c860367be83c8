"""One client: handshake, one request, its answer. Everything that is sent to it passes through here.

What a client has not taken yet is bounded: messages are few, a record is read from its file as fast as the client takes
it, and an exec's output stays in the pipe. So a slow client costs nothing and slows nobody.
"""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Callable

from rum.agent.large_message import LargeMessage
from rum.agent.loop import READ, WRITE, Loop, Timer
from rum.agent.nudge import nudge
from rum.agent.record import Readable
from rum.protocol.conversation import Conversation, Received
from rum.protocol.errors import ErrorCode, HandshakeError, RemoteProtocolError, RequestError
from rum.protocol.frames import Kind, Payload
from rum.protocol.handshake import AgentHandshake
from rum.protocol.limits import (
    ACK_TIMEOUT_S,
    CHUNK_MAX,
    HANDSHAKE_TIMEOUT_S,
    HEARTBEAT_S,
    REQUEST_TIMEOUT_S,
    SEND_MAX,
    STALLED_CLIENT_S,
)
from rum.protocol.messages import HEARTBEAT, Message, error
from rum.protocol.phases import Phase, Role

FAREWELL_S = 1.0
"""How long a peer that broke the protocol may take to read why."""

SENDS_PER_TURN = 16
"""After so many sends the loop looks at the others."""


class Follower:
    """A place in a record, from which a client is fed; it ends with the record's result, or at `until`."""

    def __init__(self, record: Readable, offset: int, until: int | None) -> None:
        self.record = record
        self.until = until
        # A client that has everything but our word for it gets the result once more.
        self._offset = offset if record.result_at is None else min(offset, record.result_at)

    @property
    def waiting(self) -> bool:
        """Whether every byte there is has been pulled; the next one begins a frame."""
        return self._offset == self._end

    @property
    def done(self) -> bool:
        return self.waiting and (self.until is not None or self.record.result_at is not None)

    @property
    def _end(self) -> int:
        return self.record.size if self.until is None else self.until

    def pull(self, limit: int) -> bytes:
        """The next bytes, none where it is waiting."""
        data = self.record.read(self._offset, min(limit, self._end - self._offset))
        self._offset += len(data)
        return data


class Connection:
    """Owns the socket. `on_request` is called with the request, `on_close` once at the end."""

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        key: bytes,
        welcome: Message,
        on_request: Callable[[Connection, Message], None],
        on_close: Callable[[Connection], None],
        make_large: Callable[[], LargeMessage],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._handshake: AgentHandshake | None = AgentHandshake(key)
        self._conversation = Conversation(Role.AGENT, self._hold_large)
        self._welcome = welcome
        self._on_request = on_request
        self._on_close = on_close
        self._make_large = make_large
        self._out = bytearray()
        self._follower: Follower | None = None
        self._after_follow: Message | None = None
        self._deadline: Timer | None = None
        self._heartbeat: Timer | None = None
        self._last_sent = time.monotonic()
        self._reading = True
        self._rejected = False
        self._ack_due = False
        self._raw = False
        self._ending = False
        self.closed = False
        self.patient = False
        """Whether the client may leave what it is sent for as long as it likes: it has its own reader to wait for."""
        self.large: LargeMessage | None = None
        """What holds the strings of the request, where that was a large message."""
        self.on_frame: Callable[[Received], None] = lambda _received: None
        self.on_bytes: Callable[[bytes], None] = lambda _data: None
        """Takes what comes in a raw stream; no bytes are its end."""
        self.on_drained: Callable[[], None] = lambda: None
        self._watch = loop.watch(sock.fileno(), self._ready)
        self._allow(HANDSHAKE_TIMEOUT_S)
        self._send(self._handshake.greeting)

    @property
    def authenticated(self) -> bool:
        return self._handshake is None

    @property
    def backlog(self) -> int:
        """Bytes that the client has still to take."""
        return len(self._out)

    @property
    def answered(self) -> bool:
        """Whether nothing more can be said: the result or error is on its way, or the client is gone."""
        return self.closed or self._conversation.phase not in (Phase.REQUEST, Phase.ANSWER)

    def event(self, message: Message) -> None:
        """Send an event of the answer."""
        self._send(self._conversation.send_message(message))

    def frame(self, kind: Kind, *payload: Payload) -> None:
        """Send a frame of bytes, its payload in parts."""
        self._send(self._conversation.send_header(kind, sum(map(len, payload))), *payload)

    def result(self, fields: Message) -> None:
        """Send the result; the client is expected to acknowledge it."""
        self._end_with({"type": "result", **fields})

    def refuse(self, failure: RequestError) -> None:
        """Send the error that answers the request."""
        self._end_with(error(failure.code, failure.message))

    def follow(self, record: Readable, offset: int = 0, *, then: Message | None = None) -> None:
        """Send the record from the offset to its result; or, with `then`, what there is now and this result."""
        self._follower = Follower(record, offset, None if then is None else record.size)
        self._after_follow = then
        record.watch(self._flush)
        self._flush()

    def read_more(self, wanted: bool) -> None:
        """Leave what the client sends in its socket, or stop doing so."""
        self._reading = wanted
        self._update_watch()

    def hold(self, held: bool) -> None:
        """Take nothing of what follows the request, because it may turn out to be no frames; or do so again."""
        self._raw = held
        self.read_more(not held)

    def begin_raw(self) -> None:
        """Send a result; after it the held stream is raw both ways, without an ack and without heartbeats."""
        self._send(self._conversation.send_message({"type": "result"}))
        rest = self._conversation.rest()
        self.read_more(True)
        if rest and not self.closed:
            self.on_bytes(rest)

    def send_raw(self, data: bytes) -> None:
        """Send bytes of a raw stream; none is its end."""
        self._ending = self._ending or not data
        self._send(data)

    def close(self) -> None:
        """Close; may be called at any time, also again."""
        if self.closed:
            return
        self.closed = True
        self._watch.want(0)
        self._sock.close()
        for timer in (self._deadline, self._heartbeat):
            if timer:
                timer.cancel()
        self._drop_follower()
        if self.large:
            self.large.close()
        self._on_close(self)

    def _ready(self, events: int) -> None:
        with contextlib.ExitStack() as on_exception:
            # A client whose request ran into a bug learns it from the end of the stream.
            on_exception.callback(self.close)
            if events & WRITE:
                self._flush()
            if events & READ and not self.closed:
                self._receive()
            on_exception.pop_all()

    def _receive(self) -> None:
        reset = False
        try:
            data = self._sock.recv(self._handshake.missing if self._handshake else CHUNK_MAX)
        except BlockingIOError:
            return
        except OSError:
            data, reset = b"", True
        if self._raw and not reset:
            self.read_more(bool(data))
            self.on_bytes(data)
        elif not data:
            self.close()
        elif self._handshake:
            self._prove(self._handshake, data)
        elif not self._rejected:
            self._converse(data)

    def _prove(self, handshake: AgentHandshake, data: bytes) -> None:
        try:
            proof = handshake.receive(data)
        except HandshakeError:
            self.close()
            return
        if proof is not None:
            self._handshake = None
            self._allow(REQUEST_TIMEOUT_S)
            self._send(proof + self._conversation.send_message(self._welcome))

    def _converse(self, data: bytes) -> None:
        self._conversation.feed(data)
        try:
            for received in self._conversation.received():
                self._take(received)
                if self.closed or self._raw:
                    return
        except RemoteProtocolError as exc:
            self._reject(ErrorCode.PROTOCOL, str(exc))
        except OSError as exc:
            # The large message has no room on the disk.
            self._reject(ErrorCode.INTERNAL, f"the guest cannot store the request: {exc.strerror}")

    def _hold_large(self) -> LargeMessage:
        """Only a request may be large: whatever comes later is a size or a word."""
        if self.large:
            raise RemoteProtocolError("a second large message")
        self.large = self._make_large()
        return self.large

    def _take(self, received: Received) -> None:
        message_type = received.message["type"] if received.message else None
        if message_type == "ack":
            self.close()
        elif message_type == "request" and received.message:
            self._allow(None)
            self._beat()
            self._on_request(self, received.message)
        else:
            self.on_frame(received)

    def _reject(self, code: ErrorCode, reason: str) -> None:
        """Say why, unless that would land in the middle of another frame, and close soon."""
        between_frames = not self._follower or self._follower.waiting
        if self.answered or not between_frames:
            self.close()
            return
        self._rejected = True
        self._drop_follower()
        self._send(self._conversation.send_message(error(code, reason)))
        self._allow(FAREWELL_S)

    def _end_with(self, message: Message) -> None:
        self._ack_due = True
        self._send(self._conversation.send_message(message))

    def _send(self, *data: Payload) -> None:
        for part in data:
            self._out += part
        self._flush()

    def _flush(self) -> None:
        try:
            for _ in range(SENDS_PER_TURN):
                if self.closed or not self._fill():
                    break
                sent = self._sock.send(memoryview(self._out)[:SEND_MAX])
                del self._out[:sent]
                self._last_sent = self._loop.now
        except BlockingIOError:
            pass
        except OSError:
            self.close()
        if not self.closed:
            self._update_watch()
            if not self._out:
                self._drained()

    def _drained(self) -> None:
        if self._ack_due:
            # Only now: a client that reads slowly has not seen the result yet.
            self._ack_due = False
            self._allow(ACK_TIMEOUT_S)
        if self._ending:
            self._ending = False
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)
        self.on_drained()

    def _fill(self) -> bool:
        """Whether there is something to send, pulled from the record where the buffer is empty."""
        follower = self._follower
        if not self._out and follower:
            self._out += follower.pull(SEND_MAX)
            if follower.done:
                self._end_of_record()
        return bool(self._out)

    def _drop_follower(self) -> None:
        follower, self._follower = self._follower, None
        if follower:
            follower.record.unwatch(self._flush)

    def _end_of_record(self) -> None:
        self._drop_follower()
        if self._after_follow is None:
            self._conversation.relayed_result()
        else:
            self._out += self._conversation.send_message({"type": "result", **self._after_follow})
        self._ack_due = True

    def _update_watch(self) -> None:
        if self.closed:
            return
        pending = bool(self._out) or bool(self._follower and not self._follower.waiting)
        self._watch.want((READ if self._reading else 0) | (WRITE if pending else 0))

    def _allow(self, seconds: float | None) -> None:
        """Close the connection unless it has got further after so many seconds; None: it may stay."""
        if self._deadline:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self._loop.call_later(seconds, self.close)

    def _beat(self) -> None:
        """Called while a request is open: speak after five seconds of silence, drop a client that is stalled."""
        silent = time.monotonic() - self._last_sent
        idle = not self._out and (not self._follower or self._follower.waiting)
        if not idle and silent > STALLED_CLIENT_S and not self.patient:
            self.close()
            return
        if silent >= HEARTBEAT_S:
            if not idle:
                nudge(self._sock)
            elif not self.answered:
                self.event(HEARTBEAT)
            silent = 0.0
        if not self.closed:
            self._heartbeat = self._loop.call_later(max(0.1, HEARTBEAT_S - silent), self._beat)
