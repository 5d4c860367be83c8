"""The processes beside a VM's QEMU, all together: whether they live, and their end."""

from __future__ import annotations

from rum.host.channel.endpoint import Transport
from rum.host.channel.transport import DAEMON
from rum.host.channel.vhost_worker import Channel, channel_behind
from rum.host.paths import VmPaths
from rum.host.ports import forwards
from rum.host.store import LastStart
from rum.host.vm import vhost_user, virtiofsd


def stop_daemons(paths: VmPaths) -> None:
    """End every daemon of the VM; there may be none."""
    forwards.stop(paths)
    vhost_user.stop_daemon(paths)
    virtiofsd.stop_daemons(paths)


def transport_works(paths: VmPaths, started: LastStart) -> bool:
    """Whether the host's half of the channel works."""
    if started.transport == Transport.VHOST_VSOCK:
        return True
    if not (vhost_user.find_daemons(paths) and paths.vsock_socket.exists()):
        return False
    return channel_behind(paths.vsock_socket) is not Channel.DEAD


def dead_daemon(paths: VmPaths, started: LastStart) -> str | None:
    """The name of a daemon without which the running VM cannot go on, None where all are there."""
    if not transport_works(paths, started):
        return DAEMON
    return virtiofsd.PROGRAM if virtiofsd.dead(paths, len(started.mounts)) else None
