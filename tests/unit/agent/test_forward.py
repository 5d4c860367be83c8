"""The `forward` method: real TCP servers through the real agent, raw and framed."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import select
import signal
import socket
import threading

import pytest

from rum.agent.forward import FEW, SMALL_CHUNK
from rum.protocol import Kind
from rum.protocol.frames import HEADER
from rum.protocol.messages import request
from tests.unit.agent.harness import IDLE_DESCRIPTORS, Agent, Client, boot, subset, wait_until
from tests.unit.agent.tcp_servers import digest, echo, free_port, reset, sending, serving
from tests.unit.agent.test_clients import is_dropped

BLOCK = 16 * 1024
BIG = 16 * 1024 * 1024


def framed(agent: Agent, port: int) -> Client:
    """A framed forward that stands."""
    client = agent.connect().request("forward", port=port, framed=True)
    client.wait_for("connected")
    return client


def raw(agent: Agent, port: int) -> socket.socket:
    """A raw forward that stands."""
    client = agent.connect().request("forward", port=port)
    read_result(client.socket)
    return client.socket


def read_result(sock: socket.socket) -> None:
    """Read the result and not a byte of what follows it."""
    length, kind = HEADER.unpack(sock.recv(HEADER.size, socket.MSG_WAITALL))
    assert kind == Kind.MESSAGE
    assert json.loads(sock.recv(length, socket.MSG_WAITALL)) == {"type": "result"}


def received_by(client: Client) -> bytes:
    """The bytes of a framed forward so far."""
    return b"".join(got.frame.payload for got in client.answer.frames if got.frame.kind is Kind.BYTES)


def read_all(sock: socket.socket) -> bytes:
    """What comes to the end of the stream."""
    return b"".join(iter(lambda: sock.recv(65536), b""))


def read_to_end(client: Client) -> bytes:
    """The bytes of a framed forward up to the server's end."""

    def ended() -> bool:
        return any(got.frame.kind is Kind.BYTES and not got.frame.payload for got in client.answer.frames)

    client.read_until(lambda answer: ended() or bool(answer.of("result")))
    assert ended()
    return received_by(client)


def largest_frame(agent: Agent, port: int) -> int:
    """Bytes of the largest frame in all that a server sends."""
    client = framed(agent, port)
    assert len(read_to_end(client)) == BIG
    client.send(Kind.BYTES, b"")
    answer = client.finish()
    return max(len(got.frame.payload) for got in answer.frames if got.frame.kind is Kind.BYTES)


def pour(client: Client, data: bytes) -> None:
    """Send the data and the end."""
    for at in range(0, len(data), BLOCK):
        client.send(Kind.BYTES, data[at : at + BLOCK])
    client.send(Kind.BYTES, b"")


def is_reset(sock: socket.socket) -> bool:
    """Wait for the end of the connection; whether it was a reset."""
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        return True
    return False


