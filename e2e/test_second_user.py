"""Other users, on the host and in the guest: they reach nothing of a VM, and no secret is anywhere they could look.

One VM, which another user could walk into if rum's own modes did not keep them out: every directory above is open. What
is looked at is looked at while a script runs.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from e2e import intruder
from e2e.conftest import MakeProject
from e2e.project import Live, Project, poll

IN_SCRIPT = f"canary-script-{secrets.token_hex(12)}"
IN_ENVIRONMENT = f"canary-environment-{secrets.token_hex(12)}"

CONFIG = f"""
[user]
name = "developer"

[provision.system]
env = {{ TOKEN = "{IN_ENVIRONMENT}" }}
script = '''
# {IN_SCRIPT}
echo the-script-waits
until [ -e /run/go-on ]; do sleep 0.2; done
'''
"""

AGENT_PORT = 2222
CONTROL_PORT = 2223

CONTROL = f"""
import socket
listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
listener.bind((socket.VMADDR_CID_ANY, {CONTROL_PORT}))
listener.listen()
while True:
    client, _ = listener.accept()
    client.sendall(b"hello")
    client.close()
"""


@pytest.fixture(scope="module")
def open_directory() -> Iterator[Path]:
    """A directory in which everybody may look around, short enough for sockets."""
    directory = Path(tempfile.mkdtemp(prefix="rum-e2e-", dir="/tmp"))
    for name in ("state", "cache", "config", "run"):
        (directory / name).mkdir(mode=0o755)
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def project(open_directory: Path, make_project: MakeProject) -> Project:
    # A runtime directory of its own also means a libvirt of its own.
    homes = {
        "XDG_STATE_HOME": "state",
        "XDG_CACHE_HOME": "cache",
        "XDG_CONFIG_HOME": "config",
        "XDG_RUNTIME_DIR": "run",
    }
    env = {variable: str(open_directory / name) for variable, name in homes.items()}
    made = make_project("second-user", directory=open_directory, env=env)
    made.configure(CONFIG)
    return made


@pytest.fixture(scope="module")
def running(project: Project) -> Live:
    """`rum up` in the middle of the script."""
    live = project.start("up")
    live.wait_for(lambda event: "the-script-waits" in event.get("text", ""), within_s=120 * project.patience)
    return live


@pytest.fixture(scope="module")
def canaries(project: Project, running: Live) -> list[list[str]]:
    """Everything secret, in all its forms."""
    key = (project.state_dir / "key").read_text().strip()
    assert len(bytes.fromhex(key)) == 32
    raw = base64.b64encode(bytes.fromhex(key)).rstrip(b"=")
    return [
        *intruder.disguises("key", key.encode()),
        ["key", raw.hex()],
        ["key", bytes.fromhex(key).hex()],
        *intruder.disguises("script", IN_SCRIPT.encode()),
        *intruder.disguises("environment", IN_ENVIRONMENT.encode()),
    ]


def everything_below(directory: Path) -> list[Path]:
    """Every file and directory, that one left out."""
    found = [Path(parent) / name for parent, names, files in os.walk(directory) for name in (*names, *files)]
    return sorted(found)


def open_to_others(path: Path) -> bool:
    """Whether its mode lets others do anything with it; to connect to a socket is to write (unix(7))."""
    mode = path.lstat().st_mode
    return bool(mode & (stat.S_IWOTH if stat.S_ISSOCK(mode) else stat.S_IRWXO))


def in_guest(project: Project, user: str, task: str, *arguments: object) -> object:
    """What a function of the intruder returns in the guest, called by that user."""
    return json.loads(project.guest_python(intruder.program(task, *arguments), user=user))


def search_in_guest(project: Project, user: str, roots: list[str], canaries: list[list[str]]) -> list[list[str]]:
    """The intruder's search for what came since the guest booted."""
    return cast(list[list[str]], in_guest(project, user, "search", roots, canaries, 0))


def answers_in_guest(project: Project, port: int) -> dict[str, str]:
    """What answers an ordinary user at the guest's own addresses."""
    return cast(dict[str, str], in_guest(project, "nobody", "vsock_answers", port, 10))


