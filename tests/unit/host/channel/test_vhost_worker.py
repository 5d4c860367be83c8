"""The daemon's state, read from directories that look like those of real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from rum.host.channel import connect, vhost_worker
from rum.host.channel.client import open_agent
from rum.host.channel.connect import NotReadyError
from rum.host.channel.endpoint import UnixEndpoint
from rum.host.channel.vhost_worker import Channel, channel_behind, channel_of
from rum.host.deadlines import Deadline
from rum.host.errors import GuestError

HEALTHY = ["vhost-device-vs", "vhu-vsock-cid-9", "vhu-vsock-cid-9", "vring_worker"]
OWN_EPOLL = "pos:\t0\nflags:\t02\ntfd:        3 events:       19 data:                3  pos:0 ino:6a317 sdev:9\n"


def watching(*events: int) -> str:
    """The fdinfo of an epoll with these numbers."""
    lines = (f"tfd: {event + 10:8} events:       19 data: {event:16x}  pos:0 ino:40f sdev:10\n" for event in events)
    return "pos:\t0\nflags:\t02\n" + "".join(lines)


def process(directory: Path, threads: list[str], worker_epoll: str, socket_path: str = "/run/vm.vsock") -> Path:
    """A process's directory in /proc, as far as it is looked at."""
    for number, name in enumerate(threads):
        (directory / "task" / str(number)).mkdir(parents=True)
        (directory / "task" / str(number) / "comm").write_text(f"{name}\n")
    (directory / "fd").mkdir()
    (directory / "fdinfo").mkdir()
    for number, info in enumerate(("pos:\t0\n", OWN_EPOLL, worker_epoll)):
        (directory / "fd" / str(number)).touch()
        (directory / "fdinfo" / str(number)).write_text(info)
    (directory / "fd" / "9").touch()
    (directory / "cmdline").write_bytes(f"/usr/bin/vhost-device-vsock\0--uds-path={socket_path}\0".encode())
    return directory


def test_the_rings_in_the_workers_epoll_tell_whether_the_driver_is_up(tmp_path: Path) -> None:
    assert channel_of(process(tmp_path / "up", HEALTHY, watching(0, 1, 3, 4, 5))) is Channel.UP
    assert channel_of(process(tmp_path / "down", HEALTHY, watching(3, 4, 5))) is Channel.DOWN
    assert channel_of(process(tmp_path / "half", HEALTHY, watching(0, 3, 4, 5))) is Channel.DOWN
    assert channel_of(process(tmp_path / "dead", HEALTHY[:-1], watching(0, 1, 3, 4, 5))) is Channel.DEAD


def test_what_cannot_be_told_is_unknown(tmp_path: Path) -> None:
    assert channel_of(tmp_path / "gone") is Channel.UNKNOWN
    assert channel_of(process(tmp_path / "other", ["main", "worker"], watching(3))) is Channel.UNKNOWN
    assert channel_behind(tmp_path / "no-daemon.sock") is Channel.UNKNOWN


def test_nobody_dials_while_that_would_do_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "vm.vsock"
    monkeypatch.setattr(vhost_worker, "PROC", tmp_path / "proc")
    process(tmp_path / "proc" / "17", HEALTHY, watching(3, 4, 5), str(path))
    with pytest.raises(NotReadyError, match="driver is not up"):
        open_agent(UnixEndpoint(path), bytes(32), "id", Deadline(5))
    (tmp_path / "proc" / "17" / "task" / "3" / "comm").write_text("other\n")
    with pytest.raises(GuestError, match="worker has died"):
        connect.require_channel(UnixEndpoint(path))
