"""What a script waits for, in a root that looks like a guest with systemd and cloud-init."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.agent.harness import Agent, boot, subset, system, wait_until


class Booting:
    """A guest whose boot the test drives: `systemctl` waits for a file."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        for directory in ("run/systemd/system", "sys/class/net/lo", "sys/class/net/eth0", "run/cloud-init", "bin"):
            (agent.root / directory).mkdir(parents=True)
        self.online = agent.root / "online"
        self.joined = agent.root / "joined"
        systemctl = agent.root / "bin/systemctl"
        systemctl.write_text(
            f'#!/bin/sh\necho "$@" >>{self.joined}\nuntil [ -e {self.online} ]; do sleep 0.01; done\n',
            encoding="ascii",
        )
        systemctl.chmod(0o755)

    def finish_cloud_init(self) -> None:
        (self.agent.root / "run/cloud-init/result.json").write_text("{}", encoding="ascii")


@pytest.fixture
def booting(guest: Agent, monkeypatch: pytest.MonkeyPatch) -> Booting:
    booting = Booting(guest)
    monkeypatch.setenv("PATH", str(guest.root / "bin"), prepend=":")
    return booting


def test_each_waits_for_its_own(booting: Booting) -> None:
    agent = booting.agent.start()
    scripts = [
        system("echo drives", "drives", order=0, after="local-fs"),
        boot("echo online", "online", order=1),
        system("echo finished", "finished", order=2),
    ]
    with agent.connect().request("provision", scripts=scripts) as client:
        client.wait_for_output(b"drives\n")
        assert client.wait_for("waiting") == {"type": "waiting", "for": "network-online"}
        assert client.answer.stdout == b"drives\n"
        subset(agent.status()["run"], script="online", index=2)
        booting.online.touch()
        client.wait_for_output(b"online\n")
        client.read_until(lambda answer: len(answer.of("waiting")) == 2)
        booting.finish_cloud_init()
        answer = client.finish()
    assert answer.stdout == b"drives\nonline\nfinished\n"
    assert [message["for"] for message in answer.of("waiting")] == ["network-online", "cloud-init"]
    assert answer.types[1:4] == ["script_started", "script_exited", "waiting"]
    assert booting.joined.read_text(encoding="ascii").splitlines() == ["start network-online.target"] * 2


@pytest.mark.parametrize("missing", ["run/systemd/system", "run/cloud-init"])
def test_what_is_not_there_is_not_waited_for(booting: Booting, missing: str) -> None:
    booting.online.touch()
    (booting.agent.root / missing).rmdir()
    booting.agent.start()
    answer = booting.agent.provision(system("true"), boot("true"))
    assert answer.end["success"]
    assert answer.of("waiting") == []


def test_a_disabled_cloud_init_is_not_waited_for(booting: Booting) -> None:
    booting.online.touch()
    (booting.agent.root / "run/cloud-init/disabled").touch()
    booting.agent.start()
    assert booting.agent.provision(system("true")).of("waiting") == []


def test_without_a_network_card_the_network_is_not_waited_for(booting: Booting) -> None:
    (booting.agent.root / "sys/class/net/eth0").rmdir()
    booting.finish_cloud_init()
    booting.agent.start()
    assert booting.agent.provision(system("true"), boot("true")).of("waiting") == []
    assert not booting.joined.exists()


def test_a_wait_is_bounded(booting: Booting) -> None:
    booting.agent.limits = {"WAIT_MAX_S": 0.3}
    booting.agent.start()
    answer = booting.agent.provision(boot("echo ran"))
    assert answer.end["success"]
    (warning,) = answer.of("warning")
    subset(warning, code="wait-timeout")
    assert "network-online was not reached" in warning["message"]
    assert booting.agent.zombies() == []


@pytest.mark.parametrize("how", ["cancelled", "interrupted"])
def test_a_wait_can_be_ended(booting: Booting, how: str) -> None:
    agent = booting.agent.start()
    with agent.connect().request("provision", scripts=[boot("echo ran")]) as client:
        client.wait_for("waiting")
        if how == "cancelled":
            assert agent.call("cancel", run_id=None).end["cancelled"]
        else:
            agent.signal(15)
        answer = client.finish()
    subset(answer.end, success=False, failed_script="boot", exit_code=None, signal=None, ran=[], **{how: True})
    assert answer.stdout == b""
    if how == "interrupted":
        assert agent.wait() == 0
        return
    assert agent.zombies() == []
    booting.online.touch()
    assert agent.provision(boot("echo ran")).stdout == b"ran\n"


def test_boot_scripts_that_never_began_run_after_a_restart(booting: Booting) -> None:
    booting.online.touch()
    booting.finish_cloud_init()
    agent = booting.agent.start()
    agent.provision(boot("echo ran"))
    booting.online.unlink()
    agent.reboot("boot-2")
    wait_until(lambda: agent.status()["run"], "the autonomous run waits")
    agent.kill()
    booting.online.touch()
    agent.start()
    assert agent.wait_idle()["success"]
    assert agent.attach().stdout == b"ran\n"


def test_clients_are_served_meanwhile(booting: Booting, tmp_path: Path) -> None:
    agent = booting.agent.start()
    with agent.connect().request("provision", scripts=[boot("true")]) as client:
        client.wait_for("run_started")
        assert agent.call("exec", argv=["echo", "here"]).stdout == b"here\n"
        booting.online.touch()
        assert client.finish().end["success"]
