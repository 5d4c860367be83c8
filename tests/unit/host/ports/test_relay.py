"""One forward, whatever the agent at its other end says."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rum.host.channel.checked import BrokenProtocolError
from rum.host.channel.client import AgentError, LostError, open_agent
from rum.host.deadlines import Deadline
from rum.host.ports import relay
from rum.host.ports.host_ports import bind_port
from rum.host.ports.relay import Relay, TcpEnd, open_forward
from rum.protocol import Kind, Message, encode_frame
from tests.unit.host.channel.hostile_agent import Play, Talk, hostile_guest, saying

CONNECTED: Message = {"type": "connected"}
RESULT: Message = {"type": "result", "reset": False, "received": 0, "sent": 0}


def piece(data: bytes) -> bytes:
    return encode_frame(Kind.BYTES, data)


@contextlib.contextmanager
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a TCP connection."""
    with bind_port("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname(), 20) as ours:
        theirs, _ = listener.accept()
        with theirs:
            yield ours, theirs


def forward(directory: Path, play: Play, local: socket.socket) -> None:
    """Forward the local end to a guest whose agent plays this."""
    with (
        hostile_guest(directory, {"forward": play}) as (guest, _),
        open_agent(guest.endpoint(), guest.key(), guest.vm_id(), Deadline(20)) as opened,
    ):
        open_forward(opened, 80)
        Relay(opened, TcpEnd(local)).run()


@pytest.mark.parametrize(
    ("play", "error"),
    [
        (saying(RESULT), BrokenProtocolError),
        (saying(piece(b"early")), BrokenProtocolError),
        (saying({"type": "ports", "tcp": []}), BrokenProtocolError),
        (saying(CONNECTED, {**RESULT, "reset": "yes"}), BrokenProtocolError),
        (saying(CONNECTED, {**RESULT, "sent": -1}), BrokenProtocolError),
        (saying(CONNECTED, b"\xff" * 5), BrokenProtocolError),
        (saying({"type": "error", "code": "not-found", "message": "nobody"}), AgentError),
        (saying(CONNECTED, {"type": "error", "code": "internal", "message": "no"}), AgentError),
        (lambda talk: talk.say(CONNECTED), LostError),
        (saying(CONNECTED, {**RESULT, "reset": True}), ConnectionResetError),
        (saying(CONNECTED, piece(b""), piece(b"after the end")), BrokenPipeError),
    ],
)
def test_what_the_agent_may_say_wrong(tmp_path: Path, play: Play, error: type[Exception]) -> None:
    with connection() as (_, theirs), pytest.raises(error):
        forward(tmp_path, play, theirs)


def test_silence_is_a_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "PEER_LOST_S", 0.1)
    with connection() as (_, theirs), pytest.raises(LostError, match="silent"):
        forward(tmp_path, saying(CONNECTED), theirs)


def test_what_nobody_reads_is_not_read_from_the_agent(tmp_path: Path) -> None:
    said = threading.Event()

    def flood(talk: Talk) -> None:
        talk.say(CONNECTED)
        for _ in range(4000):
            talk.say(piece(bytes(16_000)))
        said.set()

    with connection() as (ours, theirs):
        forwarding = threading.Thread(target=lambda: forward_quietly(tmp_path, flood, theirs))
        forwarding.start()
        assert ours.recv(1) == b"\0"
        ours.close()
        forwarding.join(20)
        assert not forwarding.is_alive()
        # 64 MB do not fit into the buffers between here and the agent.
        assert not said.is_set()


def forward_quietly(directory: Path, play: Play, local: socket.socket) -> None:
    """The same, for a client that goes."""
    with contextlib.suppress(OSError, LostError):
        forward(directory, play, local)


def test_an_end_is_told_once_everything_is_written(tmp_path: Path) -> None:
    data = bytes(range(256)) * 60
    with connection() as (ours, theirs):
        ours.shutdown(socket.SHUT_WR)
        forward(tmp_path, saying(CONNECTED, *[piece(data)] * 10, piece(b""), RESULT), theirs)
        theirs.close()
        assert b"".join(iter(lambda: ours.recv(65536), b"")) == data * 10
