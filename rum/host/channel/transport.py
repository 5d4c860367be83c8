"""Which way to the guest's vsock ports works on this host: the kernel's vhost-vsock, or a vhost-user daemon."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rum.host import remedies
from rum.host.channel.endpoint import Transport
from rum.host.devices import why_not_openable
from rum.host.errors import HostError

VHOST_VSOCK_DEVICE = Path("/dev/vhost-vsock")
DAEMON = "vhost-device-vsock"
DAEMON_VERSION_MIN = (0, 3, 0)
"""Older ones spin at 100 % CPU while a client is connected, and lose data of the guest's send queue."""

CID_MIN = 1 << 16
CID_MAX = (1 << 31) - 1
"""Above what people number by hand, and within what programs that keep a CID in an int can hold."""


@dataclass(frozen=True)
class TransportChoice:
    """A transport, why it is used, and the daemon's path where it needs one."""

    transport: Transport
    reason: str
    program: Path | None = None


def choose_transport(wanted: str, device: Path = VHOST_VSOCK_DEVICE) -> TransportChoice:
    """The transport for `advanced.transport`. Raises HostError where this host has none, or not the one asked for."""
    refused = None if wanted == Transport.VHOST_USER.value else why_not_openable(device)
    if refused is None and wanted != Transport.VHOST_USER.value:
        return TransportChoice(Transport.VHOST_VSOCK, f"{device} can be opened")
    if wanted == Transport.VHOST_VSOCK.value:
        raise HostError(
            f'advanced.transport is "vhost-vsock", but {refused}',
            hint=remedies.use_vhost_vsock(device),
        )
    program = require_daemon(refused)
    return TransportChoice(Transport.VHOST_USER, refused or "rum.toml asks for it", program)


def require_daemon(refused: str | None) -> Path:
    """The path of vhost-device-vsock. Raises HostError where it is missing or too old."""
    found = shutil.which(DAEMON)
    if found is None:
        hint = remedies.any_transport(VHOST_VSOCK_DEVICE) if refused else remedies.install_vhost_device_vsock()
        reason = f"{refused} and " if refused else ""
        raise HostError(
            f"{reason}there is no {DAEMON} in PATH, so the guest cannot be reached", hint=hint, code="missing-program"
        )
    version = daemon_version(found)
    if version < DAEMON_VERSION_MIN:
        needed = ".".join(map(str, DAEMON_VERSION_MIN))
        shown = ".".join(map(str, version)) or "of unknown version"
        raise HostError(
            f"{found} is {shown}, rum needs {needed} or newer",
            hint=remedies.install_vhost_device_vsock(),
            code="missing-program",
        )
    return Path(found)


def daemon_version(program: str) -> tuple[int, ...]:
    """The version the daemon says it has, () where it says none."""
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", answer.stdout)
    return tuple(map(int, found.groups())) if found else ()


def cid_candidates(vm_id: str) -> Iterator[int]:
    """CIDs for a VM, the same ones in the same order every time: the first hangs on its UUID alone."""
    attempt = 0
    while True:
        digest = hashlib.sha256(f"{vm_id} {attempt}".encode()).digest()
        yield CID_MIN + int.from_bytes(digest[:8], "big") % (CID_MAX - CID_MIN)
        attempt += 1
