"""Ports of this host that lead to a guest through QEMU's user network, as they would without rum."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

BANNER = b"SSH-2.0"

STARTS = re.compile(rb"(Starting|Started|Listening on) [^\n]*(ssh|Secure Shell)")
"""What systemd says on the console: before that there is no banner, and asking for one costs the guest time."""

ATTEMPT_S = 10.0
"""An sshd on an emulated CPU takes seconds to greet; who leaves before that makes it begin anew."""

BETWEEN_S = 0.05


def forward(domain: str, guest_port: int, env: Mapping[str, str]) -> int:
    """A port of 127.0.0.1 that leads to the guest's, from now on until it ends. Raises CalledProcessError."""
    port = free_port()
    rule = f"hostfwd_add tcp:127.0.0.1:{port}-:{guest_port}"
    command = ["virsh", "qemu-monitor-command", domain, "--hmp", rule]
    said = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    if said:
        raise OSError(f"QEMU answers {said!r} to {rule!r}")
    return port


def free_port() -> int:
    """A port of this host's loopback that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


class BannerWatch:
    """Looks for sshd's first words at a port, in a thread of its own, until the block's end.

    `console`: the log of the guest's console, of which the first `offset` bytes are of earlier boots.
    """

    def __init__(self, port: int, console: Path, offset: int = 0) -> None:
        self._port = port
        self._console = console
        self._offset = offset
        self._seen_at: float | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        self._thread.join()

    def wait(self, within_s: float) -> float:
        """When, by the monotonic clock, they came. Raises TimeoutError."""
        self._thread.join(within_s)
        if self._seen_at is None:
            raise TimeoutError(f"no sshd answered within {within_s:.0f} s")
        return self._seen_at

    def _look(self) -> None:
        while not self._over.wait(BETWEEN_S):
            if self._has_begun() and first_words(self._port).startswith(BANNER):
                self._seen_at = time.monotonic()
                return

    def _has_begun(self) -> bool:
        try:
            with self._console.open("rb") as file:
                file.seek(self._offset)
                return bool(STARTS.search(file.read()))
        except FileNotFoundError:
            return False


def first_words(port: int) -> bytes:
    """What is said to a new connection; nothing where nobody is there."""
    try:
        with socket.create_connection(("127.0.0.1", port), ATTEMPT_S) as sock:
            return sock.recv(len(BANNER))
    except OSError:
        return b""
