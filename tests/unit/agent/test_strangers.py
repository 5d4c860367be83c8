"""Who has not proved that he holds the key: seen from outside, on raw sockets, against the real agent."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import socket
import termios
import threading
from collections.abc import Iterator

import pytest

from rum.agent.connection import Connection
from rum.agent.large_message import LargeMessage
from rum.agent.loop import Loop
from rum.protocol import HostHandshake, Message
from rum.protocol.handshake import ANSWER_SIZE, GREETING_SIZE, MAGIC, PROOF_SIZE, proof
from rum.protocol.limits import UNAUTHENTICATED_MAX
from rum.protocol.messages import encode_message, request, welcome
from tests.unit.agent.harness import Agent, wait_until

CROWD = 100


def read_exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := connection.recv(size - len(data))):
        data += piece
    return data


def is_closed(connection: socket.socket) -> bool:
    """Whether nothing more comes than the end."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def answer_to(greeting: bytes, key: bytes) -> bytes:
    return HostHandshake(key).receive(greeting)


@contextlib.contextmanager
def greeted(agent: Agent) -> Iterator[tuple[socket.socket, bytes]]:
    """A connection that has been greeted, and the greeting."""
    with agent.connect_raw() as connection:
        yield connection, read_exactly(connection, GREETING_SIZE)


def test_the_right_answer_gets_in(resident: Agent) -> None:
    """So that what follows is refused for what it does wrong, not because nobody ever gets in."""
    with greeted(resident) as (connection, greeting):
        connection.sendall(answer_to(greeting, resident.key))
        assert len(read_exactly(connection, PROOF_SIZE)) == PROOF_SIZE


def test_a_wrong_key(resident: Agent) -> None:
    with greeted(resident) as (connection, greeting):
        connection.sendall(answer_to(greeting, os.urandom(32)))
        assert is_closed(connection)


@pytest.mark.parametrize("length", range(ANSWER_SIZE))
def test_an_answer_that_is_cut_off_anywhere(resident: Agent, length: int) -> None:
    with greeted(resident) as (connection, greeting):
        connection.sendall(answer_to(greeting, resident.key)[:length])
        connection.shutdown(socket.SHUT_WR)
        assert is_closed(connection)


