"""The vhost-device-vsock daemon of one VM."""

from __future__ import annotations

from pathlib import Path

from rum.host.channel.transport import DAEMON
from rum.host.paths import VmPaths
from rum.host.vm.daemons import Daemon

TX_BUFFER_SIZE = 1 << 20
"""Bytes; the default of 64 KiB makes the guest wait for every reader that is a little late."""


def start_daemon(program: Path, cid: int, paths: VmPaths) -> int:
    """Start a fresh daemon for the VM and return its pid once it listens. Raises HostError.

    One that is still there is stopped first: it may hold the connections of a QEMU that is gone.
    """
    stop_daemon(paths)
    command = [
        str(program),
        f"--guest-cid={cid}",
        f"--socket={paths.vhost_socket}",
        f"--uds-path={paths.vsock_socket}",
        f"--tx-buffer-size={TX_BUFFER_SIZE}",
    ]
    sockets = (paths.vhost_socket, paths.vsock_socket)
    return _daemon(paths).start(command, paths.vhost_log, lambda: all(path.exists() for path in sockets))


def find_daemons(paths: VmPaths) -> list[int]:
    """The pids of this VM's daemons: this user's processes that were started for its socket."""
    return _daemon(paths).find()


def stop_daemon(paths: VmPaths) -> None:
    """End this VM's daemons and remove their sockets; there may be none."""
    _daemon(paths).stop()
    for path in (paths.vhost_socket, paths.vsock_socket):
        path.unlink(missing_ok=True)


def _daemon(paths: VmPaths) -> Daemon:
    return Daemon(DAEMON, f"--socket={paths.vhost_socket}")
