"""The `forward` method: one TCP connection to the guest's loopback for one client, its ends and its reset included.

Framed, it stays a conversation: heartbeats tell the host that the guest still lives, and an empty BYTES frame ends one
direction, for which vhost-device-vsock has no sign of its own. Raw, the rest of the client's stream is the connection.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from typing import Callable

from rum.agent.connection import Connection
from rum.agent.loop import READ, WRITE, Loop, Timer
from rum.protocol.conversation import Received
from rum.protocol.errors import ErrorCode, RequestError
from rum.protocol.fields import get_bool, get_int
from rum.protocol.frames import HEADER, Kind
from rum.protocol.limits import ACK_TIMEOUT_S, CHUNK_MAX, SEND_MAX
from rum.protocol.messages import Message

LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))

CONNECT_TIMEOUT_S = 10.0
"""A listener whose backlog is full lets a client wait; a host should be told before it takes the guest for lost."""

FEW = 32
"""Connections that may have a frame of the largest size each, 2 MiB in all."""

SMALL_CHUNK = SEND_MAX - HEADER.size
"""A frame that fits one send(). No more than one waits for either side: there may be hundreds of connections."""

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of a socket whose close is a reset (socket(7))."""


class Forward:
    """One connection from request to end. Raises ValueError from the constructor."""

    holds_up = False
    going = 0
    """How many there are at the moment."""

    def __init__(self, loop: Loop, connection: Connection, params: Message) -> None:
        self._loop = loop
        self._client = connection
        self._port = get_int(params, "port", low=1, high=65535)
        self._framed = get_bool(params, "framed", default=False)
        self._addresses = list(LOOPBACK)
        self._guest = socket.socket()
        self._watch = loop.watch(-1, lambda _events: None)
        self._timer: Timer | None = None
        self._failure = 0
        self._pending = bytearray()
        self._from_client = True
        self._from_guest = True
        self._received = self._sent = 0
        self._ended = False
        self.on_end: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begin to connect; the rest follows from the loop."""
        Forward.going += 1
        if not self._framed:
            self._client.hold(True)
        self._timer = self._loop.call_later(CONNECT_TIMEOUT_S, lambda: self._refuse(errno.ETIMEDOUT))
        self._connect()

    def client_gone(self) -> None:
        """Nobody is left: the guest's end is reset, so that it does not take what has arrived for everything."""
        self._end(reset=True)
        self._client.close()

    def _connect(self) -> None:
        family, address = self._addresses.pop(0)
        self._guest.close()
        try:
            self._guest = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as exc:
            self._connected(exc.errno or errno.EIO)
            return
        self._watch = self._loop.watch(self._guest.fileno(), lambda _events: self._connected())
        failure = self._guest.connect_ex((address, self._port))
        if failure == errno.EINPROGRESS:
            self._watch.want(WRITE)
        else:
            self._connected(failure)

    def _connected(self, failure: int | None = None) -> None:
        self._watch.want(0)
        if failure is None:
            failure = self._guest.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._failure = self._failure or failure
        if not failure:
            self._begin()
        elif self._addresses:
            self._connect()
        else:
            self._refuse(self._failure)

    def _refuse(self, failure: int) -> None:
        self._end(reset=False)
        if self._client.answered:
            return
        self._client.hold(False)
        reason = "" if failure == errno.ECONNREFUSED else f": {os.strerror(failure)}"
        text = f"nobody listens at port {self._port} of the guest's loopback{reason}"
        self._client.refuse(RequestError(ErrorCode.NOT_FOUND, text))

    def _begin(self) -> None:
        self._cancel_timer()
        self._guest.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._watch.callback = self._ready
        self._client.patient = True
        self._client.on_drained = self._update
        if self._framed:
            self._client.on_frame = self._take_frame
            self._client.event({"type": "connected"})
        else:
            self._client.on_bytes = self._take
            self._client.begin_raw()
        self._update()

    def _take_frame(self, received: Received) -> None:
        if received.frame.kind is Kind.BYTES:
            self._take(received.frame.payload)

    def _take(self, data: bytes) -> None:
        """Pass on what the client sends; none is its end."""
        if self._ended or not self._from_client:
            return
        self._pending += data
        self._from_client = bool(data)
        self._write()

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._write()
        if events & READ and not self._ended:
            self._read()

    def _write(self) -> None:
        try:
            while self._pending:
                sent = self._guest.send(self._pending)
                self._sent += sent
                del self._pending[:sent]
            if not self._from_client:
                self._guest.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        except OSError:
            self._fail()
        self._update()

    def _read(self) -> None:
        try:
            data = self._guest.recv(CHUNK_MAX if Forward.going <= FEW else SMALL_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self._fail()
            return
        self._received += len(data)
        self._from_guest = bool(data)
        if self._framed:
            self._client.frame(Kind.BYTES, data)
        else:
            self._client.send_raw(data)
        self._update()

    def _fail(self) -> None:
        """The guest's end was reset."""
        if not self._ended:
            self._end(reset=True)
            self._report(reset=True)

    def _update(self) -> None:
        """Watch for what there is room for; finish once both directions have ended."""
        if self._ended:
            return
        if not (self._from_client or self._from_guest or self._pending):
            self._finish()
            return
        wanted = READ if self._from_guest and not self._client.backlog else 0
        self._watch.want(wanted | (WRITE if self._pending else 0))
        if self._from_client or self._framed:
            # Also after its end: a framed client that vanishes then is to be noticed.
            self._client.read_more(not self._pending)
        if not (self._from_guest or self._framed):
            self._linger()

    def _report(self, *, reset: bool) -> None:
        if not self._framed:
            self._client.close()
        elif not self._client.answered:
            self._client.read_more(True)
            self._client.result({"reset": reset, "received": self._received, "sent": self._sent})

    def _linger(self) -> None:
        """A raw client cannot always be shown the end of one direction: once it has been silent, both have ended."""
        self._cancel_timer()
        self._timer = self._loop.call_later(ACK_TIMEOUT_S, self._finish)

    def _finish(self) -> None:
        self._end(reset=False)
        self._report(reset=False)

    def _cancel_timer(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _end(self, *, reset: bool) -> None:
        if self._ended:
            return
        self._ended = True
        Forward.going -= 1
        self._cancel_timer()
        self._watch.want(0)
        if reset:
            with contextlib.suppress(OSError):
                self._guest.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._guest.close()
        self.on_end()
