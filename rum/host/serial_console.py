"""`rum console`: the user's terminal at the guest's serial port. Ctrl+] leaves it, as with telnet and virsh.

QEMU serves one client at a time and lets others wait without a word; and a guest that prints stands still while its
client does not read. So nobody is connected who is not served, and what our own reader does not take is let go of.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

from rum.host.channel.guest import Guest
from rum.host.channel.reach import require_running
from rum.host.deadlines import Deadline, pause
from rum.host.errors import GuestError, HostError
from rum.host.interrupts import NotedSignals
from rum.host.outcome import Outcome
from rum.host.terminal import Terminal

STDIN, STDOUT = 0, 1

LEAVE = b"\x1d"
"""Ctrl+]."""

CHUNK = 64 * 1024
WAITING_MAX = 256 * 1024
"""Bytes that wait for whoever reads us; the console's log has all of them."""

TYPED_MAX = 4096
"""Keys that wait for the guest: what a line of a terminal holds (termios(3))."""

SERVED_S = 5.0
LOOK_AGAIN_S = 0.05

UNIX_SOCKETS = Path("/proc/net/unix")
STATE, PATH = 5, 7
CONNECTED, NOT_ACCEPTED = "03", "02"


def attach(vm: Guest) -> Outcome:
    """Be the console's client until the user leaves or the VM ends. Raises GuestError, HostError, BrokenPipeError."""
    require_running(vm)
    with contextlib.ExitStack() as stack:
        stack.enter_context(alone(vm))
        console = stack.enter_context(connected(vm))
        terminal = stack.enter_context(Terminal(STDIN)) if os.isatty(STDIN) else None
        signals = stack.enter_context(NotedSignals([signal.SIGCONT]))
        session = Session(console, terminal, signals)
        if terminal:
            session.show(preface(vm, terminal.size()["rows"]))
        ended = session.run()
    return Outcome(f"VM {vm.name} has ended, and its serial console with it" if ended else "")


@contextlib.contextmanager
def alone(vm: Guest) -> Iterator[None]:
    """Keep another `rum console` from this VM. Raises GuestError where there is one, HostError."""
    path = vm.paths.console_lock
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise HostError(f"{path} cannot be written: {exc.strerror}") from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise taken(vm) from None
    try:
        yield
    finally:
        os.close(descriptor)


def taken(vm: Guest) -> GuestError:
    """The sentence for a console that somebody else has."""
    return GuestError(
        f"somebody else is attached to the serial console of VM {vm.name}, which serves one at a time",
        hint="leave it there with Ctrl+], or look at it from here: `rum logs --console`",
    )


def connected(vm: Guest) -> socket.socket:
    """A connection that QEMU serves. Raises GuestError."""
    path = vm.paths.console_socket
    if CONNECTED in states(path):
        raise taken(vm)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(str(path))
        require_served(vm, path)
    except OSError as exc:
        sock.close()
        raise GuestError(
            f"the serial console of VM {vm.name} cannot be reached: {exc.strerror}",
            hint="`rum down` and `rum up` start the VM with a new one",
        ) from exc
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def require_served(vm: Guest, path: Path) -> None:
    """Raises GuestError where QEMU does not take the connection, because it has one."""
    deadline = Deadline(SERVED_S)
    while NOT_ACCEPTED in states(path):
        if deadline.expired:
            raise taken(vm)
        pause(LOOK_AGAIN_S, deadline)


def states(path: Path) -> list[str]:
    """The states of the sockets behind a Unix socket's path, as the kernel lists them (proc_net_unix in proc(5))."""
    lines = UNIX_SOCKETS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    fields = [line.split(maxsplit=PATH) for line in lines[1:]]
    return [found[STATE] for found in fields if len(found) > PATH and found[PATH] == str(path)]


def preface(vm: Guest, rows: int) -> bytes:
    """How to leave, and the last screenful of so many rows, so that one does not look at nothing.

    The cursor stands where the guest has left it: behind a prompt that waits for somebody.
    """
    lines = [f"serial console of VM {vm.name}; Ctrl+] leaves", *vm.console_tail(max(1, rows - 2))]
    try:
        with open(vm.paths.console_log, "rb") as log:
            log.seek(-1, os.SEEK_END)
            unfinished = log.read(1) != b"\n"
    except OSError:
        unfinished = False
    return "\r\n".join([*lines, *([] if unfinished else [""])]).encode()


class Session:
    """Moves bytes both ways."""

    def __init__(self, console: socket.socket, terminal: Terminal | None, signals: NotedSignals) -> None:
        self._console = console
        self._terminal = terminal
        self._signals = signals
        self._typed = bytearray()
        self._shown = bytearray()
        self._missed = 0
        self._leaving = False

    def show(self, data: bytes) -> None:
        """Have this written as soon as our reader takes it; what has waited for longest gives way."""
        self._shown += data
        if len(self._shown) > WAITING_MAX:
            self._missed += len(self._shown) - WAITING_MAX
            del self._shown[: len(self._shown) - WAITING_MAX]

    def run(self) -> bool:
        """Whether it was the VM that has ended. Raises BrokenPipeError where nobody reads us any more."""
        while not self._leaving or (self._typed and not self._terminal):
            ready = self._poll()
            if STDIN in ready:
                self._take_keys()
            if STDOUT in ready:
                self._write()
            if not self._move(ready.get(self._console.fileno(), 0)):
                self._finish()
                return True
        self.show(b"\r\n" if self._terminal else b"")
        self._finish()
        return False

    def _poll(self) -> dict[int, int]:
        poller = select.poll()
        poller.register(self._console, select.POLLIN | (select.POLLOUT if self._typed else 0))
        poller.register(self._signals.fileno(), select.POLLIN)
        # A terminal's keys are always looked at: the one that leaves must not wait behind others.
        if not self._leaving and (self._terminal or not self._typed):
            poller.register(STDIN, select.POLLIN)
        if self._shown:
            poller.register(STDOUT, select.POLLOUT)
        ready = dict(poller.poll())
        if ready.pop(self._signals.fileno(), 0):
            self._signals.take()
            if self._terminal:
                self._terminal.make_raw()
        return ready

    def _take_keys(self) -> None:
        try:
            keys = os.read(STDIN, CHUNK)
        except OSError:
            keys = b""
        if self._terminal and LEAVE in keys:
            keys, self._leaving = keys[: keys.index(LEAVE)], True
        self._leaving = self._leaving or not keys
        self._typed += keys
        if self._terminal:
            self._move(select.POLLOUT)
            # A guest that takes no keys for so long will not want these.
            del self._typed[TYPED_MAX:]

    def _move(self, event: int) -> bool:
        """Whether the console is still there."""
        try:
            if event & select.POLLOUT:
                del self._typed[: self._console.send(self._typed)]
            if event & ~select.POLLOUT:
                data = self._console.recv(CHUNK)
                self.show(data)
                return bool(data)
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True

    def _write(self) -> None:
        if self._missed:
            note = f"\r\n[{self._missed} bytes were not shown; `rum logs --console` has them]\r\n".encode()
            self._missed, self._shown = 0, bytearray(note) + self._shown
        # So much a pipe takes without blocking (pipe(7)).
        del self._shown[: os.write(STDOUT, self._shown[: select.PIPE_BUF])]

    def _finish(self) -> None:
        """Nothing holds up the guest any more, so our own reader is waited for."""
        while self._shown:
            self._write()