def test_an_answer_with_one_wrong_bit_anywhere(resident: Agent) -> None:
    for bit in range(8 * ANSWER_SIZE):
        with greeted(resident) as (connection, greeting):
            answer = bytearray(answer_to(greeting, resident.key))
            answer[bit // 8] ^= 1 << bit % 8
            connection.sendall(answer)
            assert is_closed(connection)


def test_an_overheard_conversation_is_of_no_use(resident: Agent) -> None:
    with greeted(resident) as (connection, greeting):
        overheard = answer_to(greeting, resident.key)
        connection.sendall(overheard)
        assert len(read_exactly(connection, PROOF_SIZE)) == PROOF_SIZE
    for _ in range(3):
        with greeted(resident) as (connection, again):
            assert again != greeting
            connection.sendall(overheard + encode_message(request("status", {})))
            assert is_closed(connection)


def test_what_the_agent_said_is_of_no_use_as_an_answer(resident: Agent) -> None:
    """Its own nonce and its own proof, from this connection and from another one, played back to it."""
    with greeted(resident) as (connection, greeting):
        connection.sendall(answer_to(greeting, resident.key))
        agents_proof = read_exactly(connection, PROOF_SIZE)
    nonce = greeting[len(MAGIC) :]
    for answer in (nonce + agents_proof, nonce + nonce, agents_proof + agents_proof):
        with greeted(resident) as (connection, _):
            connection.sendall(answer)
            assert is_closed(connection)
    with greeted(resident) as (connection, fresh):
        own = fresh[len(MAGIC) :]
        connection.sendall(own + proof(bytes(32), b"host", own, own))
        assert is_closed(connection)


def test_the_agent_is_no_oracle_for_the_host_role(resident: Agent) -> None:
    """Two connections at once: what one agent says to a nonce that another one chose never opens that other one."""
    with greeted(resident) as (one, _), greeted(resident) as (other, others):
        one.sendall(others[len(MAGIC) :] + bytes(PROOF_SIZE))
        said = read_exactly(one, PROOF_SIZE)
        assert said == b""
        other.sendall(others[len(MAGIC) :] + (said or bytes(PROOF_SIZE)))
        assert is_closed(other)


@pytest.mark.parametrize(
    "greeting", [b"SSH-2.0-OpenSSH_9.2\r\n", b"RUM2" + bytes(92), b"GET / HTTP/1.1\r\n\r\n" + bytes(96), bytes(96)]
)
def test_another_protocol(resident: Agent, greeting: bytes) -> None:
    with greeted(resident) as (connection, _):
        connection.sendall(greeting)
        connection.shutdown(socket.SHUT_WR)
        assert is_closed(connection)


def test_one_byte_at_a_time_gets_in_when_it_is_quick_enough(resident: Agent) -> None:
    with greeted(resident) as (connection, greeting):
        for number in answer_to(greeting, resident.key):
            connection.sendall(bytes([number]))
        assert len(read_exactly(connection, PROOF_SIZE)) == PROOF_SIZE


class TestTime:
    @pytest.fixture
    def hasty(self, guest: Agent) -> Agent:
        guest.limits = {"HANDSHAKE_TIMEOUT_S": 0.5}
        return guest.start()

    def test_silence(self, hasty: Agent) -> None:
        with greeted(hasty) as (connection, _):
            assert is_closed(connection)

    def test_a_byte_now_and_then_buys_no_time(self, hasty: Agent) -> None:
        """The deadline is for the whole answer: at this pace it would take seven times as long."""
        with greeted(hasty) as (connection, greeting):
            sent = send_slowly(connection, answer_to(greeting, hasty.key), pause_s=0.04)
        assert 0 < sent < ANSWER_SIZE
        assert hasty.status()["type"] == "result"


def send_slowly(connection: socket.socket, data: bytes, *, pause_s: float) -> int:
    """Bytes sent, one per pause, before the other side closed."""
    connection.settimeout(pause_s)
    for sent in range(len(data)):
        try:
            connection.sendall(data[sent : sent + 1])
            if connection.recv(1) == b"":
                return sent
        except TimeoutError:
            continue
        except OSError:
            return sent
    return len(data)


def unread(descriptor: int) -> int:
    """Bytes that a socket holds for its reader (unix(7), SIOCINQ)."""
    size = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, size)
    return size[0]


class Served:
    """The agent's connection over a pair of sockets, its end of which can be looked into."""

    def __init__(self, key: bytes) -> None:
        self.loop = Loop()
        self.peer, ours = socket.socketpair()
        self.peer.setblocking(False)
        ours.setblocking(False)
        # Goes on existing when the connection closes its own, with all that was never read.
        self.seen = os.dup(ours.fileno())
        self.requests: list[Message] = []
        self.connection = Connection(
            self.loop,
            ours,
            key,
            welcome("1", "boot", "vm"),
            lambda _connection, message: self.requests.append(message),
            lambda _connection: None,
            lambda: LargeMessage("/tmp"),
        )

    def close(self) -> None:
        self.connection.close()
        self.peer.close()
        os.close(self.seen)

    def step(self) -> None:
        """One turn of the loop, which has something to do."""
        self.loop.call_later(0, self.loop.stop)
        self.loop._running = True
        self.loop.run()


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served(bytes(range(32)))
    try:
        yield served
    finally:
        served.close()


@pytest.mark.parametrize("right", [True, False], ids=["right-key", "wrong-key"])
def test_nothing_beyond_the_answer_is_read_before_it_is_proved(served: Served, right: bool) -> None:
    greeting = served.peer.recv(100)
    answer = answer_to(greeting, bytes(range(32)) if right else bytes(32))
    more = encode_message(request("status", {}))
    served.peer.send(answer[:-1])
    served.step()
    assert (unread(served.seen), served.connection.authenticated) == (0, False)
    served.peer.send(answer[-1:] + more)
    assert unread(served.seen) == 1 + len(more)
    served.step()
    if right:
        assert served.connection.authenticated
        assert unread(served.seen) == len(more)
        served.step()
        assert [message["method"] for message in served.requests] == ["status"]
    else:
        assert served.connection.closed
        assert unread(served.seen) == len(more)
        assert served.requests == []


