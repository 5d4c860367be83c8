"""`rum ssh`: the system's ssh through the agent, with the VM's own key and the guest's own host keys.

No network is needed: ssh's connection is a forward to the guest's port 22, which a hidden command of rum carries.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence

from rum.host.channel.checked import tcp_ports
from rum.host.channel.client import AgentConnection
from rum.host.channel.guest import Guest
from rum.host.channel.reach import short_deadline, wait_for_agent
from rum.host.deadlines import Deadline, pause
from rum.host.errors import GuestError, HostError
from rum.host.events import Emit
from rum.host.exec import ExecRequest, ExecSession
from rum.host.files import write_atomic
from rum.host.lifecycle import require_running
from rum.host.own_command import own_command_line
from rum.host.ports.forwards import warn_if_missing
from rum.host.ports.relay import Relay, StandardStreams, open_forward
from rum.host.remedies import missing
from rum.host.vm.machine import Machine

SSH_PORT = 22
RETRY_S = 0.5
PORTS_PATIENCE_S = 60.0

HOST_KEY_FILES = "/etc/ssh/ssh_host_*_key.pub"
HOST_KEY = re.compile(r"((?:ssh|ecdsa|sk)-[!-~]{1,60} [A-Za-z0-9+/=]{1,8192})(?: .*)?")
"""A public key's line (sshd(8), AUTHORIZED_KEYS FILE FORMAT), its comment left out."""

KEYS_MAX = 64 * 1024
"""Bytes; a dozen of the largest keys."""


def ssh_options(guest: Guest, *, fill: bool) -> dict[str, str]:
    """ssh_config(5) for this VM; with `fill`, connecting brings the known host keys up to date."""
    config, paths = guest.config, guest.paths
    arguments = ("--known-hosts", str(SSH_PORT)) if fill else (str(SSH_PORT),)
    return {
        "User": config.user.name,
        "IdentityFile": quoted(str(paths.ssh_key)),
        "IdentitiesOnly": "yes",
        "HostKeyAlias": config.domain_name,
        "UserKnownHostsFile": quoted(str(paths.known_hosts)),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "CheckHostIP": "no",
        "ProxyCommand": own_command_line(config.path, "proxy", *arguments).replace("%", "%%"),
    }


def quoted(path: str) -> str:
    """A path as ssh_config(5) takes it: in quotes for its blanks, with its percent signs and quotes spelled out."""
    escaped = path.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def ssh_command(machine: Machine, emit: Emit, arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The program and the arguments that reach the guest. Raises HostError without ssh, GuestError without sshd."""
    require_running(machine)
    program = shutil.which("ssh")
    if program is None:
        raise missing("ssh", "ssh")
    warn_if_missing(machine.config, machine.paths, emit)
    await_sshd(machine, emit)
    options = [f"-o{name}={value}" for name, value in ssh_options(machine, fill=False).items()]
    return program, ["ssh", *options, machine.config.domain_name, *arguments]


def config_block(machine: Machine) -> list[str]:
    """The lines of a `Host` block. Raises GuestError where the VM does not run."""
    require_running(machine)
    lines = [f"Host {machine.config.name}", f"  HostName {machine.config.domain_name}"]
    return lines + [f"  {name} {value}" for name, value in ssh_options(machine, fill=True).items()]


def proxy(machine: Machine, emit: Emit, port: int, *, known_hosts: bool) -> None:
    """Carry standard input and output to a port of the guest. Raises GuestError, OSError where a side was reset."""
    require_running(machine)
    if known_hosts:
        await_sshd(machine, emit)
    with connect(machine, emit) as connection:
        open_forward(connection, port)
        Relay(connection, StandardStreams()).run()


def connect(guest: Guest, emit: Emit) -> AgentConnection:
    """A connection to an agent that should be up. Raises GuestError."""
    return wait_for_agent(guest, short_deadline(guest), emit, "waiting for the agent")


def await_sshd(guest: Guest, emit: Emit) -> None:
    """Wait until somebody listens at port 22 and has host keys, and note those. Raises GuestError, HostError.

    sshd is not connected to for that: it punishes who comes and goes without a word (sshd_config(5),
    PerSourcePenalties), and every forward comes from the same address.
    """
    deadline = patience(guest)
    while True:
        keys = host_keys(guest, emit)
        if keys and SSH_PORT in listening(guest, emit):
            break
        if deadline.expired:
            missing = "it has no host keys" if not keys else f"nobody listens at port {SSH_PORT} of its loopback"
            text = f"no sshd answers in VM {guest.config.name} after {deadline.seconds:.0f} s: {missing}"
            raise GuestError(text, hint="`rum exec -t -- bash` needs none")
        pause(RETRY_S, deadline)
    note_host_keys(guest, keys)


def patience(guest: Guest) -> Deadline:
    """How long a VM that has just been started may take to bring its sshd up."""
    return short_deadline(guest)


def note_host_keys(guest: Guest, keys: Sequence[str]) -> None:
    """Write the VM's known_hosts. Raises HostError."""
    content = "".join(f"{guest.config.domain_name} {key}\n" for key in keys).encode()
    path = guest.paths.known_hosts
    try:
        if not (path.exists() and path.read_bytes() == content):
            write_atomic(path, content)
    except OSError as exc:
        raise HostError(f"the guest's host keys cannot be noted in {path}: {exc.strerror}") from exc


def host_keys(guest: Guest, emit: Emit) -> list[str]:
    """The guest's public host keys, as the agent reads them. Raises GuestError."""
    output = bytearray()

    def take(stream: str, _timestamp_us: int, data: bytes) -> None:
        if stream == "stdout" and len(output) < KEYS_MAX:
            output.extend(data)

    with connect(guest, emit) as connection, open(os.devnull, "rb") as nothing:
        request = ExecRequest(["sh", "-c", f"cat {HOST_KEY_FILES}"])
        ExecSession(connection, take, None, nothing.fileno()).run(request)
    lines = output.decode("utf-8", "replace").splitlines()
    return [found[1] for line in lines if (found := HOST_KEY.fullmatch(line))]


def listening(guest: Guest, emit: Emit) -> list[int]:
    """The ports that a forward reaches. Raises GuestError."""
    with connect(guest, emit) as connection:
        connection.send_request("ports", {})
        for received in connection.events(deadline=Deadline(PORTS_PATIENCE_S)):
            if received.message and received.message["type"] == "ports":
                return tcp_ports(received.message)
    return []
