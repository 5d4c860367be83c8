"""`rum ssh`: the system's ssh through the agent, with the VM's own key and the guest's own host keys.

No network is needed: ssh's connection is a forward to the guest's port 22, which a hidden command of rum carries.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence

from rum.host.captured import run_captured
from rum.host.channel.checked import tcp_ports
from rum.host.channel.guest import Guest
from rum.host.channel.reach import reach_agent, require_running, short_deadline
from rum.host.deadlines import Deadline, pause
from rum.host.errors import GuestError, HostError
from rum.host.events import Emit
from rum.host.exec import ExecRequest
from rum.host.files import write_atomic
from rum.host.own_command import own_command_line
from rum.host.ports.forwards import warn_if_missing
from rum.host.ports.relay import Relay, StandardStreams, open_forward
from rum.host.remedies import missing
from rum.host.vm.known import KnownVm

SSH_PORT = 22
RETRY_S = 0.5
PORTS_PATIENCE_S = 60.0

HOST_KEY_FILES = "/etc/ssh/ssh_host_*_key.pub"
HOST_KEY = re.compile(r"((?:ssh|ecdsa|sk)-[!-~]{1,60} [A-Za-z0-9+/=]{1,8192})(?: .*)?")
"""A public key's line (sshd(8), AUTHORIZED_KEYS FILE FORMAT), its comment left out."""

KEYS_MAX = 64 * 1024
"""Bytes; a dozen of the largest keys."""


def ssh_options(vm: KnownVm, *, fill: bool) -> dict[str, str]:
    """ssh_config(5) for this VM; with `fill`, connecting brings the known host keys up to date."""
    paths = vm.paths
    arguments = ("--known-hosts", str(SSH_PORT)) if fill else (str(SSH_PORT),)
    return {
        "User": vm.user(),
        "IdentityFile": quoted(str(paths.ssh_key)),
        "IdentitiesOnly": "yes",
        "HostKeyAlias": vm.identity.domain_name,
        "UserKnownHostsFile": quoted(str(paths.known_hosts)),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "CheckHostIP": "no",
        "ProxyCommand": own_command_line(vm.identity.path, "proxy", *arguments).replace("%", "%%"),
    }


def quoted(path: str) -> str:
    """A path as ssh_config(5) takes it: in quotes for its blanks, with its percent signs and quotes spelled out."""
    escaped = path.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def ssh_command(vm: KnownVm, emit: Emit, arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The program and the arguments that reach the guest. Raises HostError without ssh, GuestError without sshd."""
    require_running(vm)
    program = shutil.which("ssh")
    if program is None:
        raise missing("ssh", "ssh")
    warn_if_missing(vm.name, vm.paths, emit)
    await_sshd(vm, emit)
    options = [f"-o{name}={value}" for name, value in ssh_options(vm, fill=False).items()]
    return program, ["ssh", *options, vm.identity.domain_name, *arguments]


def config_block(vm: KnownVm) -> list[str]:
    """The lines of a `Host` block. Raises GuestError where the VM does not run."""
    require_running(vm)
    lines = [f"Host {vm.name}", f"  HostName {vm.identity.domain_name}"]
    return lines + [f"  {name} {value}" for name, value in ssh_options(vm, fill=True).items()]


def proxy(vm: KnownVm, emit: Emit, port: int, *, known_hosts: bool) -> None:
    """Carry standard input and output to a port of the guest. Raises GuestError, OSError where a side was reset."""
    require_running(vm)
    if known_hosts:
        await_sshd(vm, emit)
    with reach_agent(vm, emit) as connection:
        open_forward(connection, port)
        Relay(connection, StandardStreams()).run()


def await_sshd(vm: Guest, emit: Emit) -> None:
    """Wait until somebody listens at port 22 and has host keys, and note those. Raises GuestError, HostError.

    sshd is not connected to for that: it punishes who comes and goes without a word (sshd_config(5),
    PerSourcePenalties), and every forward comes from the same address.
    """
    deadline = patience(vm)
    while True:
        keys = host_keys(vm, emit)
        if keys and SSH_PORT in listening(vm, emit):
            break
        if deadline.expired:
            missing = "it has no host keys" if not keys else f"nobody listens at port {SSH_PORT} of its loopback"
            text = f"no sshd answers in VM {vm.name} after {deadline.seconds:.0f} s: {missing}"
            raise GuestError(text, hint="`rum shell` needs none")
        pause(RETRY_S, deadline)
    note_host_keys(vm, keys)


def patience(vm: Guest) -> Deadline:
    """How long a VM that has just been started may take to bring its sshd up."""
    return short_deadline(vm)


def note_host_keys(vm: Guest, keys: Sequence[str]) -> None:
    """Write the VM's known_hosts. Raises HostError."""
    content = "".join(f"{vm.identity.domain_name} {key}\n" for key in keys).encode()
    path = vm.paths.known_hosts
    try:
        if not (path.exists() and path.read_bytes() == content):
            write_atomic(path, content)
    except OSError as exc:
        raise HostError(f"the guest's host keys cannot be noted in {path}: {exc.strerror}") from exc


def host_keys(vm: Guest, emit: Emit) -> list[str]:
    """The guest's public host keys, as the agent reads them. Raises GuestError."""
    with reach_agent(vm, emit) as connection:
        request = ExecRequest(["sh", "-c", f"cat {HOST_KEY_FILES}"])
        done = run_captured(connection, request, kept_max=KEYS_MAX)
    lines = done.text.splitlines()
    return [found[1] for line in lines if (found := HOST_KEY.fullmatch(line))]


def listening(vm: Guest, emit: Emit) -> list[int]:
    """The ports that a forward reaches. Raises GuestError."""
    with reach_agent(vm, emit) as connection:
        connection.send_request("ports", {})
        for received in connection.events(deadline=Deadline(PORTS_PATIENCE_S)):
            if received.message and received.message["type"] == "ports":
                return tcp_ports(received.message)
    return []
