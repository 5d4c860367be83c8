"""The forwards of a VM's ports, seen from the commands: wanted, bound, handed to the process that serves them, ended.

The ports are bound before there is a VM, by the command itself, so that a taken one costs nothing. Once the VM runs,
the sockets go to a process of their own, which `rum.host.ports.forwarder` is; `ports.json` says what it forwards.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

import msgspec

from rum import __version__
from rum.host.config.model import AutoPorts, Config, Port
from rum.host.events import Emit, Notice
from rum.host.own_command import own_command
from rum.host.paths import VmPaths
from rum.host.ports.host_ports import require_port, spelled
from rum.host.vm.daemons import Daemon

HANDED = 3
"""The descriptor at which the process finds the socket that its listeners come through."""

PER_MESSAGE = 100
"""Descriptors in one message; the kernel allows 253 (unix(7), SCM_RIGHTS)."""

COMMAND = "forward-ports"


@dataclass(frozen=True)
class Wanted:
    """What rum.toml asks for, and which rum is to do it."""

    ports: tuple[Port, ...]
    auto: AutoPorts | None
    version: str = __version__

    @classmethod
    def by(cls, config: Config) -> Wanted:
        """What this rum.toml asks for."""
        return cls(config.ports, config.auto_ports)

    def __bool__(self) -> bool:
        return bool(self.ports or self.auto)


@dataclass(frozen=True)
class Forwarded:
    """One port that is forwarded; `auto`: because somebody in the guest listens."""

    bind: str
    host: int
    guest: int
    auto: bool = False


@dataclass(frozen=True)
class PortsFile:
    """ports.json: what the process was started for, and what it forwards now."""

    wanted: Wanted
    ports: tuple[Forwarded, ...]


def process_of(paths: VmPaths) -> Daemon:
    """The process that forwards the VM's ports, whether it runs or not."""
    return Daemon("rum forward-ports", f"--ports-file={paths.ports_file}", interpreted=True)


def read_ports_file(paths: VmPaths) -> PortsFile | None:
    """What the process has written down last, None where there is nothing."""
    try:
        return msgspec.json.decode(paths.ports_file.read_bytes(), type=PortsFile)
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        # It is written anew by the next process: nothing depends on an old one.
        return PortsFile(Wanted((), None, "unreadable"), ())


def forwarded(paths: VmPaths) -> list[dict[str, object]]:
    """What is forwarded now, for `rum status`."""
    found = read_ports_file(paths)
    return [asdict(port) for port in found.ports] if found and process_of(paths).find() else []


def without_forwards(name: str, paths: VmPaths) -> Iterator[str]:
    """The warning that nobody forwards the ports of a VM that runs any more; to be called only then."""
    if read_ports_file(paths) and not process_of(paths).find():
        yield f"the process that forwards the ports of VM {name} does not run; `rum up` starts it"


def warn_if_missing(name: str, paths: VmPaths, emit: Emit) -> None:
    """Say so."""
    for text in without_forwards(name, paths):
        emit(Notice(text, warning=True))


def stop(paths: VmPaths) -> None:
    """End the process; there may be none."""
    process_of(paths).stop()
    paths.ports_file.unlink(missing_ok=True)


@contextlib.contextmanager
def prepared(config: Config, paths: VmPaths, emit: Emit) -> Iterator[Callable[[bool], None]]:
    """Have the ports for the block, which calls what it is given once the VM runs, with whether it had to be booted.

    The VM's lock must be held. Raises HostError for a port that is taken.
    """
    old = read_ports_file(paths)
    runs = bool(old and process_of(paths).find())
    wanted = Wanted.by(config)
    if (runs and old and old.wanted == wanted) or not (old or wanted):
        yield lambda _booted: None
        return
    # What the old process has is bound once that has ended.
    kept = set(old.wanted.ports) if runs and old else set()
    with contextlib.ExitStack() as stack:
        bound: dict[Port, socket.socket] = {}

        def bind(ports: Iterable[Port]) -> None:
            bound.update({port: stack.enter_context(require_port(port.bind, port.host)) for port in ports})

        bind(port for port in wanted.ports if not is_held(port, kept))

        def hand_over(booted: bool) -> None:
            if runs:
                emit(Notice("the ports of rum.toml, or rum itself, have changed; they are forwarded anew"))
            elif old and wanted and not booted:
                text = "the process that forwards the VM's ports has died; it is started again"
                emit(Notice(text, warning=True))
            stop(paths)
            bind(port for port in wanted.ports if is_held(port, kept))
            if wanted:
                start(config, paths, wanted, [bound[port] for port in wanted.ports])
                emit(Notice(f"forwarding {described(wanted)}"))

        yield hand_over


def is_held(port: Port, held: set[Port]) -> bool:
    """Whether the process that is going to end may be what has the port."""
    return any(port.host == other.host for other in held)


def described(wanted: Wanted) -> str:
    """What is forwarded, in a few words.

    >>> described(Wanted((Port(8080, 80),), None))
    '127.0.0.1:8080 to the guest's 80'
    """
    parts = [f"{spelled(port.bind, port.host)} to the guest's {port.guest}" for port in wanted.ports]
    if wanted.auto:
        parts.append(f"{wanted.auto.bind} to what listens in the guest from {wanted.auto.low} to {wanted.auto.high}")
    return ", ".join(parts)


def start(config: Config, paths: VmPaths, wanted: Wanted, listeners: Sequence[socket.socket]) -> None:
    """Start the process and give it what it needs. Raises HostError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        hand_out(ours, wanted, listeners)
        ours.shutdown(socket.SHUT_WR)
        command = own_command(config.path, COMMAND, f"--ports-file={paths.ports_file}")
        process_of(paths).start(command, paths.forwards_log, paths.ports_file.exists, theirs.fileno())


def hand_out(channel: socket.socket, wanted: Wanted, listeners: Sequence[socket.socket]) -> None:
    """Send what is wanted, and the listeners of its ports in their order."""
    channel.sendall(msgspec.json.encode(wanted))
    for at in range(0, len(listeners), PER_MESSAGE):
        socket.send_fds(channel, [b"+"], [sock.fileno() for sock in listeners[at : at + PER_MESSAGE]])


def take_over(channel: socket.socket) -> tuple[Wanted, list[socket.socket]]:
    """The other end of `hand_out`."""
    wanted = msgspec.json.decode(channel.recv(1 << 20), type=Wanted)
    listeners: list[socket.socket] = []
    while True:
        data, descriptors, _, _ = socket.recv_fds(channel, 1, PER_MESSAGE)
        if not data:
            return wanted, listeners
        for descriptor in descriptors:
            # Else what is spawned later would keep the ports, also when this process has ended. Python 3.11 does not
            # pass MSG_CMSG_CLOEXEC on.
            os.set_inheritable(descriptor, False)
            listeners.append(socket.socket(fileno=descriptor))
