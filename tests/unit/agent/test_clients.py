"""Clients come and go: slow ones, stalled ones, and those that vanish, each at the worst moment."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Iterator

import pytest

from rum.protocol import HostHandshake, Kind, encode_frame
from rum.protocol.messages import encode_message, request
from tests.unit.agent.harness import Agent, boot, frames_of, is_running, subset, system, wait_until

RUN = [system("echo one; echo two >&2", "first"), boot("echo three", "second")]


def trickle(client: socket.socket, size: int, pause_s: float) -> Iterator[bytes]:
    """What the stream holds to its end, so many bytes at a time, with a pause before each."""
    pace = threading.Event()
    while not pace.wait(pause_s) and (piece := client.recv(size)):
        yield piece


class TestSlow:
    def test_a_byte_at_a_time(self, agent: Agent) -> None:
        with agent.connect().request("provision", scripts=RUN) as slow:
            data = bytearray()
            while b'"type":"result"' not in data or not data.endswith(b"}"):
                piece = slow.socket.recv(1)
                assert piece
                data += piece
        assert bytes(data) == agent.record_path(agent.runs[0]).read_bytes()

    def test_a_byte_now_and_then_while_the_run_goes_on_and_ends(self, guest: Agent) -> None:
        guest.limits = {"ACK_TIMEOUT_S": 0.2}
        agent = guest.start()
        with agent.connect().request("provision", scripts=[system("head -c 3000000 /dev/zero; echo end")]) as slow:
            trickling = trickle(slow.socket, 1, 0.01)
            first = [next(trickling) for _ in range(50)]
            assert agent.wait_idle()["success"]
            rest = b"".join(trickle(slow.socket, 65536, 0.0))
        assert b"".join(first) + rest == agent.record_path(agent.runs[0]).read_bytes()

    @pytest.mark.parametrize("size", range(150_000, 300_000, 25_000))
    def test_the_end_waits_for_who_takes_his_time(self, guest: Agent, size: int) -> None:
        """Its result may have to wait behind more output than the client takes in the time that an ack may take."""
        guest.limits = {"ACK_TIMEOUT_S": 0.2}
        guest.start()
        with guest.connect().request("exec", argv=["head", "-c", str(size), "/dev/zero"]) as slow:
            data = b"".join(trickle(slow.socket, 8192, 0.02))
        types = [message["type"] for _, _, message in frames_of(data) if message]
        assert types == ["result"]
        assert data.count(b"\0") >= size


class TestStalled:
    @pytest.fixture
    def strict(self, guest: Agent) -> Agent:
        guest.limits = {"HEARTBEAT_S": 0.2, "STALLED_CLIENT_S": 0.6}
        return guest.start()

    def test_a_run_goes_on_without_who_reads_nothing(self, strict: Agent) -> None:
        gate = strict.root / "gate"
        content = f"head -c 3000000 /dev/zero; until [ -e {gate} ]; do sleep 0.01; done; echo end"
        with strict.connect().request("provision", scripts=[system(content)]) as stalled:
            stalled.wait_for("script_started")
            wait_until(lambda: is_dropped(stalled.socket), "the stalled client is dropped")
            gate.touch()
            assert strict.wait_idle()["success"]
            assert strict.attach().stdout.endswith(b"end\n")

    def test_one_stalled_among_many_is_the_only_one_dropped(self, strict: Agent) -> None:
        with contextlib.ExitStack() as stack:
            content = "sleep 0.2; head -c 3000000 /dev/zero"
            stalled = stack.enter_context(strict.connect().request("provision", scripts=[system(content)]))
            stalled.wait_for("script_started")
            others = [stack.enter_context(strict.connect().request("attach", run_id=None)) for _ in range(5)]
            records = [other.finish().record for other in others]
            wait_until(lambda: is_dropped(stalled.socket), "the stalled client is dropped")
        assert set(records) == {strict.record_path(strict.runs[0]).read_bytes()}

    def test_who_is_only_waiting_is_not_stalled(self, strict: Agent) -> None:
        """Heartbeats find room in the client's socket: it is silent because it has nothing to say."""
        gate = strict.root / "gate"
        content = f"until [ -e {gate} ]; do sleep 0.01; done"
        with strict.connect().request("provision", scripts=[system(content)]) as client:
            client.read_until(lambda answer: answer.heartbeats > 6)
            gate.touch()
            assert client.finish().end["success"]


def is_dropped(client: socket.socket) -> bool:
    """Whether the other side has closed, without taking what is there to be read."""
    try:
        client.send(encode_frame(Kind.STDIN, b""))
    except (BrokenPipeError, ConnectionResetError):
        return True
    return False


