"""The `ports` method: which TCP ports a forward would reach, as the kernel lists them in /proc/net/tcp and tcp6."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Callable

from rum.agent.connection import Connection
from rum.agent.loop import Loop, Timer
from rum.agent.settings import Settings
from rum.protocol.errors import ErrorCode, RequestError
from rum.protocol.limits import PORTS_MAX

LOOK_EVERY_S = 1.0

TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
LISTEN = "0A"
"""TCP_LISTEN of the kernel's tcp_states.h."""

MAPPED = bytes(10) + b"\xff\xff"
"""What an IPv4 address begins with as an IPv6 one (RFC 4291, 2.5.5.2)."""

REACHED = {
    address
    for ipv4 in (bytes(4), b"\x7f\x00\x00\x01")
    for address in (ipv4, MAPPED + ipv4, bytes(16), bytes(15) + b"\x01")
}
"""Any address, 127.0.0.1 and ::1."""


def listening(settings: Settings) -> list[int]:
    """The ports, ascending, the first PORTS_MAX of them. Raises OSError."""
    found: set[int] = set()
    for table in TABLES:
        try:
            with open(settings.path(table), encoding="ascii", errors="replace") as lines:
                found.update(parse_table(lines))
        except FileNotFoundError:
            # A kernel without IPv6 has one table.
            continue
    return sorted(found)[:PORTS_MAX]


def parse_table(lines: Iterable[str]) -> Iterable[int]:
    """The ports of a table's listening sockets that a loopback address reaches; lines of another form are none."""
    for line in lines:
        fields = line.split()
        if len(fields) > 3 and fields[3] == LISTEN:
            address, _, port = fields[1].partition(":")
            try:
                if packed(address) in REACHED:
                    yield int(port, 16)
            except ValueError:
                continue


def packed(text: str) -> bytes:
    """The address in network order; the kernel prints it as numbers of 32 bits of its own. Raises ValueError."""
    words = [text[at : at + 8] for at in range(0, len(text), 8)]
    return b"".join(bytes.fromhex(word) if sys.byteorder == "big" else bytes.fromhex(word)[::-1] for word in words)


class PortFollower:
    """Sends the list now and whenever it has changed."""

    holds_up = False

    def __init__(self, loop: Loop, settings: Settings, connection: Connection) -> None:
        self._loop = loop
        self._settings = settings
        self._connection = connection
        self._sent: list[int] | None = None
        self._timer: Timer | None = None
        self.on_end: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Look, and look again, for as long as the client is there."""
        try:
            found = listening(self._settings)
        except OSError as exc:
            self._connection.refuse(RequestError(ErrorCode.INTERNAL, f"the guest's ports cannot be read: {exc}"))
            self.on_end()
            return
        self._timer = self._loop.call_later(LOOK_EVERY_S, self.start)
        if found != self._sent and not self._connection.backlog:
            self._sent = found
            self._connection.event({"type": "ports", "tcp": found})

    def client_gone(self) -> None:
        """Nobody is left to look for."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
            self._connection.close()
            self.on_end()
