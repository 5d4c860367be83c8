"""What systemd is told, and how an agent makes room for its successor."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
from collections.abc import Iterator

import pytest

from rum.host.bundle import build_agent_zipapp
from tests.unit.agent.harness import DEADLINE_S, Agent, boot, is_running, subset, system, wait_until

HOLD = "echo holding; until [ -e {gate} ]; do sleep 0.01; done; echo released"


@pytest.fixture
def notified(guest: Agent, request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """What systemd would read; the agent is started with its address."""
    abstract = f"rum-test-{os.getpid()}"
    name, address = {
        "path": (guest.socket_path + ".n", guest.socket_path + ".n"),
        "abstract": ("@" + abstract, "\0" + abstract),
    }[getattr(request, "param", "path")]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address)
        receiver.settimeout(DEADLINE_S)
        guest.environment["NOTIFY_SOCKET"] = name
        yield receiver


class TestNotify:
    @pytest.mark.parametrize("notified", ["path", "abstract"], indirect=True)
    def test_it_is_ready_once_it_listens(self, guest: Agent, notified: socket.socket) -> None:
        guest.launch()
        assert notified.recv(100) == b"READY=1"
        assert guest.status()["type"] == "result"

    def test_it_says_that_it_stops(self, guest: Agent, notified: socket.socket) -> None:
        guest.start().stop()
        assert [notified.recv(100) for _ in range(2)] == [b"READY=1", b"STOPPING=1"]

    def test_it_is_ready_before_its_boot_scripts_have_ended(self, guest: Agent, notified: socket.socket) -> None:
        gate = guest.root / "gate"
        gate.touch()
        guest.start()
        guest.provision(boot(HOLD.format(gate=gate)))
        guest.stop()
        gate.unlink()
        guest.play_boot("boot-2")
        guest.launch()
        assert [notified.recv(100) for _ in range(3)] == [b"READY=1", b"STOPPING=1", b"READY=1"]
        assert guest.status()["run"]["trigger"] == "boot"
        gate.touch()
        subset(guest.wait_idle(), success=True)

    def test_scripts_cannot_speak_in_its_name(self, guest: Agent, notified: socket.socket) -> None:
        guest.start()
        assert b"NOTIFY_SOCKET" not in guest.provision(boot("env")).stdout

    def test_nobody_need_listen(self, guest: Agent) -> None:
        guest.environment["NOTIFY_SOCKET"] = str(guest.root / "nobody")
        guest.start().stop()


class TestBuild:
    def test_the_zipapp_tells_its_hash(self, shipped: Agent) -> None:
        shipped.start()
        with shipped.connect() as client:
            assert client.welcome["build"] == hashlib.sha256(build_agent_zipapp()).hexdigest()

    def test_sources_have_none(self, agent: Agent) -> None:
        with agent.connect() as client:
            assert client.welcome["build"] is None


class TestHangUp:
    """SIGHUP: the agent ends, and systemd starts its successor, but nothing that goes on is interrupted."""

    def test_an_idle_agent_ends_at_once(self, agent: Agent) -> None:
        agent.signal(signal.SIGHUP)
        assert agent.wait() == 0

    def test_a_run_is_finished_and_read_first(self, agent: Agent) -> None:
        gate = agent.root / "gate"
        client = agent.connect().request("provision", scripts=[system(HOLD.format(gate=gate)), boot("echo after")])
        client.wait_for_output(b"holding\n")
        agent.signal(signal.SIGHUP)
        # It serves as before meanwhile.
        assert agent.call("exec", argv=["echo", "served"]).stdout == b"served\n"
        gate.touch()
        answer = client.finish()
        subset(answer.end, success=True, ran=["system", "boot"], interrupted=False)
        assert answer.stdout == b"holding\nreleased\nafter\n"
        assert agent.wait() == 0
        agent.start()
        assert agent.attach().record == answer.record

    def test_the_command_that_asked_for_it_gets_its_answer(self, agent: Agent) -> None:
        answer = agent.call("exec", argv=["sh", "-c", f"kill -HUP {agent.pid}; echo asked"])
        assert answer.stdout == b"asked\n"
        subset(answer.end, exit_code=0)
        assert agent.wait() == 0

    def test_what_a_script_left_in_the_background_lives_on(self, agent: Agent) -> None:
        pid = agent.outlives(int(agent.provision(system("sleep 300 & echo $!")).stdout))
        agent.signal(signal.SIGHUP)
        assert agent.wait() == 0
        assert is_running(pid)

    def test_it_can_still_be_stopped(self, agent: Agent) -> None:
        client = agent.connect().request("provision", scripts=[system("echo holding; exec sleep 300")])
        client.wait_for_output(b"holding\n")
        agent.signal(signal.SIGHUP)
        agent.signal(signal.SIGTERM)
        subset(client.finish().end, interrupted=True)
        assert agent.wait() == 0

    def test_asking_twice_is_asking_once(self, agent: Agent) -> None:
        caught, gate = agent.root / "caught", agent.root / "gate"
        content = f"trap 'touch {caught}' TERM; echo holding; until [ -e {gate} ]; do sleep 0.02; done"
        client = agent.connect().request("provision", scripts=[system(content)])
        client.wait_for_output(b"holding\n")
        agent.signal(signal.SIGTERM)
        wait_until(caught.exists, "the script was told to end")
        agent.signal(signal.SIGTERM)
        gate.touch()
        subset(client.finish().end, interrupted=True, success=False)
        assert agent.wait() == 0
        assert len(agent.runs) == 1