def test_of_a_flood_without_proof_only_the_answers_size_is_read(served: Served) -> None:
    served.peer.recv(100)
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += served.peer.send(bytes(65536))
    served.step()
    assert served.connection.closed
    assert unread(served.seen) == sent - ANSWER_SIZE


def test_a_gigabyte_without_proof(agent: Agent) -> None:
    """As fast as the agent lets it: it is closed after 96 bytes each time, and memory stays where it was."""
    agent.status()
    before = agent.memory_kib()
    piece = memoryview(bytes(16_000_000))
    offered = 0
    while offered < 1_000_000_000:
        with agent.connect_raw() as connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            offered += len(piece)
            connection.sendall(piece)
    assert agent.memory_kib() - before < 1024
    assert agent.status()["type"] == "result"


class TestCrowd:
    def test_a_hundred_that_say_nothing(self, agent: Agent) -> None:
        with contextlib.ExitStack() as crowd:
            for _ in range(CROWD):
                crowd.enter_context(agent.connect_raw())
            agent.wait_for_descriptors(UNAUTHENTICATED_MAX)
            for _ in range(10):
                assert agent.status()["type"] == "result"
        agent.wait_for_descriptors(0)

    def test_thirty_two_at_once_are_all_served(self, agent: Agent) -> None:
        with contextlib.ExitStack() as crowd:
            for _ in range(CROWD):
                crowd.enter_context(agent.connect_raw())
            clients = [agent.connect_raw() for _ in range(32)]
            greetings = [read_exactly(client, GREETING_SIZE) for client in clients]
            for client, greeting in zip(clients, greetings, strict=True):
                client.sendall(answer_to(greeting, agent.key))
            for client in clients:
                with client:
                    assert len(read_exactly(client, PROOF_SIZE)) == PROOF_SIZE
                    client.sendall(encode_message(request("status", {})))
                    wait_until_has(client, b'"type":"result"')

    def test_half_an_answer_each(self, agent: Agent) -> None:
        with contextlib.ExitStack() as crowd:
            for _ in range(CROWD):
                stranger = crowd.enter_context(agent.connect_raw())
                stranger.sendall(bytes(ANSWER_SIZE - 1))
            assert agent.status()["type"] == "result"

    def test_a_storm_of_strangers_keeps_nobody_out(self, agent: Agent) -> None:
        """They come as fast as four threads can make them, and each new one pushes an old one out.

        Who needs longer for his answer than 64 of them for coming is pushed out, too, and tries again, as rum does.
        """
        over = threading.Event()
        counts = [0] * 4
        storm = [threading.Thread(target=storm_in, args=(agent, over, counts, number)) for number in range(4)]
        for thread in storm:
            thread.start()
        try:
            wait_until(lambda: min(counts) > UNAUTHENTICATED_MAX, "the storm has begun")
            attempts = [attempts_to_get_in(agent) for _ in range(50)]
        finally:
            over.set()
            for thread in storm:
                thread.join()
        assert max(attempts) <= 10, f"{attempts} while {sum(counts)} strangers came"
        agent.wait_for_descriptors(0)


def storm_in(agent: Agent, over: threading.Event, counts: list[int], number: int) -> None:
    held: list[socket.socket] = []
    while not over.is_set():
        connection = socket.socket(socket.AF_UNIX)
        held.append(connection)
        # Blocking: it waits for a place in the listener's queue instead of being refused.
        connection.connect(agent.socket_path)
        counts[number] += 1
        if len(held) > UNAUTHENTICATED_MAX:
            held.pop(0).close()
    for connection in held:
        connection.close()


def attempts_to_get_in(agent: Agent) -> int:
    return next(attempt for attempt in range(1, 100) if gets_in(agent))


def gets_in(agent: Agent) -> bool:
    """Whether a client that waits for its turn is served, and not closed in the middle of its handshake."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(agent.socket_path)
        client.settimeout(60.0)
        try:
            client.sendall(answer_to(read_exactly(client, GREETING_SIZE), agent.key))
            return len(read_exactly(client, PROOF_SIZE)) == PROOF_SIZE
        except OSError:
            return False


def wait_until_has(connection: socket.socket, wanted: bytes) -> None:
    data = b""
    while wanted not in data:
        piece = connection.recv(65536)
        assert piece, f"the stream ended after {data!r}"
        data += piece