class TestFramed:
    """What rum's own host uses."""

    def test_bytes_go_both_ways_and_each_direction_ends_by_itself(self, resident: Agent) -> None:
        with serving(echo) as port:
            client = framed(resident, port)
            client.send(Kind.BYTES, b"one")
            client.read_until(lambda _: received_by(client) == b"one")
            client.send(Kind.BYTES, b" two")
            client.send(Kind.BYTES, b"")
            assert read_to_end(client) == b"one two"
            assert subset(client.finish().end, type="result", reset=False, received=7, sent=7)

    def test_the_answer_to_a_half_closed_request_arrives(self, resident: Agent) -> None:
        data = os.urandom(BIG)
        with serving(digest) as port:
            client = framed(resident, port)
            pour(client, data)
            assert read_to_end(client).decode() == hashlib.sha256(data).hexdigest()
            assert subset(client.finish().end, reset=False, received=64, sent=BIG)

    def test_a_server_that_ends_first_still_reads(self, resident: Agent) -> None:
        heard: queue.Queue[bytes] = queue.Queue()

        def serve(sock: socket.socket) -> None:
            sock.sendall(b"bye")
            sock.shutdown(socket.SHUT_WR)
            heard.put(read_all(sock))

        with serving(serve) as port:
            client = framed(resident, port)
            assert read_to_end(client) == b"bye"
            pour(client, b"I go on")
            assert heard.get(timeout=60) == b"I go on"
            assert subset(client.finish().end, reset=False)

    def test_a_message_among_the_bytes_is_passed_over(self, resident: Agent) -> None:
        with serving(echo) as port:
            client = framed(resident, port)
            client.message({"type": "resize", "rows": 10, "cols": 10})
            client.send(Kind.BYTES, b"still bytes")
            client.send(Kind.BYTES, b"")
            assert read_to_end(client) == b"still bytes"
            subset(client.finish().end, reset=False, received=11, sent=11)

    def test_nobody_listens(self, resident: Agent) -> None:
        with free_port() as port:
            for framed_too in (True, False):
                end = resident.call("forward", port=port, framed=framed_too).end
                assert end["code"] == "not-found"
                assert end["message"] == f"nobody listens at port {port} of the guest's loopback"

    @pytest.mark.parametrize("port", [None, 0, 65536, "80", 80.0, True])
    def test_what_is_no_port_is_refused(self, resident: Agent, port: object) -> None:
        assert subset(resident.call("forward", port=port).end, type="error", code="bad-request")

    def test_ipv6_is_tried_where_ipv4_is_refused(self, resident: Agent) -> None:
        with serving(echo, "::1") as port:
            client = framed(resident, port)
            pour(client, b"six")
            assert read_to_end(client) == b"six"
            client.finish()

    def test_a_reset_by_the_server_is_told(self, resident: Agent) -> None:
        with serving(reset) as port:
            client = framed(resident, port)
            client.send(Kind.BYTES, b"x" * 1000)
            assert subset(client.finish().end, type="result", reset=True)

    def test_a_client_that_vanishes_resets_the_server(self, resident: Agent) -> None:
        ended: queue.Queue[bool] = queue.Queue()
        with serving(lambda sock: ended.put(is_reset(sock))) as port:
            client = framed(resident, port)
            client.send(Kind.BYTES, b"half of it")
            client.close()
            assert ended.get(timeout=60) is True
        resident.wait_for_descriptors(0)

    def test_a_client_that_vanishes_after_its_end_resets_the_server_too(self, resident: Agent) -> None:
        heard: queue.Queue[bytes] = queue.Queue()
        events: queue.Queue[int] = queue.Queue()

        def serve(sock: socket.socket) -> None:
            heard.put(read_all(sock))
            poller = select.poll()
            poller.register(sock, 0)
            events.put(poller.poll(60_000)[0][1])

        with serving(serve) as port:
            client = framed(resident, port)
            pour(client, bytes(BLOCK))
            assert heard.get(timeout=60) == bytes(BLOCK)
            client.close()
            assert events.get(timeout=60) & select.POLLERR
        resident.wait_for_descriptors(0)

    def test_heartbeats_go_on(self, guest: Agent) -> None:
        guest.limits = {"HEARTBEAT_S": 0.2}
        guest.start()
        with serving(echo) as port:
            client = framed(guest, port)
            client.read_until(lambda answer: answer.heartbeats == 2)
            client.close()

    def test_fifty_at_once(self, resident: Agent) -> None:
        data = [os.urandom(200_000) for _ in range(50)]
        with serving(digest) as port:
            clients = [framed(resident, port) for _ in data]
            for client, part in zip(clients, data, strict=True):
                pour(client, part)
            for client, part in zip(clients, data, strict=True):
                assert read_to_end(client).decode() == hashlib.sha256(part).hexdigest()
                client.finish()
        resident.wait_for_descriptors(0)

    def test_a_frame_is_large_where_there_are_few(self, guest: Agent) -> None:
        guest.start()
        with serving(sending(bytes(BIG))) as port, serving(echo) as other:
            assert largest_frame(guest, port) > SMALL_CHUNK
            others = [framed(guest, other) for _ in range(FEW)]
            assert largest_frame(guest, port) <= SMALL_CHUNK
            for client in others:
                client.close()
            guest.wait_for_descriptors(0)
            assert largest_frame(guest, port) > SMALL_CHUNK


