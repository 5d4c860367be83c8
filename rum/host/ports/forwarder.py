"""The process that forwards a VM's ports: it owns the listeners, and gives each connection a thread and an agent's.

It lives from `rum up` to `rum down`, or until the VM is gone. A guest that reboots keeps its listeners; who connects
meanwhile waits for the agent for a while.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import os
import queue
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator

import msgspec

from rum.host.channel.checked import tcp_ports
from rum.host.channel.client import AgentConnection, LostError, open_agent
from rum.host.channel.connect import NotReadyError
from rum.host.channel.endpoint import UnixEndpoint
from rum.host.channel.guest import Guest
from rum.host.channel.reach import RETRY_S, short_deadline
from rum.host.channel.vhost_worker import Channel, channel_behind
from rum.host.deadlines import Deadline, pause
from rum.host.errors import GuestError, HostError, RumError
from rum.host.events import Emit, Event, Notice
from rum.host.files import disk_errors, write_atomic
from rum.host.ports.forwards import Forwarded, PortsFile, Wanted
from rum.host.ports.host_ports import bind_port, spelled
from rum.host.ports.relay import Relay, TcpEnd, open_forward, reset
from rum.host.store import VmLock

LOOK_EVERY_S = 3.0
"""How often it looks whether the VM is still there."""

CONNECTIONS_MAX = 400
"""At once: two descriptors each, with those of the listeners less than a process may usually have."""

ACCEPT_AGAIN_S = 0.1
"""Once there are no more descriptors."""

AUTO_MAX = 256
"""Ports that are forwarded because somebody listens: what a busy guest has, not what one can do to this host."""

FOLLOW_AGAIN_S = 2.0
STOP_S = 3.0
"""How long connections that are being made may take to be left in order; less than rum.host.vm.daemons allows."""

LOG_MAX = 1 << 20
"""Bytes; after that nothing more is said. A scan of the ports for months must not fill a disk."""


class EndingError(GuestError):
    """This process is being ended."""


class Forwarder:
    """Serves until it is told to end, or the VM is gone."""

    def __init__(self, vm: Guest, wanted: Wanted, listeners: list[socket.socket], emit: Emit) -> None:
        self._vm = vm
        self._wanted = wanted
        self._emit = emit
        self._selector = selectors.DefaultSelector()
        self._listeners = {
            Forwarded(port.bind, port.host, port.guest): sock
            for port, sock in zip(wanted.ports, listeners, strict=True)
        }
        self._ending = threading.Event()
        self._dialling: set[threading.Thread] = set()
        self._lost: collections.deque[AgentConnection] = collections.deque()
        self._connections = threading.Semaphore(CONNECTIONS_MAX)
        self._heard: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
        self._bell, self._bell_rope = socket.socketpair()

    def run(self) -> None:
        """Serve. Raises SystemExit, once everything is left in order."""
        for port, sock in self._listeners.items():
            self._watch(port, sock)
        self._selector.register(self._bell, selectors.EVENT_READ, self._follow_changes)
        with disk_errors("the list of forwarded ports"):
            # From here on `rum up` takes it for started.
            self._write_ports_file()
        if self._wanted.auto:
            threading.Thread(target=self._follow, daemon=True).start()
        try:
            self._serve()
        finally:
            self._end()

    def _serve(self) -> None:
        look_at = time.monotonic() + LOOK_EVERY_S
        while True:
            for key, _ in self._selector.select(max(0.0, look_at - time.monotonic())):
                key.data()
            if time.monotonic() >= look_at:
                if self._is_gone():
                    return
                self._close_lost()
                look_at = time.monotonic() + LOOK_EVERY_S

    def _is_gone(self) -> bool:
        """Whether there is nothing to serve any more. While a command works on the VM, that is not for us to say."""
        ports_file = self._vm.paths.ports_file
        if not ports_file.exists():
            return True
        try:
            if self._vm.state() in ("running", "paused"):
                return False
            with VmLock(self._vm.paths.lock, timeout_s=0).hold(silent):
                if self._vm.state() in ("running", "paused"):
                    return False
                ports_file.unlink(missing_ok=True)
                return True
        except HostError:
            # The lock is taken, or libvirt cannot be asked.
            return False

    def _end(self) -> None:
        self._ending.set()
        for sock in self._listeners.values():
            sock.close()
        deadline = Deadline(STOP_S)
        for thread in list(self._dialling):
            thread.join(deadline.remaining())

    def _watch(self, port: Forwarded, sock: socket.socket) -> None:
        accept: Callable[[], None] = lambda: self._accept(sock, port.guest)  # noqa: E731 - it needs a type
        self._selector.register(sock, selectors.EVENT_READ, accept)

    def _accept(self, listener: socket.socket, guest_port: int) -> None:
        try:
            client, _ = listener.accept()
        except OSError as exc:
            # Else it went away before it was accepted.
            if exc.errno in (errno.EMFILE, errno.ENFILE):
                # It waits to be accepted for as long, and would be told of at once again.
                self._ending.wait(ACCEPT_AGAIN_S)
            return
        if not self._connections.acquire(blocking=False):
            reset(client)
            client.close()
            self._say(f"more than {CONNECTIONS_MAX} connections at once: one was refused")
            return
        threading.Thread(target=self._forward, args=(client, guest_port), daemon=True).start()

    def _forward(self, client: socket.socket, guest_port: int) -> None:
        try:
            with client:
                self._carry(client, guest_port)
        finally:
            self._connections.release()

    def _carry(self, client: socket.socket, guest_port: int) -> None:
        try:
            with self._connected() as connection:
                open_forward(connection, guest_port, self._check)
                Relay(connection, TcpEnd(client)).run()
        except RumError as exc:
            reset(client)
            self._say(f"a connection to the guest's port {guest_port} has ended: {exc}")
        except OSError:
            # One of the two ends was reset, and so is the other.
            reset(client)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[AgentConnection]:
        """A connection to the agent, which may be away for a while. Raises RumError."""
        me = threading.current_thread()
        self._dialling.add(me)
        try:
            connection = self._dial(short_deadline(self._vm))
        finally:
            self._dialling.discard(me)
        try:
            yield connection
        finally:
            self._lost.append(connection)
            self._close_lost()

    def _close_lost(self) -> None:
        """Close what is not used any more, unless the vsock daemon would die of it (rum.host.channel.vhost_worker)."""
        # A copy: other threads add to it.
        if any(connection.fileno() >= 0 for connection in list(self._lost)) and self._driver_is_down():
            return
        with contextlib.suppress(IndexError):
            while True:
                self._lost.pop().close()

    def _driver_is_down(self) -> bool:
        try:
            endpoint = self._vm.endpoint()
        except HostError:
            # The VM is gone.
            return False
        return isinstance(endpoint, UnixEndpoint) and channel_behind(endpoint.path) is Channel.DOWN

    def _dial(self, deadline: Deadline) -> AgentConnection:
        while True:
            self._check()
            try:
                return open_agent(self._vm.endpoint(), self._vm.key(), self._vm.vm_id(), deadline, self._check)
            except NotReadyError:
                if deadline.expired:
                    raise
            pause(RETRY_S, deadline)

    def _check(self) -> None:
        if self._ending.is_set():
            raise EndingError("the forwards are being ended")

    def _follow(self) -> None:
        """Hear from the agent who listens in the guest, for as long as this process lives."""
        last = ""
        while not self._ending.is_set():
            try:
                with self._connected() as connection:
                    connection.send_request("ports", {"follow": True})
                    self._hear(connection)
            except (RumError, OSError) as exc:
                if str(exc) != last and not isinstance(exc, LostError):
                    last = str(exc)
                    self._say(f"what listens in the guest is not known: {exc}")
            self._ending.wait(FOLLOW_AGAIN_S)

    def _hear(self, connection: AgentConnection) -> None:
        for received in connection.events(self._check):
            message = received.message or {}
            if message.get("type") == "ports":
                self._heard.put(tcp_ports(message))
                self._bell_rope.send(b"!")

    def _follow_changes(self) -> None:
        """Forward what has begun to listen, and no longer what has ended."""
        self._bell.recv(1)
        auto, heard = self._wanted.auto, self._heard.get()
        if auto is None:
            return
        static = {port.guest for port in self._wanted.ports}
        wanted = {port for port in heard if auto.low <= port <= auto.high and port not in static}
        for port in [port for port in self._listeners if port.auto and port.guest not in wanted]:
            sock = self._listeners.pop(port)
            self._selector.unregister(sock)
            sock.close()
        have = {port.guest for port in self._listeners if port.auto}
        for guest_port in sorted(wanted - have)[: AUTO_MAX - len(have)]:
            self._add(auto.bind, guest_port)
        with contextlib.suppress(OSError):
            # A full disk keeps `rum status` from knowing, not the forwards from working.
            self._write_ports_file()

    def _add(self, bind: str, guest_port: int) -> None:
        try:
            sock = bind_same_or_free(bind, guest_port)
        except OSError as exc:
            self._say(f"the guest's port {guest_port} cannot be forwarded from {bind}: {exc.strerror}")
            return
        port = Forwarded(bind, sock.getsockname()[1], guest_port, auto=True)
        self._listeners[port] = sock
        self._watch(port, sock)
        self._say(f"forwarding {spelled(bind, port.host)} to the guest's {guest_port}")

    def _write_ports_file(self) -> None:
        content = PortsFile(self._wanted, tuple(self._listeners))
        write_atomic(self._vm.paths.ports_file, msgspec.json.encode(content))

    def _say(self, text: str) -> None:
        self._emit(Notice(text))


def bind_same_or_free(bind: str, port: int) -> socket.socket:
    """A listener at the port, or at a free one where it cannot be had. Raises OSError."""
    try:
        return bind_port(bind, port)
    except OSError:
        return bind_port(bind, 0)


def silent(_event: Event) -> None:
    """Takes events that nobody is to see."""


def limited(emit: Emit) -> Emit:
    """An `emit` that falls silent once standard output, a file, is large."""

    def emit_while_small(event: Event) -> None:
        if os.fstat(1).st_size < LOG_MAX:
            emit(event)

    return emit_while_small


def detach(*kept: int) -> None:
    """Let go of what the starting command has left us: descriptors beyond the standard ones, the directory."""
    os.chdir("/")
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            # The one that lists them is among them.
            with contextlib.suppress(OSError):
                os.close(int(name))
