"""What the agent and systemd tell each other: sd_notify(3), and which build of the agent this is."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sys

NOTIFY_SOCKET = "NOTIFY_SOCKET"


def notify(state: str) -> None:
    """Send systemd a state such as "READY=1". Without a systemd that listens it is sent to nobody."""
    address = os.environ.get(NOTIFY_SOCKET, "")
    if not address:
        return
    # An at sign stands for the abstract namespace's NUL (sd_notify(3)).
    path = "\0" + address[1:] if address.startswith("@") else address
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.sendto(state.encode("utf-8"), path)


def find_archive() -> str | None:
    """The zipapp that this is, None where the agent runs from its sources."""
    archive: str | None = getattr(getattr(sys.modules["__main__"], "__loader__", None), "archive", None)
    return archive


def find_build() -> str | None:
    """The SHA-256 of the zipapp that this is, None where the agent runs from its sources. Raises OSError."""
    archive = find_archive()
    if archive is None:
        return None
    with open(archive, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()
