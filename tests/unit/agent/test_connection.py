"""Connections: who gets in, what a broken or hostile peer costs, and how a conversation ends."""

from __future__ import annotations

import os
import resource
import socket
import stat
import time

import pytest

from rum.agent.settings import Settings
from rum.protocol import ErrorCode, FrameDecoder, HandshakeError, Kind, encode_frame, parse_message
from rum.protocol.limits import HANDSHAKE_TIMEOUT_S, HEARTBEAT_S, UNAUTHENTICATED_MAX
from rum.protocol.messages import encode_message, request
from tests.unit.agent.harness import VM_ID, Agent, Client, boot, subset, system, wait_until


def read_to_end(connection: socket.socket) -> bytes:
    """Everything until the agent closes."""
    data = b""
    try:
        while piece := connection.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    return data


class TestGettingIn:
    def test_the_welcome(self, resident: Agent) -> None:
        with resident.connect() as client:
            subset(client.welcome, type="welcome", protocol=1, boot_id="boot-1", vm_id=VM_ID)
            assert set(client.welcome) == {"type", "protocol", "agent_version", "boot_id", "vm_id", "build"}

    def test_another_key_is_closed_without_a_word(self, resident: Agent) -> None:
        with pytest.raises(ConnectionAbortedError):
            resident.connect(os.urandom(32))
        with resident.connect_raw() as connection:
            connection.sendall(bytes(96))
            assert len(read_to_end(connection)) == 4 + 32

    def test_an_agent_with_another_key_is_recognised(self, resident: Agent) -> None:
        """The client's half refuses too: here the proof of a wrong agent is played by a socket."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(b"RUM1" + bytes(32) + bytes(32))
            client = Client.__new__(Client)
            client.socket = ours
            with pytest.raises(HandshakeError):
                client._shake_hands(resident.key)

    def test_silence_is_closed_after_its_time(self, resident: Agent) -> None:
        begun = time.monotonic()
        with resident.connect_raw() as connection:
            assert len(read_to_end(connection)) == 36
        assert HANDSHAKE_TIMEOUT_S - 0.1 < time.monotonic() - begun < 4 * HANDSHAKE_TIMEOUT_S

    def test_a_crowd_of_strangers_locks_nobody_out(self, resident: Agent) -> None:
        with resident.connect() as inside:
            resident.wait_for_descriptors(1)
            crowd = [resident.connect_raw() for _ in range(UNAUTHENTICATED_MAX + 6)]
            assert resident.status()["run"] is None
            resident.wait_for_descriptors(1 + UNAUTHENTICATED_MAX - 1)
            # The oldest had to make room for the newest and for the one that asked.
            assert len(read_to_end(crowd[0])) == 36
            assert inside.request("status").finish().end["type"] == "result"
            for stranger in crowd:
                stranger.close()

    def test_a_flood_without_proof_is_closed_and_costs_nothing(self, resident: Agent) -> None:
        for _ in range(20):
            with resident.connect_raw() as connection, pytest.raises((BrokenPipeError, ConnectionResetError)):
                connection.sendall(bytes(64_000_000))
        assert resident.memory_kib() < 30 * 1024
        assert resident.status()["run"] is None

    def test_byte_by_byte(self, resident: Agent) -> None:
        with resident.connect() as client:
            for number in encode_message(request("status", {})):
                client.socket.sendall(bytes([number]))
            client._conversation.send_message(request("status", {}))
            assert client.finish().end["type"] == "result"


class TestRequests:
    def test_no_request_is_waited_for_only_so_long(self, guest: Agent) -> None:
        guest.limits = {"REQUEST_TIMEOUT_S": 0.3}
        guest.start()
        with guest.connect() as client:
            assert client.next() is None

    def test_no_acknowledgement_is_waited_for_only_so_long(self, guest: Agent) -> None:
        guest.limits = {"ACK_TIMEOUT_S": 0.3}
        guest.start()
        with guest.connect().request("status") as client:
            client.wait_for("result")
            assert client.next() is None

    def test_the_acknowledgement_closes(self, resident: Agent) -> None:
        with resident.connect().request("status") as client:
            client.wait_for("result")
            client.message({"type": "ack"})
            assert client.next() is None

    @pytest.mark.parametrize("method", ["nope", "", "proxy", "__init__", "x" * 60_000])
    def test_an_unknown_method(self, resident: Agent, method: str) -> None:
        answer = resident.call(method)
        subset(answer.end, type="error", code="unknown-method")
        assert len(answer.end["message"]) < 200

    @pytest.mark.parametrize(
        ("method", "params"),
        [
            ("provision", {}),
            ("provision", {"scripts": {}}),
            ("provision", {"scripts": [1]}),
            ("provision", {"scripts": [], "mode": "some"}),
            ("provision", {"scripts": [], "mode": 1}),
            ("provision", {"scripts": [system("a"), boot("b", "system")]}),
            ("provision", {"scripts": [system("a", "A")]}),
            ("provision", {"scripts": [system("\udfff")]}),
            ("provision", {"scripts": [{**system("a"), "order": 2**31}]}),
            ("attach", {"offset": -1}),
            ("attach", {"offset": "0"}),
            ("attach", {"offset": 1.0}),
            ("attach", {"run_id": 1}),
            ("attach", {"follow": 1}),
            ("cancel", {"run_id": []}),
        ],
    )
    def test_bad_requests(self, resident: Agent, method: str, params: dict[str, object]) -> None:
        subset(resident.call(method, **params).end, type="error", code="bad-request")

    @pytest.mark.parametrize(
        "message", [{"method": 1, "params": {}}, {"params": {}}, {"method": "status", "params": 1}]
    )
    def test_malformed_requests(self, resident: Agent, message: dict[str, object]) -> None:
        with resident.connect() as client:
            client.message({"type": "request", **message})
            subset(client.finish().end, type="error", code="bad-request")

    def test_absent_params_and_unknown_fields(self, resident: Agent) -> None:
        with resident.connect() as client:
            client.message({"type": "request", "method": "status", "hurry": True})
            assert client.finish().end["type"] == "result"

    def test_every_code_is_from_the_list(self, resident: Agent) -> None:
        seen = {resident.call(method).end["code"] for method in ("provision", "attach", "nope")}
        assert seen <= {code.value for code in ErrorCode}
        assert seen == {"bad-request", "not-found", "unknown-method"}


BROKEN = [
    pytest.param(b"\xff\xff\xff\xff\x01", id="too-long"),
    pytest.param(b"\x00\x00\x00\x00\x99", id="unknown-kind"),
    pytest.param(b"\x00\x00\x00\x01\x11", id="output-without-time"),
    pytest.param(encode_frame(Kind.MESSAGE, b"{"), id="not-json"),
    pytest.param(encode_frame(Kind.MESSAGE, b"[" * 50_000), id="too-deep"),
    pytest.param(encode_frame(Kind.MESSAGE, b"[" * 5_000_000), id="too-deep-and-large"),
    pytest.param(encode_frame(Kind.MESSAGE, b"{}"), id="no-type"),
    pytest.param(encode_message({"type": "ack"}), id="ack-too-early"),
    pytest.param(encode_message({"type": "hello"}), id="unknown-message"),
    pytest.param(encode_frame(Kind.STDIN, b"x"), id="stdin-too-early"),
]


class TestBrokenPeer:
    @pytest.mark.parametrize("data", BROKEN)
    def test_it_is_told_once_and_closed(self, resident: Agent, data: bytes) -> None:
        with resident.connect() as client:
            client.socket.sendall(data)
            answer = client.read_until(lambda _: False)
            assert answer.types == ["error"]
            subset(answer.end, code="protocol")

    def test_a_second_request(self, resident: Agent) -> None:
        with resident.connect().request("exec", argv=["sh", "-c", "echo begun; exec sleep 300"]) as client:
            client.wait_for_output(b"begun")
            client.socket.sendall(encode_message(request("status", {})))
            answer = client.read_until(lambda _: False)
            subset(answer.end, type="error", code="protocol")
        resident.wait_for_no_child()
        resident.wait_for_descriptors(0)

    def test_in_the_middle_of_much_output(self, resident: Agent) -> None:
        """Neither a frame is torn by the error nor is anything said after it."""
        with resident.connect().request("exec", argv=["yes"]) as client:
            client.wait_for_output(b"y\n")
            client.socket.sendall(b"\x00\x00\x00\x00\x99")
            answer = client.read_until(lambda _: False)
            subset(answer.messages[-1], type="error", code="protocol")
            assert answer.frames[-1].message is answer.messages[-1]

    def test_while_it_follows_a_run(self, agent: Agent) -> None:
        gate = agent.root / "gate"
        content = f"echo begun; until [ -e {gate} ]; do sleep 0.01; done; echo later"
        with agent.connect().request("provision", scripts=[system(content)]) as client:
            client.wait_for_output(b"begun")
            client.socket.sendall(b"\x00\x00\x00\x00\x99")
            assert client.wait_for("error")["code"] == "protocol"
            gate.touch()
            assert agent.wait_idle()["success"]
            assert client.read_until(lambda _: False).stdout == b"begun\n"

    def test_while_it_follows_a_flood(self, agent: Agent) -> None:
        """It may be closed without a word, since that would land in the middle of a frame."""
        with agent.connect().request("provision", scripts=[system("head -c 30000000 /dev/zero")]) as client:
            client.wait_for_output(b"\0")
            client.socket.sendall(b"\x00\x00\x00\x00\x99")
            client.read_until(lambda _: False)
        assert agent.wait_idle()["success"]

    def test_frames_that_the_method_does_not_want_are_ignored(self, agent: Agent) -> None:
        with agent.connect().request("provision", scripts=[system("echo begun; sleep 0.3")]) as client:
            client.wait_for_output(b"begun")
            client.send(Kind.STDIN, b"x")
            client.send(Kind.BYTES, b"x")
            client.message({"type": "resize", "rows": 1, "cols": 1})
            assert client.finish().end["success"]


class TestHeartbeat:
    def test_an_open_request_is_never_silent_for_long(self, agent: Agent) -> None:
        with agent.connect().request("provision", scripts=[system("exec sleep 300")]) as client:
            client.wait_for("script_started")
            begun = time.monotonic()
            client.read_until(lambda answer: answer.heartbeats > 0)
            assert HEARTBEAT_S - 0.5 < time.monotonic() - begun < HEARTBEAT_S + 20
            agent.call("cancel", run_id=None)
            client.finish()
        assert b"heartbeat" not in agent.record_path(agent.runs[0]).read_bytes()

    def test_they_go_on(self, guest: Agent) -> None:
        guest.limits = {"HEARTBEAT_S": 0.2}
        guest.start()
        with guest.connect().request("exec", argv=["sleep", "300"]) as client:
            client.read_until(lambda answer: answer.heartbeats > 5)

    def test_a_client_that_takes_nothing_is_closed(self, guest: Agent) -> None:
        guest.limits = {"HEARTBEAT_S": 0.2, "STALLED_CLIENT_S": 0.5}
        guest.start()
        large = guest.root / "large"
        large.write_bytes(bytes(5_000_000))
        with guest.connect().request("read_file", path=str(large)) as client:
            assert client.next()
            guest.wait_for_descriptors(0)


class TestFiles:
    def test_they_are_private(self, agent: Agent) -> None:
        agent.provision(system("true"), boot("true"))
        for path in [agent.state_dir, *agent.state_dir.rglob("*")]:
            status = path.stat()
            wanted = 0o700 if path.is_dir() or path.parent.name == "scripts" else 0o600
            assert stat.S_IMODE(status.st_mode) == wanted, path
        assert stat.S_IMODE(os.stat(agent.socket_path).st_mode) == 0o600
        assert stat.S_IMODE((agent.root / "run/rum/fifo").stat().st_mode) == 0o700


class TestStart:
    @pytest.mark.parametrize("key", [None, "", "00" * 31, "no key"])
    def test_without_a_key_it_does_not_start(self, guest: Agent, key: str | None) -> None:
        guest.key_file.unlink()
        if key is not None:
            guest.key_file.write_text(key, encoding="ascii")
        guest.may_complain = True
        guest.launch()
        assert guest.wait() == 1
        (line,) = guest.stderr_file.read_text(encoding="utf-8").splitlines()
        assert line.startswith(f"rum-agent: cannot read the key {guest.key_file}: ")

    def test_without_an_address_it_does_not_start(self, guest: Agent) -> None:
        guest.socket_path = str(guest.root / "no/such/dir/s")
        guest.may_complain = True
        guest.launch()
        assert guest.wait() == 1
        assert "cannot listen at unix:" in guest.stderr_file.read_text(encoding="utf-8")

    def test_without_a_boot_id_it_does_not_start(self, guest: Agent) -> None:
        (guest.root / "proc/sys/kernel/random/boot_id").unlink()
        guest.may_complain = True
        guest.launch()
        assert guest.wait() == 1

    def test_paths_lie_below_the_root(self) -> None:
        settings = Settings(root="/x")
        assert settings.state_dir == "/x/var/lib/rum"
        assert settings.sentinel == "/x/var/lib/rum/.system-provisioned"
        assert not settings.in_guest
        assert Settings().in_guest
        assert Settings().listen == "vsock:2222"

    def test_out_of_descriptors_it_recovers(self, guest: Agent) -> None:
        guest.before_start = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))
        guest.start()
        crowd = [guest.connect_raw() for _ in range(40)]
        wait_until(lambda: guest.descriptors() == 24, "there are no more descriptors")
        for stranger in crowd:
            stranger.close()
        assert guest.status()["run"] is None
        assert guest.provision(system("true")).end["success"]


def test_large_requests_do_not_make_the_agent_large(agent: Agent) -> None:
    """Sixteen scripts of nearly a MiB in one request."""
    scripts = [system(f"# {'x' * 1_000_000}\necho {number}", f"s{number}", order=number) for number in range(16)]
    answer = agent.provision(*scripts)
    assert answer.stdout.split() == [b"%d" % number for number in range(16)]
    assert agent.memory_kib() < 30 * 1024


def test_the_record_decoder_sees_what_the_client_sees(agent: Agent) -> None:
    agent.provision(system("echo x"))
    decoder = FrameDecoder()
    decoder.feed(agent.record_path(agent.runs[0]).read_bytes())
    messages = [parse_message(frame.payload) for frame in decoder.frames() if frame.kind is Kind.MESSAGE]
    assert messages == agent.attach().messages
