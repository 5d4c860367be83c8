"""One connection to an agent that behaves, and to peers that do not."""

from __future__ import annotations

import os
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rum.host.channel import client
from rum.host.channel.client import AgentConnection, AgentError, LostError, WrongKeyError, open_agent
from rum.host.channel.connect import NotReadyError, enlarge_buffer
from rum.host.channel.endpoint import UnixEndpoint, VsockEndpoint
from rum.host.deadlines import Deadline
from rum.host.errors import GuestError, HostError
from rum.protocol import AgentHandshake, HostHandshake, Kind, encode_frame, encode_message, encode_output
from rum.protocol.limits import SEND_MAX
from rum.protocol.messages import welcome
from tests.unit.host.local_guest import LocalGuest, local_guest

KEY = bytes(range(32))
VM_ID = "9d3f1d0e-6f0c-4b43-8a34-0f5a3d1ad6ce"
Peer = Callable[[socket.socket], None]


@contextmanager
def connected(peer: Peer) -> Iterator[AgentConnection]:
    """A connection whose other end is played by `peer` on a thread; an error of the peer fails the test."""
    ours, theirs = socket.socketpair()
    errors: list[BaseException] = []

    def play() -> None:
        try:
            with theirs:
                peer(theirs)
        except (BrokenPipeError, ConnectionResetError):
            pass
        except BaseException as exc:  # noqa: BLE001 - raised again where the thread is joined
            errors.append(exc)

    thread = threading.Thread(target=play)
    thread.start()
    try:
        with AgentConnection(ours) as connection:
            yield connection
    finally:
        thread.join(20)
        assert not thread.is_alive()
        assert errors == []


def receive(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        assert piece
        data += piece
    return data


def shake_hands(sock: socket.socket, key: bytes = KEY) -> None:
    handshake = AgentHandshake(key)
    sock.sendall(handshake.greeting)
    answer = handshake.receive(receive(sock, handshake.missing))
    assert answer
    sock.sendall(answer)


def greet(sock: socket.socket, vm_id: str = VM_ID) -> None:
    shake_hands(sock)
    sock.sendall(encode_message(welcome("0.1.0", "boot", vm_id)))


def answering(*pieces: bytes) -> Peer:
    """A peer that greets, takes the request, sends these bytes and closes."""

    def play(sock: socket.socket) -> None:
        greet(sock)
        sock.recv(65536)
        for piece in pieces:
            sock.sendall(piece)

    return play


def authenticated(connection: AgentConnection) -> AgentConnection:
    connection.authenticate(KEY, VM_ID, Deadline(10))
    return connection


def wait_for_eof(sock: socket.socket) -> None:
    while sock.recv(65536):
        pass


RESULT = encode_message({"type": "result", "ok": True})


def test_events_come_in_order_and_end_with_the_result() -> None:
    output = encode_output(Kind.STDOUT, 5, b"hi")
    event = encode_message({"type": "script_started", "name": "x"})
    heartbeat = encode_message({"type": "heartbeat"})
    with connected(answering(event, heartbeat, output, RESULT)) as connection:
        authenticated(connection).send_request("provision", {})
        received = list(connection.events())
    assert [item.frame.kind for item in received] == [Kind.MESSAGE, Kind.STDOUT, Kind.MESSAGE]
    assert received[-1].message == {"type": "result", "ok": True}


def test_bytes_in_any_pieces_give_the_same_events() -> None:
    stream = encode_output(Kind.STDERR, 5, b"hi") + RESULT
    with connected(answering(*(stream[i : i + 1] for i in range(len(stream))))) as connection:
        assert authenticated(connection).call("x") == {"type": "result", "ok": True}


def test_no_send_is_larger_than_16_kib() -> None:
    # Its messages are what single calls have sent.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sizes: list[int] = []

    def play() -> None:
        greet(theirs)
        while sum(sizes) < 150_000:
            sizes.append(len(theirs.recv(1_000_000)))

    peer = threading.Thread(target=play)
    peer.start()
    with theirs, authenticated(AgentConnection(ours)) as connection:
        connection.send_request("provision", {"text": "x" * 100_000})
        rest = bytearray(connection.encode(Kind.STDIN, b"y" * 50_000))
        while rest:
            del rest[: connection.send_some(rest)]
        peer.join(20)
    assert sum(sizes) > 150_000
    assert max(sizes) == SEND_MAX


def test_an_end_before_the_result_is_a_loss_whatever_came_before() -> None:
    for stream in (b"", encode_output(Kind.STDOUT, 5, b"hi"), RESULT[:-1]):
        with connected(answering(stream)) as connection, pytest.raises(LostError, match="ended before the result"):
            authenticated(connection).call("x")


def test_silence_is_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PEER_LOST_S", 0.2)

    def silent(sock: socket.socket) -> None:
        greet(sock)
        wait_for_eof(sock)

    with connected(silent) as connection, pytest.raises(LostError, match="silent"):
        authenticated(connection).call("x")


def test_heartbeats_are_no_answer_to_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CALL_PATIENCE_S", 0.3)
    heartbeat = encode_message({"type": "heartbeat"})

    def beating(sock: socket.socket) -> None:
        greet(sock)
        while True:
            sock.sendall(heartbeat)

    with connected(beating) as connection, pytest.raises(LostError, match="has not answered within 0 s"):
        authenticated(connection).call("x")


def test_a_peer_that_never_reads_the_request_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PEER_LOST_S", 0.3)
    sent = threading.Event()

    def deaf(sock: socket.socket) -> None:
        greet(sock)
        assert sent.wait(20)

    with connected(deaf) as connection:
        with pytest.raises(LostError, match="takes no data"):
            authenticated(connection).send_request("x", {"text": "x" * 8_000_000})
        sent.set()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff" * 64,
        encode_frame(Kind.MESSAGE, b"{"),
        encode_frame(Kind.MESSAGE, b"[]"),
        b"\x7f\xff\xff\xff\x01",
        encode_message(welcome("0.1.0", "again", VM_ID)),
    ],
)
def test_garbage_is_a_broken_protocol(garbage: bytes) -> None:
    with connected(answering(garbage)) as connection, pytest.raises(GuestError, match="broke the protocol"):
        authenticated(connection).call("x")


