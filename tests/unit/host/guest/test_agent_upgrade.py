"""An older agent is replaced over the channel; the part of systemd is played by a script that knows two words."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rum import __version__
from rum.host.bundle import build_agent_zipapp
from rum.host.channel.client import open_agent
from rum.host.channel.connect import NotReadyError
from rum.host.deadlines import Deadline
from rum.host.guest import agent_upgrade
from rum.host.guest.agent_upgrade import is_outdated, upgrade_if_outdated
from rum.protocol import Message
from tests.unit.host.local_guest import LocalGuest, Seen, VsockProxy, is_served, local_guest, wait_until

OWN_BUILD = hashlib.sha256(build_agent_zipapp()).hexdigest()


@pytest.mark.parametrize(
    ("welcome", "outdated"),
    [
        ({"agent_version": "0.9.9", "build": "other"}, True),
        ({"agent_version": "1.2.3"}, True),
        ({"agent_version": "1.2.3", "build": "other"}, True),
        ({"agent_version": "1.2.3", "build": "own"}, False),
        ({"agent_version": "1.2.3", "build": None}, False),
        ({"agent_version": "1.10.0", "build": "other"}, False),
        ({"agent_version": "2.0.0", "build": "other"}, False),
        ({}, True),
    ],
)
def test_what_is_outdated(welcome: Message, outdated: bool) -> None:
    assert is_outdated(welcome, "1.2.3", "own") is outdated


def older_zipapp() -> bytes:
    """The agent of version 0.0.1, which is today's but for its number."""
    archive = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(build_agent_zipapp())) as current, zipfile.ZipFile(archive, "w") as older:
        for name in current.namelist():
            older.writestr(name, current.read(name).replace(f'"{__version__}"'.encode(), b'"0.0.1"'))
    return archive.getvalue()


class Supervised(LocalGuest):
    """A guest whose agent is an installed zipapp that is started again when it ends, as systemd does."""

    @property
    def agent_file(self) -> Path:
        return self.directory / "bin/rum-agent"

    def start(self) -> None:
        self.stopping = False
        listen = self.directory / "agent.sock"
        self.root.joinpath("proc/sys/kernel/random").mkdir(parents=True)
        self.new_boot()
        (self.directory / "key").write_text(self.the_key.hex(), encoding="ascii")
        arguments = ["--listen", f"unix:{listen}", "--root", str(self.root), "--key", str(self.directory / "key")]
        self.command = [sys.executable, "-I", "-S", str(self.agent_file), *arguments, "--vm-id", self.the_vm_id]
        self.supervisor = threading.Thread(target=self.supervise)
        self.supervisor.start()
        wait_until(lambda: is_served(listen), "the agent's socket")
        self.proxy = VsockProxy(self.directory / "vm.vsock", listen)

    def supervise(self) -> None:
        while not self.stopping:
            self.process = subprocess.Popen(self.command)
            (self.directory / "pid").write_text(str(self.process.pid))
            self.process.wait()

    def stop(self, *, kill: bool = False) -> None:
        self.stopping = True
        assert self.process is not None
        self.process.terminate()
        self.supervisor.join(20)


SYSTEMCTL = """\
#!/bin/sh
echo "$*" >>{directory}/systemctl.log
case "$*" in
  daemon-reload) ;;
  'reload rum-agent.service') kill -HUP $(cat {directory}/pid) ;;
  *) exit 1 ;;
esac
"""


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervised]:
    """A guest with an agent of version 0.0.1."""
    (tmp_path / "bin").mkdir()
    with local_guest(tmp_path, started=False) as made:
        supervised = Supervised(made.config, made.paths, tmp_path)
    supervised.agent_file.write_bytes(older_zipapp())
    systemctl = tmp_path / "bin/systemctl"
    systemctl.write_text(SYSTEMCTL.format(directory=tmp_path))
    systemctl.chmod(0o755)
    environment = {
        "AGENT": str(supervised.agent_file),
        "UNIT_FILE": str(tmp_path / "unit"),
        "UNIT": "rum-agent.service",
        "PATH": f"{tmp_path}/bin:/usr/bin:/bin",
    }
    monkeypatch.setattr(agent_upgrade, "ENVIRONMENT", environment)
    supervised.start()
    yield supervised
    supervised.close()


