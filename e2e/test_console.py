"""The serial console, as a person would use it: a shell by autologin, or a login prompt, as `rum init` has it."""

from __future__ import annotations

import json
import socket
from contextlib import closing

import pexpect.socket_pexpect

from e2e.conftest import MakeProject
from e2e.project import Project


def open_console(project: Project) -> pexpect.socket_pexpect.SocketSpawn:
    """A terminal at the guest's serial port; to be closed, because a guest waits for a terminal that does not read."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(project.console_socket())
    return pexpect.socket_pexpect.SocketSpawn(connection, timeout=30 * project.patience)


def test_autologin_reaches_a_shell(make_project: MakeProject) -> None:
    project = make_project("autologin")
    project.configure('[advanced]\nautologin = true\n[user]\nname = "developer"\n')
    project.up()
    project.wait_for_console("(automatic login)", within_s=120)
    with closing(open_console(project)) as console:
        console.send(b"\n")
        console.expect(rb"developer@.*\$ ")
        console.send(b"echo answer-$((40 + 2))\n")
        console.expect(b"answer-42")
    dropin = project.guest("cat /etc/systemd/system/serial-getty@ttyS0.service.d/*.conf")
    assert "--autologin developer" in dropin
    assert "After=" not in dropin


def test_what_init_writes_boots_to_a_login_prompt(make_project: MakeProject) -> None:
    project = make_project("login")
    file = project.directory / "rum.toml"
    assert project.rum("init").exit == 0
    template = file.read_text()
    assert 'base = "debian-12"' in template
    written = template.replace('"debian-12"', json.dumps(project.image)).replace("2048", "768")
    file.write_text(written)
    assert "is valid" in project.rum("config", "check").stdout
    assert (project.rum("init").exit, file.read_text()) == (2, written)
    project.up()
    project.wait_for_console("login: ", within_s=120)
    with closing(open_console(project)) as console:
        console.send(b"\n")
        console.expect(b"login: ")
    project.guest("test ! -e /etc/systemd/system/serial-getty@ttyS0.service.d")
