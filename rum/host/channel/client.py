"""The host's end of one connection to the agent: handshake, welcome, one request, its events, its result.

A shell around rum.protocol: the phases and the frames are checked there; here bytes are moved and time is watched.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from rum.host.channel.checked import BrokenProtocolError, check_message, sentence
from rum.host.channel.connect import NotReadyError, open_stream
from rum.host.channel.endpoint import Endpoint, UnixEndpoint
from rum.host.channel.half_open import keep_open_while_down
from rum.host.deadlines import Check, Deadline, no_check, wait_readable, wait_writable
from rum.host.errors import GuestError
from rum.protocol import (
    Conversation,
    HandshakeError,
    HostHandshake,
    Kind,
    Message,
    Received,
    RemoteProtocolError,
    Role,
)
from rum.protocol.limits import PEER_LOST_S, PROTOCOL_VERSION, SEND_MAX
from rum.protocol.messages import ACK, request

RECEIVE_SIZE = 64 * 1024
"""One read: memory stays bounded by the largest frame plus this."""

HANDSHAKE_PATIENCE_S = 15.0
"""Greeting, proofs and welcome; the agent's own limit is 5 s, an emulated guest may stall for as long again."""


CALL_PATIENCE_S = 60.0
"""For an answer that is its result alone. The agent has it at hand: heartbeats without an end are no answer."""


class LostError(GuestError):
    """The connection ended before the result: never a success. What runs in the guest may go on."""

    code = "agent-lost"
    advice = "run the command again; `rum logs --console` shows what the guest says"


class WrongKeyError(GuestError):
    """The other side closed the connection at our proof, or its own proof was wrong."""

    code = "wrong-key"
    advice = "`rum destroy` and `rum up` create the VM anew"


class AgentError(GuestError):
    """The agent answered with `error`. Attributes: `agent_code`, from the protocol's closed list."""

    code = "agent-refused"

    def __init__(self, agent_code: str, message: str) -> None:
        super().__init__(f"the agent refused: {message} ({agent_code})")
        self.agent_code = agent_code