def test_an_error_carries_its_code() -> None:
    refusal = encode_message({"type": "error", "code": "busy", "message": "a run goes on"})
    with connected(answering(refusal)) as connection:
        with pytest.raises(AgentError, match=r"a run goes on \(busy\)") as caught:
            authenticated(connection).call("x")
        assert caught.value.agent_code == "busy"


def test_the_result_is_acknowledged() -> None:
    seen = bytearray()

    def peer(sock: socket.socket) -> None:
        greet(sock)
        sock.recv(65536)
        sock.sendall(RESULT)
        while data := sock.recv(65536):
            seen.extend(data)

    with connected(peer) as connection:
        authenticated(connection).call("x")
    assert bytes(seen) == encode_message({"type": "ack"})


def test_another_key_in_the_agent_is_told_apart_from_not_ready() -> None:
    def refusing(sock: socket.socket) -> None:
        handshake = AgentHandshake(os.urandom(32))
        sock.sendall(handshake.greeting)
        receive(sock, handshake.missing)

    with connected(refusing) as connection, pytest.raises(WrongKeyError, match="does not accept this VM's key"):
        authenticated(connection)


def test_an_impostor_without_the_key_is_not_spoken_to() -> None:
    def impostor(sock: socket.socket) -> None:
        handshake = AgentHandshake(KEY)
        sock.sendall(handshake.greeting)
        receive(sock, handshake.missing)
        sock.sendall(bytes(32))
        assert sock.recv(1) == b""

    with connected(impostor) as connection:
        with pytest.raises(WrongKeyError, match="proof is wrong"):
            authenticated(connection)
        connection.close()


def handshake_of(sock: socket.socket) -> bytes:
    """Everything an honest agent says in a handshake, said to this client."""
    handshake = AgentHandshake(KEY, bytes(range(32)))
    sock.sendall(handshake.greeting)
    return handshake.greeting + (handshake.receive(receive(sock, handshake.missing)) or b"")


@pytest.mark.parametrize("length", range(68))
def test_a_handshake_that_is_cut_off_anywhere_lets_nobody_in(length: int) -> None:
    def cutting(sock: socket.socket) -> None:
        handshake = AgentHandshake(KEY)
        sock.sendall(handshake.greeting[:length])
        if length >= 36:
            proof = handshake.receive(receive(sock, handshake.missing)) or b""
            sock.sendall(proof[: length - 36])

    with connected(cutting) as connection, pytest.raises((NotReadyError, WrongKeyError)):
        authenticated(connection)


def test_an_overheard_agent_cannot_be_played_again() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(HostHandshake(KEY, bytes(32)).receive(AgentHandshake(KEY, bytes(range(32))).greeting))
        overheard = handshake_of(theirs)

    def replaying(sock: socket.socket) -> None:
        sock.sendall(overheard[:36])
        receive(sock, 64)
        sock.sendall(overheard[36:])

    with connected(replaying) as connection, pytest.raises(WrongKeyError, match="proof is wrong"):
        authenticated(connection)


@pytest.mark.parametrize("part", [slice(32, 64), slice(0, 32)], ids=["proof", "nonce"])
def test_the_hosts_own_words_prove_nothing_to_it(part: slice) -> None:
    def reflecting(sock: socket.socket) -> None:
        sock.sendall(b"RUM1" + bytes(32))
        sock.sendall(receive(sock, 64)[part])

    with connected(reflecting) as connection, pytest.raises(WrongKeyError, match="proof is wrong"):
        authenticated(connection)


def test_a_byte_now_and_then_buys_an_agent_no_time() -> None:
    def dripping(sock: socket.socket) -> None:
        handshake = AgentHandshake(KEY)
        pace = threading.Event()
        for number in handshake.greeting:
            sock.sendall(bytes([number]))
            pace.wait(0.05)

    with connected(dripping) as connection:
        with pytest.raises(NotReadyError, match="does not speak"):
            connection.authenticate(KEY, VM_ID, Deadline(0.3))
        connection.close()


