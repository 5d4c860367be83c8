"""Whether the vhost-user daemon may be spoken to, read from /proc, because asking it can break it.

While a guest reboots, QEMU has stopped the device's rings. Anything that happens on the daemon's Unix socket then, be
it that somebody connects, ends the worker of vhost-device-vsock 0.3.0 for good: it takes the stopped ring for a fatal
error, and the guest stays out of reach until its domain is started again. So nobody may dial before the guest's driver
is back, which shows in what the worker's epoll watches: events 0 and 1 are the two rings.
"""

from __future__ import annotations

import contextlib
import enum
import os
import re
from pathlib import Path

PROC = Path("/proc")
WORKER = "vring_worker"
OWNER_PREFIX = "vhu-vsock"
RING_EVENTS = {0, 1}

WATCHED = re.compile(r"^tfd:.*\bdata:\s*([0-9a-f]+)", re.MULTILINE)
"""A line of an epoll's fdinfo (proc_pid_fdinfo(5)); the data is hexadecimal."""


class Channel(enum.Enum):
    """What the daemon can do now."""

    UP = "up"
    """The guest's driver is up."""
    DOWN = "down"
    """It is not: the guest is booting or rebooting."""
    DEAD = "dead"
    """The daemon's worker has ended."""
    UNKNOWN = "unknown"
    """It cannot be told, for instance because the daemon is another one."""


def channel_behind(socket_path: Path) -> Channel:
    """The state of the daemon that serves this Unix socket."""
    wanted = os.fsencode(f"--uds-path={socket_path}")
    for entry in PROC.iterdir():
        if entry.name.isdigit() and wanted in _arguments(entry):
            return channel_of(entry)
    return Channel.UNKNOWN


def channel_of(process: Path) -> Channel:
    """The state of a daemon by its directory in /proc."""
    try:
        names = [(task / "comm").read_text().strip() for task in (process / "task").iterdir()]
        watched = [_watched_by(process, descriptor.name) for descriptor in (process / "fd").iterdir()]
    except OSError:
        return Channel.UNKNOWN
    if not any(name.startswith(OWNER_PREFIX) for name in names):
        return Channel.UNKNOWN
    if WORKER not in names:
        return Channel.DEAD
    return Channel.UP if any(events >= RING_EVENTS for events in watched) else Channel.DOWN


def _arguments(process: Path) -> list[bytes]:
    try:
        return (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def _watched_by(process: Path, descriptor: str) -> set[int]:
    """The numbers under which an epoll knows what it watches; none for any other descriptor."""
    with contextlib.suppress(FileNotFoundError):
        return {int(data, 16) for data in WATCHED.findall((process / "fdinfo" / descriptor).read_text())}
    return set()
