"""One TCP connection to the guest's loopback, carried by a connection to the agent (docs/protocol.md, "Forwards")."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
from typing import Protocol

from rum.host.channel.checked import BrokenProtocolError, check_message
from rum.host.channel.client import CALL_PATIENCE_S, AgentConnection, LostError, is_result
from rum.host.deadlines import Check, Deadline, no_check
from rum.host.outlet import Outlet
from rum.protocol import Kind, Message, Received
from rum.protocol.frames import HEADER
from rum.protocol.limits import CHUNK_MAX, PEER_LOST_S, SEND_MAX

CHUNK = SEND_MAX - HEADER.size
"""Bytes of one read: a frame that fits one send."""

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of a socket whose close is a reset (socket(7))."""


class LocalEnd(Protocol):
    """The host's end of a forward: what is read from it goes to the guest."""

    reading: int
    """The descriptor to wait at for something to read."""
    writing: int

    def read(self) -> bytes:
        """What is there, nothing at the end. Raises OSError where the connection was reset."""

    def write(self, data: bytes | bytearray) -> int:
        """Take some of the bytes; how many. Raises OSError where nobody takes them any more."""

    def end(self) -> None:
        """Nothing more will be written."""


class TcpEnd:
    """A connection that somebody has made to a port of the host."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reading = self.writing = sock.fileno()

    def read(self) -> bytes:
        """What is there."""
        return self._sock.recv(CHUNK)

    def write(self, data: bytes | bytearray) -> int:
        """As much as the socket takes."""
        return self._sock.send(data)

    def end(self) -> None:
        """Shut our direction down."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)


class StandardStreams:
    """Standard input and output, which may be pipes, and are not this process's alone: they stay blocking."""

    reading, writing = 0, 1

    def __init__(self) -> None:
        self._outlet = Outlet(self.writing)

    def read(self) -> bytes:
        """What is there; a terminal that is gone has nothing."""
        try:
            return os.read(self.reading, CHUNK)
        except OSError:
            return b""

    def write(self, data: bytes | bytearray) -> int:
        """As much as it takes now."""
        return self._outlet.write_some(memoryview(data))

    def end(self) -> None:
        """Close standard output, in a way that nothing else gets its number."""
        self._outlet.close()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.writing)
        os.close(null)


def open_forward(connection: AgentConnection, port: int, check: Check = no_check) -> None:
    """Have the agent connect to that port of its loopback. Raises AgentError where nobody listens, LostError."""
    connection.send_request("forward", {"port": port, "framed": True})
    for received in connection.events(check, Deadline(CALL_PATIENCE_S)):
        if received.message is None or received.message["type"] != "connected":
            break
        return
    raise BrokenProtocolError("forward: it has not said that it is connected")


class Relay:
    """Moves bytes between a forward that stands and its local end, until both directions have ended."""

    def __init__(self, connection: AgentConnection, local: LocalEnd) -> None:
        self._connection = connection
        self._local = local
        self._to_agent = bytearray()
        self._to_local = bytearray()
        self._local_open = True
        self._guest_open = True
        self._result: Message | None = None
        self._silence_s = 0.0

    def run(self) -> None:
        """Raises ConnectionResetError where the guest's end was reset, OSError where the local one was, LostError."""
        while True:
            for received in self._connection.received():
                self._take(received)
            if self._result is not None and not self._to_local:
                break
            self._move()

    def _take(self, received: Received) -> None:
        if received.frame.kind is Kind.BYTES:
            self._to_local += received.frame.payload
            if not received.frame.payload:
                self._guest_open = False
                self._end_when_written()
        elif is_result(received):
            self._finish(received.message or {})

    def _finish(self, result: Message) -> None:
        check_message("forward", result)
        self._connection.acknowledge()
        if result.get("reset"):
            raise ConnectionResetError
        self._result = result

    def _end_when_written(self) -> None:
        if not (self._guest_open or self._to_local):
            self._local.end()

    def _move(self) -> None:
        """Wait until something can be moved, and move it."""
        start = time.monotonic()
        wanted = self._wanted()
        poller = select.poll()
        for descriptor, events in wanted.items():
            poller.register(descriptor, events)
        ready = dict(poller.poll(1000))
        if self._result is None:
            self._move_agent(wanted, ready, time.monotonic() - start)
        if self._to_local and ready.get(self._local.writing, 0) & ~select.POLLIN:
            self._write_local()
        if self._reads_local() and ready.get(self._local.reading, 0) & ~select.POLLOUT:
            self._read_local()

    def _wanted(self) -> dict[int, int]:
        """Events by descriptor. One that is not listed is not watched: poll(2) reports its end again and again."""
        wanted = {self._local.reading: 0, self._local.writing: 0}
        if self._reads_local():
            wanted[self._local.reading] |= select.POLLIN
        if self._to_local:
            wanted[self._local.writing] |= select.POLLOUT
        if self._result is None:
            listening = select.POLLIN if len(self._to_local) < CHUNK_MAX else 0
            wanted[self._connection.fileno()] = listening | (select.POLLOUT if self._to_agent else 0)
        return {descriptor: events for descriptor, events in wanted.items() if events}

    def _reads_local(self) -> bool:
        return self._local_open and not self._to_agent and self._result is None

    def _move_agent(self, wanted: dict[int, int], ready: dict[int, int], waited_s: float) -> None:
        descriptor = self._connection.fileno()
        listening = wanted.get(descriptor, 0) & select.POLLIN
        event = ready.get(descriptor, 0)
        if event & select.POLLOUT:
            del self._to_agent[: self._connection.send_some(self._to_agent)]
        if event & ~select.POLLOUT:
            self._silence_s = 0.0
            self._connection.take(self._connection.read_some())
        elif listening:
            # Only time spent listening counts: while our own reader was slow, nobody could be heard.
            self._silence_s += waited_s
            if self._silence_s > PEER_LOST_S:
                raise LostError(f"the agent has been silent for {PEER_LOST_S:.0f} s")

    def _write_local(self) -> None:
        with contextlib.suppress(BlockingIOError):
            del self._to_local[: self._local.write(self._to_local)]
        self._end_when_written()

    def _read_local(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = self._local.read()
            self._local_open = bool(data)
            self._to_agent += self._connection.encode(Kind.BYTES, data)
            del self._to_agent[: self._connection.send_some(self._to_agent)]


def reset(sock: socket.socket) -> None:
    """Have the socket's close be a reset: what its peer got is not everything."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