def test_something_else_that_answers_is_no_agent() -> None:
    other = connected(lambda sock: sock.sendall(b"SSH-2.0-OpenSSH_9.2"))
    with other as connection, pytest.raises(WrongKeyError, match="not a rum agent"):
        authenticated(connection)


def test_an_end_before_the_greeting_is_not_ready() -> None:
    with connected(lambda sock: sock.sendall(b"RUM1abc")) as connection, pytest.raises(NotReadyError):
        authenticated(connection)


def test_a_peer_that_never_speaks_is_not_ready_at_the_deadline() -> None:
    with connected(wait_for_eof) as connection:
        with pytest.raises(NotReadyError, match="does not speak"):
            connection.authenticate(KEY, VM_ID, Deadline(0.1))
        connection.close()


def test_another_vm_and_another_protocol_are_named() -> None:
    with connected(lambda sock: greet(sock, "other")) as connection, pytest.raises(GuestError, match="another VM"):
        authenticated(connection)

    def future(sock: socket.socket) -> None:
        shake_hands(sock)
        sock.sendall(encode_message({**welcome("9", "boot", VM_ID), "protocol": 2}))

    with connected(future) as connection, pytest.raises(GuestError, match="speaks protocol 2, this rum speaks 1"):
        authenticated(connection)


def test_memory_stays_bounded_while_megabytes_pass() -> None:
    piece = encode_output(Kind.STDOUT, 5, bytes(16000))

    def flood(sock: socket.socket) -> None:
        greet(sock)
        sock.recv(65536)
        for _ in range(2000):
            sock.sendall(piece)
        sock.sendall(RESULT)

    with connected(flood) as connection:
        authenticated(connection).send_request("provision", {})
        tracemalloc.start()
        try:
            count = sum(1 for _ in connection.events())
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert count == 2001
    assert peak < 2_000_000


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[LocalGuest]:
    with local_guest(tmp_path) as found:
        yield found


def attempt(guest: LocalGuest, key: bytes | None = None, vm_id: str | None = None) -> AgentConnection:
    return open_agent(guest.endpoint(), key or guest.key(), vm_id or guest.vm_id(), Deadline(10))


def test_the_real_agent_answers_status(guest: LocalGuest) -> None:
    with attempt(guest) as connection:
        status = connection.call("status")
    assert status["vm_id"] == guest.vm_id()
    assert status["system_provisioned"] is False


def test_the_real_agent_refuses_another_key(guest: LocalGuest) -> None:
    with pytest.raises(WrongKeyError):
        attempt(guest, key=KEY)


def test_the_real_agent_of_another_vm_is_noticed(guest: LocalGuest) -> None:
    with pytest.raises(GuestError, match="another VM"):
        attempt(guest, vm_id="other")


def test_a_stopped_agent_is_not_ready(guest: LocalGuest) -> None:
    guest.stop()
    with pytest.raises(NotReadyError):
        attempt(guest)


def test_a_missing_socket_is_not_ready(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match="nobody answers"):
        open_agent(UnixEndpoint(tmp_path / "none"), KEY, VM_ID, Deadline(1))


def test_what_is_no_vsock_daemon_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            with listener.accept()[0] as sock:
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                sock.recv(64)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(GuestError, match="no vsock daemon"):
            open_agent(UnixEndpoint(path), KEY, VM_ID, Deadline(5))
        thread.join(10)


def test_the_preamble_is_one_write_and_nothing_follows_before_ok(tmp_path: Path) -> None:
    path = tmp_path / "s"
    seen: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            with listener.accept()[0] as sock:
                seen.append(sock.recv(4096))
                sock.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    sock.recv(1)
                sock.settimeout(10)
                sock.sendall(b"OK 2222\n")
                greet(sock)
                wait_for_eof(sock)

        thread = threading.Thread(target=serve)
        thread.start()
        open_agent(UnixEndpoint(path, 2222), KEY, VM_ID, Deadline(5)).close()
        thread.join(10)
    assert seen == [b"CONNECT 2222\n"]


def test_a_python_without_vsock_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_VSOCK", raising=False)
    with pytest.raises(HostError, match="without AF_VSOCK"):
        open_agent(VsockEndpoint(70_000), KEY, VM_ID, Deadline(1))


class OptionRecorder(socket.socket):
    """Takes the options of a vsock socket, which not every kernel has."""

    def __init__(self) -> None:
        super().__init__(socket.AF_UNIX)
        self.options: list[tuple[int, int]] = []

    def setsockopt(self, level: int, option: int, value: object, size: object = None) -> None:
        assert level == socket.AF_VSOCK
        assert isinstance(value, int)
        self.options.append((option, value))


def test_the_largest_buffer_is_allowed_before_it_is_asked_for() -> None:
    with OptionRecorder() as sock:
        enlarge_buffer(sock)
        assert sock.options == [
            (socket.SO_VM_SOCKETS_BUFFER_MAX_SIZE, 8 << 20),
            (socket.SO_VM_SOCKETS_BUFFER_SIZE, 8 << 20),
        ]