class TestOnTheHost:
    def test_the_second_user_is_somebody_else_and_has_no_privileges(self, running: Live) -> None:
        assert intruder.as_second_user(intruder.program("whoami")) == [1, 0]

    def test_reaches_what_is_open_and_nothing_of_rum(
        self, project: Project, running: Live, open_directory: Path
    ) -> None:
        (open_directory / "open").write_text("for everybody")
        (open_directory / "open").chmod(0o644)
        mine = everything_below(open_directory)
        names = {path.name for path in mine}
        daemon = {"vm.vsock", "vh.sock"} if project.vsock_path() else set()
        assert {"key", "overlay.qcow2", "console.log", "console.sock", "state.json", *daemon} <= names
        program = intruder.program("reached", [str(path) for path in mine])
        reached = cast(list[str], intruder.as_second_user(program))
        of_rum = [path for path in reached if "rum" in Path(path).relative_to(open_directory).parts]
        assert str(open_directory / "open") in reached, "the check can fail"
        assert of_rum == []
        sockets = [path for path in reached if stat.S_ISSOCK(os.lstat(path).st_mode)]
        assert sockets == [], "libvirt's are not reached either"

    def test_every_file_is_private_even_if_its_directory_were_not(
        self, project: Project, running: Live, open_directory: Path
    ) -> None:
        mine = [path for path in everything_below(open_directory) if "rum" in path.relative_to(open_directory).parts]
        assert open_to_others(project.directory / "rum.toml"), "the check can fail"
        assert [path.name for path in mine if open_to_others(path)] == ["ssh_ed25519.pub"]

    def test_finds_no_secret(
        self, project: Project, running: Live, open_directory: Path, canaries: list[list[str]]
    ) -> None:
        planted = open_directory / "planted"
        planted.write_text(f"... {IN_SCRIPT} ...")
        planted.chmod(0o644)
        program = intruder.program("search", [str(open_directory)], canaries, 1)
        found = cast(list[list[str]], intruder.as_second_user(program))
        # rum.toml is the user's own, with the modes that they gave it.
        config = str(project.directory / "rum.toml")
        assert [str(planted), "script"] in found, "the search can fail"
        assert [place for place, _ in found if place not in (str(planted), config)] == []

    def test_nor_does_the_user_in_logs_of_their_own(
        self, project: Project, running: Live, open_directory: Path, canaries: list[list[str]]
    ) -> None:
        found = intruder.search([str(open_directory)], canaries, 1)
        places = {Path(place).name for place, _ in found}
        assert {"key", "rum.toml"} <= places, "the search can fail"
        # The disk and the seed hold them because the guest needs them; nothing else does.
        allowed = {"key", "rum.toml", "planted", "overlay.qcow2"}
        assert {name for name in places - allowed if not name.startswith("seed-")} == set()


class TestInTheGuest:
    def test_nobody_reaches_the_agents_files(self, project: Project, running: Live) -> None:
        listed = project.guest(
            "umask 022; echo x > /var/tmp/open;"
            " find /etc/rum/* /var/lib/rum /run/rum; readlink -f /dev/disk/by-label/CIDATA; echo /var/tmp/open"
        ).splitlines()
        for directory in ("/etc/rum/key", "/var/lib/rum/scripts/", "/var/lib/rum/runs/", "/run/rum/fifo/", "/dev/vd"):
            assert any(path.startswith(directory) for path in listed), f"{directory} in {listed}"
        assert in_guest(project, "nobody", "reached", listed) == ["/var/tmp/open"]

    def test_nobody_finds_a_secret(self, project: Project, running: Live, canaries: list[list[str]]) -> None:
        project.guest(
            f"umask 022; echo '{IN_SCRIPT}' > /var/tmp/planted; echo '{IN_SCRIPT}' > /var/tmp/private;"
            f" chmod 600 /var/tmp/private; "
            f" systemd-run -q --unit=planted --description=planted sh -c 'sleep 3000; : {IN_ENVIRONMENT}'"
        )
        found = search_in_guest(project, "nobody", ["/", "/run", "/dev/shm", "/tmp"], canaries)
        assert ["/var/tmp/planted", "script"] in found, "the search can fail"
        assert any(name == "environment" and place.endswith("/cmdline") for place, name in found)
        planted = {"/var/tmp/planted", "/run/systemd/transient/planted.service"}
        shell = project.guest("systemctl show -P MainPID planted").strip()
        rest = [place for place, _ in found if place not in planted and place != f"/proc/{shell}/cmdline"]
        assert rest == []
        project.guest("systemctl stop planted; rm -f /var/tmp/planted /var/tmp/private")

    def test_no_log_holds_a_secret_even_for_root(
        self, project: Project, running: Live, canaries: list[list[str]]
    ) -> None:
        # A journal file may be compressed: what it holds is read through journalctl.
        project.guest(
            "journalctl --no-pager --output=export > /var/log/exported; echo canary-control >> /var/log/exported"
        )
        control = ["control", b"canary-control".hex()]
        found = search_in_guest(project, "root", ["/var/log"], [*canaries, control])
        assert ["/var/log/exported", "control"] in found, "the search can fail"
        assert [(place, name) for place, name in found if name != "control" and place.startswith("/var/log")] == []
        project.guest("rm /var/log/exported")

    def test_a_guest_local_peer_is_sent_away_without_a_byte(self, project: Project, running: Live) -> None:
        loaded = project.rum("exec", "--", "modprobe", "vsock_loopback")
        assert loaded.exit == 0, f"this kernel has no vsock loopback: {loaded.stderr}"
        project.guest(f"systemd-run -q --unit=control python3 -c '{CONTROL}'")
        for _ in poll(30 * project.patience, "the control listener"):
            answers = answers_in_guest(project, CONTROL_PORT)
            if set(answers.values()) == {b"hello".hex()}:
                break
        assert len(answers) == 2, "loopback works, at both addresses"
        agent = answers_in_guest(project, AGENT_PORT)
        assert agent.keys() == answers.keys()
        assert set(agent.values()) <= {"", "ConnectionResetError"}
        assert in_guest(project, "nobody", "binds_as_host") is False

    def test_the_script_ends_well_all_the_same(self, project: Project, running: Live) -> None:
        project.guest("touch /run/go-on")
        assert running.finish(within_s=60 * project.patience).exit == 0