def opening(agent: Agent, client: socket.socket) -> bytes:
    """What a client says from its first byte to its request."""
    handshake = HostHandshake(agent.key)
    greeting = b""
    while len(greeting) < 36:
        greeting += client.recv(36 - len(greeting))
    return handshake.receive(greeting) + encode_message(request("provision", {"scripts": RUN, "mode": "boot"}))


class TestVanishing:
    def test_at_any_byte_that_it_sends(self, agent: Agent) -> None:
        with agent.connect_raw() as client:
            length = len(opening(agent, client))
        for size in [*range(0, length, 7), length - 1]:
            with agent.connect_raw() as client:
                client.sendall(opening(agent, client)[:size])
        agent.wait_for_descriptors(0)
        assert agent.runs == []
        assert agent.provision(*RUN).end["success"]

    def test_at_any_byte_that_it_receives(self, agent: Agent) -> None:
        record = agent.provision(*RUN).record
        for size in range(0, len(record), 11):
            with agent.connect().request("attach", run_id=None) as client:
                for _ in range(size):
                    assert client.socket.recv(1)
        agent.wait_for_descriptors(1)
        assert agent.attach().record == record

    def test_during_a_run_again_and_again(self, agent: Agent) -> None:
        gate = agent.root / "gate"
        content = f"for i in $(seq 200); do echo $i; done; until [ -e {gate} ]; do sleep 0.01; done; echo end"
        chance = random.Random(3)
        agent.connect().request("provision", scripts=[system(content)]).close()
        wait_until(lambda: agent.status()["run"], "the run goes on")
        for _ in range(50):
            with agent.connect().request("attach", run_id=None) as client:
                client.socket.recv(chance.randrange(1, 4000))
        gate.touch()
        subset(agent.wait_idle(), success=True, ran=["system"])
        assert agent.attach().stdout.split()[-1] == b"end"

    def test_a_command_is_taken_down_with_its_client(self, agent: Agent) -> None:
        with agent.connect().request("exec", argv=["sh", "-c", "echo $$; exec sleep 300"]) as client:
            client.read_until(lambda answer: answer.stdout.endswith(b"\n"))
            pid = int(client.answer.stdout)
        wait_until(lambda: not is_running(pid), "the command is gone")


class TestAttaching:
    def test_from_every_offset_twice_at_once_while_it_runs(self, agent: Agent) -> None:
        gate = agent.root / "gate"
        content = f"echo one; echo two >&2; until [ -e {gate} ]; do sleep 0.01; done; echo three"
        with agent.connect().request("provision", scripts=[system(content)]) as client:
            client.read_until(lambda answer: b"one" in answer.stdout and b"two" in answer.stderr)
            boundaries = [offset for offset, _, _ in frames_of(client.answer.record)] + [len(client.answer.record)]
            readers = [
                (offset, agent.connect().request("attach", run_id=None, offset=offset))
                for offset in boundaries
                for _ in range(2)
            ]
            gate.touch()
            record = client.finish().record
        for offset, reader in readers:
            assert reader.finish().record == record[offset:], offset

    def test_the_conversation_of_a_vanished_client_is_not_anothers(self, agent: Agent) -> None:
        """Descriptors are used again at once; nothing of the old connection may reach the new one."""
        for _ in range(30):
            with agent.connect().request("exec", argv=["yes"]) as client:
                client.wait_for_output(b"y")
            with agent.connect().request("status") as fresh:
                assert [message["type"] for message in fresh.finish().messages] == ["result"]
        agent.wait_for_no_child()


class TestTwoProvisions:
    def test_busy_then_right(self, agent: Agent) -> None:
        gate = agent.root / "gate"
        first = system(f"until [ -e {gate} ]; do sleep 0.01; done; echo first", "a")
        second = system("echo second", "b")
        with agent.connect().request("provision", scripts=[first]) as client:
            client.wait_for("script_started")
            subset(agent.provision(second).end, type="error", code="busy")
            with agent.connect().request("provision", scripts=[first]) as same:
                gate.touch()
                assert same.finish().record == client.finish().record
        assert agent.provision(second, mode="system").stdout == b"second\n"

    def test_while_the_boot_scripts_run_by_themselves(self, agent: Agent) -> None:
        gate = agent.root / "gate"
        waiting = boot(f"until [ -e {gate} ]; do sleep 0.01; done; echo booted")
        gate.touch()
        assert agent.provision(waiting).end["success"]
        gate.unlink()
        agent.reboot("boot-2")
        wait_until(lambda: agent.status()["run"], "the boot scripts run by themselves")
        subset(agent.provision(boot("echo changed")).end, type="error", code="busy")
        with agent.connect().request("provision", scripts=[waiting]) as client:
            subset(client.wait_for("run_started"), trigger="boot")
            gate.touch()
            assert client.finish().end["success"]
        assert agent.provision(waiting).end["ran"] == []
        assert agent.provision(boot("echo changed")).stdout == b"changed\n"