class TestSlowReaders:
    """Whoever does not read makes the other end wait, and nobody else; the agent holds little."""

    def test_a_client_that_does_not_read_makes_the_server_wait(self, agent: Agent) -> None:
        with serving(sending(bytes(BIG))) as port:
            clients = [framed(agent, port) for _ in range(10)]
            assert agent.call("exec", argv=["echo", "alive"]).stdout == b"alive\n"
            assert agent.memory_kib() < 30 * 1024
            for client in clients[1:]:
                client.close()
            clients[0].send(Kind.BYTES, b"")
            assert len(read_to_end(clients[0])) == BIG
            clients[0].finish()

    def test_a_server_that_does_not_read_makes_the_client_wait(self, agent: Agent) -> None:
        gate = threading.Event()
        counted: queue.Queue[int] = queue.Queue()

        def serve(sock: socket.socket) -> None:
            gate.wait(60)
            counted.put(len(read_all(sock)))

        with serving(serve) as port:
            client = framed(agent, port)
            sender = threading.Thread(target=pour, args=(client, bytes(BIG)))
            sender.start()
            assert agent.call("exec", argv=["echo", "alive"]).stdout == b"alive\n"
            assert agent.memory_kib() < 30 * 1024
            # The buffers between here and the server hold a fraction of it.
            assert sender.is_alive()
            gate.set()
            sender.join(60)
            assert counted.get(timeout=60) == BIG
            client.close()

    def test_a_client_may_pause_for_longer_than_other_methods_allow(self, guest: Agent) -> None:
        guest.limits = {"STALLED_CLIENT_S": 0.1, "HEARTBEAT_S": 0.1}
        guest.start()
        with serving(sending(bytes(BIG))) as port:
            client = framed(guest, port)
            (guest.root / "large").write_bytes(bytes(BIG))
            with guest.connect().request("read_file", path=str(guest.root / "large")) as stalled:
                # The one that may not is gone, so the time for it has passed for both.
                wait_until(lambda: is_dropped(stalled.socket), "the stalled transfer was given up")
            client.send(Kind.BYTES, b"")
            assert len(read_to_end(client)) == BIG
            client.finish()