def welcome(guest: Supervised) -> Message:
    """The agent's, now."""
    with open_agent(guest.endpoint(), guest.key(), guest.vm_id(), Deadline(20)) as connection:
        return connection.welcome


def test_an_older_agent_is_replaced(guest: Supervised) -> None:
    before = welcome(guest)
    assert before["agent_version"] == "0.0.1"
    upgrade_if_outdated(guest, before, seen := Seen())
    assert seen.notices() == [f"the VM's rum-agent 0.0.1 was replaced by rum-agent {__version__}"]
    after = welcome(guest)
    assert (after["agent_version"], after["build"]) == (__version__, OWN_BUILD)
    assert guest.agent_file.read_bytes() == build_agent_zipapp()
    assert guest.agent_file.stat().st_mode & 0o7777 == 0o755
    assert (guest.directory / "unit").read_text().startswith("[Unit]\nDescription=rum guest agent\n")
    assert (guest.directory / "systemctl.log").read_text() == "daemon-reload\nreload rum-agent.service\n"
    assert sorted(path.name for path in guest.agent_file.parent.iterdir()) == ["rum-agent", "systemctl"]


def test_nothing_is_done_where_it_is_not_older(guest: Supervised) -> None:
    upgrade_if_outdated(guest, {"agent_version": __version__, "build": OWN_BUILD}, seen := Seen())
    assert seen == []
    assert not (guest.directory / "systemctl.log").exists()


def test_a_run_that_goes_on_is_not_interrupted(guest: Supervised) -> None:
    gate = guest.directory / "gate"
    content = f"echo held; until [ -e {gate} ]; do sleep 0.01; done; echo released"
    script = {"name": "system", "content": content, "order": 100, "run_on": "system"}
    with open_agent(guest.endpoint(), guest.key(), guest.vm_id(), Deadline(20)) as running:
        running.send_request("provision", {"scripts": [script]})
        events = running.events()
        while b"held" not in next(events).frame.payload:
            pass
        upgrade_if_outdated(guest, welcome(guest), seen := Seen())
        assert seen.notices()[-1].endswith("once what runs in the guest has ended")
        gate.touch()
        *_, result = events
        running.acknowledge()
    assert result.message is not None
    assert (result.message["success"], result.message["interrupted"]) == (True, False)
    wait_until(lambda: served_version(guest) == __version__, "the new agent answers")


def served_version(guest: Supervised) -> object:
    """None while the agent is being replaced."""
    try:
        return welcome(guest)["agent_version"]
    except NotReadyError:
        return None


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"SHA256": "0" * 64}, "the file did not arrive whole"),
        ({"AGENT": "/nowhere/rum-agent"}, "/nowhere/rum-agent"),
    ],
)
def test_what_cannot_be_replaced_stays_and_the_user_is_told(
    guest: Supervised, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], reason: str
) -> None:
    old = guest.agent_file.read_bytes()
    if "SHA256" in environment:
        monkeypatch.setattr(agent_upgrade, "INSTALL", f"SHA256={environment['SHA256']}\n{agent_upgrade.INSTALL}")
    monkeypatch.setattr(agent_upgrade, "ENVIRONMENT", {**agent_upgrade.ENVIRONMENT, **environment})
    upgrade_if_outdated(guest, welcome(guest), seen := Seen())
    (notice,) = seen.notices()
    assert notice.startswith("the VM keeps its rum-agent 0.0.1, which could not be replaced: ")
    assert reason in notice
    assert guest.agent_file.read_bytes() == old
    assert welcome(guest)["agent_version"] == "0.0.1"
    assert sorted(path.name for path in guest.agent_file.parent.iterdir()) == ["rum-agent", "systemctl"]