class AgentConnection:
    """An authenticated connection that takes one request. Owns its socket.

    Reads happen in `events`; `welcome` is set once `open_agent` has returned, `heartbeats` are counted.
    """

    def __init__(self, sock: socket.socket, daemon: Path | None = None) -> None:
        """`daemon`: the Unix socket of the vsock daemon that the connection leads through."""
        self._sock = sock
        self._daemon = daemon
        self._sock.setblocking(False)
        self._conversation = Conversation(Role.HOST)
        self.welcome: Message = {}
        self.heartbeats = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; may be called twice."""
        if self._daemon is not None:
            keep_open_while_down(self._sock, self._daemon)
        self._sock.close()

    def fileno(self) -> int:
        """The socket's descriptor, for loops that watch more than this connection."""
        return self._sock.fileno()

    def authenticate(self, key: bytes, vm_id: str, deadline: Deadline, check: Check = no_check) -> None:
        """Handshake and welcome. Raises NotReadyError, WrongKeyError, GuestError for another VM or protocol."""
        try:
            self._shake_hands(HostHandshake(key), deadline, check)
        except HandshakeError as exc:
            raise WrongKeyError(f"the guest's agent cannot be trusted: {exc}") from exc
        for received in self._frames_until(deadline, check):
            self.welcome = received.message or {}
            check_welcome(self.welcome, vm_id)
            return
        raise NotReadyError("the agent closed the connection before its welcome")

    def _shake_hands(self, handshake: HostHandshake, deadline: Deadline, check: Check) -> None:
        answered = False
        while not handshake.done:
            data = self._receive(handshake.missing, deadline, check)
            if not data and answered:
                raise WrongKeyError("the guest's agent does not accept this VM's key")
            if not data:
                raise NotReadyError("the connection to the agent was closed before its greeting")
            answer = handshake.receive(data)
            answered = answered or bool(answer)
            self._send(answer, deadline)

    def _frames_until(self, deadline: Deadline, check: Check) -> Iterator[Received]:
        """Frames until the deadline or the end of the stream, whichever comes first."""
        while True:
            yield from self._decoded()
            data = self._receive(RECEIVE_SIZE, deadline, check)
            if not data:
                return
            self._conversation.feed(data)

    def _receive(self, size: int, deadline: Deadline, check: Check) -> bytes:
        """At least one byte, or none at the stream's end. Raises NotReadyError at the deadline."""
        if not wait_readable(self._sock, deadline, check):
            raise NotReadyError("the agent accepted the connection but does not speak")
        return self.read_some(size)

    def read_some(self, size: int = RECEIVE_SIZE) -> bytes:
        """What is there to read, nothing where the stream has ended, however it did."""
        try:
            return self._sock.recv(size)
        except OSError:
            return b""

    def _send(self, data: bytes, deadline: Deadline) -> None:
        view = memoryview(data)
        while view:
            if not wait_writable(self._sock, deadline):
                raise LostError("the agent takes no data any more")
            try:
                view = view[self._sock.send(view[:SEND_MAX]) :]
            except BlockingIOError:
                continue
            except OSError as exc:
                raise LostError(f"the connection to the agent was lost: {exc.strerror}") from exc

    def send_request(self, method: str, params: Message) -> None:
        """Send the one request. Raises LostError."""
        self._send(self._conversation.send_message(request(method, params)), Deadline(PEER_LOST_S))

    def encode(self, kind: Kind, payload: bytes) -> bytes:
        """A frame of this conversation, for a loop that sends by itself with `send_some`."""
        return self._conversation.send_frame(kind, payload)

    def encode_message(self, message: Message) -> bytes:
        """A message of this conversation, for a loop that sends by itself with `send_some`."""
        return self._conversation.send_message(message)

    def send_some(self, data: bytes | bytearray) -> int:
        """Bytes that the socket took now. Raises LostError."""
        try:
            return self._sock.send(memoryview(data)[:SEND_MAX])
        except BlockingIOError:
            return 0
        except OSError as exc:
            raise LostError(f"the connection to the agent was lost: {exc.strerror}") from exc

    def events(self, check: Check = no_check, deadline: Deadline | None = None) -> Iterator[Received]:
        """Everything the agent sends up to its result, the result included, heartbeats not.

        Without a deadline for the whole answer it may take as long as a script may. Raises LostError at an end before
        the result, after 15 s without a byte and at the deadline, AgentError for `error`, and whatever `check` raises,
        which is called every half a second.
        """
        while True:
            for received in self.received():
                yield received
                if is_result(received):
                    return
            silence = deadline.at_most(PEER_LOST_S) if deadline else Deadline(PEER_LOST_S)
            if not wait_readable(self._sock, silence, check) and not (deadline and deadline.expired):
                raise LostError(f"the agent has been silent for {PEER_LOST_S:.0f} s")
            if deadline and deadline.expired:
                raise LostError(f"the agent has not answered within {deadline.seconds:.0f} s")
            self.take(self.read_some())

    def take(self, data: bytes) -> None:
        """Take what `read_some` returned. Raises LostError for the end of the stream."""
        if not data:
            raise LostError("the connection to the agent ended before the result")
        self._conversation.feed(data)

    def received(self) -> Iterator[Received]:
        """The whole frames so far, heartbeats left out. Raises AgentError for `error`."""
        for received in self._decoded():
            kind = received.message["type"] if received.message else ""
            if kind == "error":
                raise agent_error(received.message or {})
            if kind == "heartbeat":
                self.heartbeats += 1
            else:
                yield received

    def _decoded(self) -> Iterator[Received]:
        try:
            yield from self._conversation.received()
        except RemoteProtocolError as exc:
            raise BrokenProtocolError(str(exc)) from exc

    def acknowledge(self) -> None:
        """Tell the agent that the result has arrived, and close. It is no loss if the agent is gone already."""
        try:
            self._sock.send(self._conversation.send_message(ACK))
        except OSError:
            pass
        finally:
            # The agent has just been heard of, so nothing speaks against a close.
            self._sock.close()

    def call(self, method: str, params: Message | None = None, deadline: Deadline | None = None) -> Message:
        """A request whose answer is its result alone, within a minute unless a deadline is given.

        Raises LostError, AgentError, BrokenProtocolError.
        """
        with self:
            self.send_request(method, params or {})
            for received in self.events(deadline=deadline or Deadline(CALL_PATIENCE_S)):
                if is_result(received):
                    self.acknowledge()
                    result = received.message or {}
                    check_message(method, result)
                    return result
        raise LostError("the connection to the agent ended before the result")


def is_result(received: Received) -> bool:
    """Whether this is the end of the answer."""
    return received.message is not None and received.message["type"] == "result"


def agent_error(message: Message) -> AgentError:
    """The error that an `error` message stands for. Raises BrokenProtocolError where it is malformed."""
    check_message("error", message)
    text = sentence(message, "message") if "message" in message else "no reason given"
    return AgentError(str(message.get("code", "internal")), text)


def check_welcome(welcome: Message, vm_id: str) -> None:
    """Raises GuestError unless the welcome is of this protocol and this VM."""
    if welcome.get("type") == "error":
        raise agent_error(welcome)
    check_message("welcome", welcome)
    if welcome.get("protocol") != PROTOCOL_VERSION:
        theirs = str(welcome.get("protocol"))[:20]
        raise GuestError(
            f"the guest's agent speaks protocol {theirs}, this rum speaks {PROTOCOL_VERSION}",
            hint="use the rum that created this VM, or `rum destroy` and `rum up` to create it anew",
        )
    if welcome.get("vm_id") != vm_id:
        raise GuestError(
            f"another VM has answered: its id is {welcome.get('vm_id')}, and {vm_id} was expected",
            hint="run `rum down` and `rum up`, which finds a free vsock address",
        )


def open_agent(
    endpoint: Endpoint, key: bytes, vm_id: str, deadline: Deadline, check: Check = no_check
) -> AgentConnection:
    """One attempt: connect, prove, be welcomed. Raises NotReadyError where another attempt makes sense."""
    daemon = endpoint.path if isinstance(endpoint, UnixEndpoint) else None
    connection = AgentConnection(open_stream(endpoint, deadline, check), daemon)
    try:
        connection.authenticate(key, vm_id, deadline.at_most(HANDSHAKE_PATIENCE_S), check)
    except LostError as exc:
        connection.close()
        raise NotReadyError(str(exc)) from exc
    except BaseException:
        connection.close()
        raise
    return connection