class TestRaw:
    """The connection itself becomes the stream."""

    def test_no_frame_comes_or_goes_after_the_result(self, resident: Agent) -> None:
        with serving(echo) as port, raw(resident, port) as sock:
            sock.sendall(b"\0\0\0\1\x01 looks like a frame")
            assert sock.recv(100) == b"\0\0\0\1\x01 looks like a frame"
            sock.shutdown(socket.SHUT_WR)
            assert read_all(sock) == b""
        resident.wait_for_descriptors(0)

    def test_what_follows_the_request_at_once_is_the_streams(self, resident: Agent) -> None:
        with serving(digest) as port:
            client = resident.connect()
            sent = client._conversation.send_message(request("forward", {"port": port}))
            client.socket.sendall(sent + b"first")
            client.socket.sendall(b" second")
            read_result(client.socket)
            client.socket.shutdown(socket.SHUT_WR)
            assert read_all(client.socket).decode() == hashlib.sha256(b"first second").hexdigest()
            client.close()

    def test_a_large_transfer_and_a_half_close(self, resident: Agent) -> None:
        data = os.urandom(BIG)
        with serving(digest) as port, raw(resident, port) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            assert read_all(sock).decode() == hashlib.sha256(data).hexdigest()
        resident.wait_for_descriptors(0)

    def test_a_server_that_closes_ends_the_clients_stream(self, resident: Agent) -> None:
        with serving(sending(b"all of it")) as port, raw(resident, port) as sock:
            assert read_all(sock) == b"all of it"
        resident.wait_for_descriptors(0)

    def test_a_server_that_ends_is_let_go_of_after_a_while(self, guest: Agent) -> None:
        guest.limits = {"ACK_TIMEOUT_S": 0.2}
        guest.start()
        closed: queue.Queue[bytes] = queue.Queue()

        def serve(sock: socket.socket) -> None:
            sock.shutdown(socket.SHUT_WR)
            closed.put(sock.recv(1))

        with serving(serve) as port, raw(guest, port):
            assert closed.get(timeout=60) == b""
            guest.wait_for_descriptors(0)

    def test_there_is_no_heartbeat_and_no_deadline(self, guest: Agent) -> None:
        guest.limits = {"HEARTBEAT_S": 0.1, "ACK_TIMEOUT_S": 0.1, "REQUEST_TIMEOUT_S": 0.1}
        guest.start()
        with serving(echo) as port, raw(guest, port) as sock:
            # Another connection's heartbeats show that time has passed.
            other = framed(guest, port)
            other.read_until(lambda answer: answer.heartbeats == 5)
            other.close()
            sock.sendall(b"still here")
            assert sock.recv(100) == b"still here"

    def test_a_reset_by_the_server_ends_it(self, resident: Agent) -> None:
        with serving(reset) as port, raw(resident, port) as sock:
            sock.sendall(b"x")
            assert sock.recv(1) == b""
        resident.wait_for_descriptors(0)

    def test_a_client_that_vanishes_ends_the_server(self, resident: Agent) -> None:
        ended: queue.Queue[bytes] = queue.Queue()
        with serving(lambda sock: ended.put(read_all(sock))) as port:
            with raw(resident, port) as sock:
                sock.sendall(b"the last")
            assert ended.get(timeout=60) == b"the last"
        resident.wait_for_descriptors(0)


class TestTheAgentsEnd:
    """Forwards may last for ever, so nothing waits for them."""

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_cuts_them(self, agent: Agent, number: int) -> None:
        ended: queue.Queue[bool] = queue.Queue()
        with serving(lambda sock: ended.put(is_reset(sock))) as port:
            client = framed(agent, port)
            agent.signal(number)
            assert agent.wait() == 0
            assert ended.get(timeout=60) is True
            assert client.next() is None
            client.close()

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_cuts_however_many_there_are(self, agent: Agent, number: int) -> None:
        with serving(echo) as port:
            clients = [framed(agent, port) for _ in range(400)]
            agent.signal(number)
            assert agent.wait() == 0
            for client in clients:
                client.close()

    def test_making_room_waits_for_scripts_and_leaves_forwards_alone_meanwhile(self, agent: Agent) -> None:
        gate = agent.root / "gate"
        script = boot(f"while ! [ -e {gate} ]; do sleep 0.02; done")
        with serving(echo) as port:
            run = agent.connect().request("provision", scripts=[script])
            run.wait_for("script_started")
            client = framed(agent, port)
            agent.signal(signal.SIGHUP)
            client.send(Kind.BYTES, b"still")
            client.read_until(lambda _: received_by(client) == b"still")
            gate.touch()
            assert run.finish().end["success"] is True
            assert agent.wait() == 0
            client.close()

    def test_a_killed_agent_leaves_no_server_waiting(self, agent: Agent) -> None:
        ended: queue.Queue[bytes] = queue.Queue()
        with serving(lambda sock: ended.put(read_all(sock))) as port:
            client = framed(agent, port)
            agent.kill()
            assert ended.get(timeout=60) == b""
            client.close()


def test_an_idle_agent_has_the_descriptors_it_had(resident: Agent) -> None:
    with serving(echo) as port:
        client = framed(resident, port)
        assert resident.descriptors() == IDLE_DESCRIPTORS + 2
        client.close()
    resident.wait_for_descriptors(0)
