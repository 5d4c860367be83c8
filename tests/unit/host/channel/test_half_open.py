"""A connection that the vsock daemon has not answered is never closed under it, however rum ends."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rum.host.channel import half_open
from rum.host.channel.client import AgentConnection
from rum.host.channel.connect import NotReadyError, RefusedError, open_stream
from rum.host.channel.endpoint import UnixEndpoint
from rum.host.deadlines import Deadline

DIALLING = """
import sys
from pathlib import Path
from rum.host.channel import half_open
from rum.host.channel.connect import open_stream
from rum.host.deadlines import Deadline
from rum.host.channel.endpoint import UnixEndpoint
half_open.KEEP_OPEN_S = 4
looks = 0
def check():
    global looks
    looks += 1
    if looks == 2:
        print("waiting", flush=True)
open_stream(UnixEndpoint(Path(sys.argv[1])), Deadline(60), check)
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[socket.socket]:
    """What listens in a vsock daemon's place, and answers only by hand."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "vm.vsock"))
        listener.listen()
        listener.settimeout(20)
        yield listener


def endpoint(daemon: socket.socket) -> UnixEndpoint:
    return UnixEndpoint(Path(daemon.getsockname()))


@contextlib.contextmanager
def accepted(daemon: socket.socket) -> Iterator[socket.socket]:
    """The connection, its question read."""
    client, _ = daemon.accept()
    with client:
        client.settimeout(20)
        assert client.recv(64) == b"CONNECT 2222\n"
        yield client


def is_open(client: socket.socket) -> bool:
    """Whether the other end is: one that was closed is readable at once."""
    return not select.select([client], [], [], 0)[0]


def ends(client: socket.socket) -> bool:
    """Wait for the other end's close, which is a reset where there was something left to read."""
    with contextlib.suppress(ConnectionResetError):
        return client.recv(1) == b""
    return True


def test_giving_up_leaves_it_open_for_a_while(daemon: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half_open, "KEEP_OPEN_S", 2)
    with pytest.raises(NotReadyError, match="does not answer yet"):
        open_stream(endpoint(daemon), Deadline(0.1))
    with accepted(daemon) as client:
        assert is_open(client)
        client.sendall(b"OK 2222\n")
        assert ends(client), "not for ever"


@pytest.mark.parametrize("cause", [KeyboardInterrupt, SystemExit(143)])
def test_so_does_an_interrupt(
    daemon: socket.socket, monkeypatch: pytest.MonkeyPatch, cause: BaseException | type[BaseException]
) -> None:
    monkeypatch.setattr(half_open, "KEEP_OPEN_S", 2)
    looks: list[None] = []

    def check() -> None:
        looks.append(None)
        if len(looks) == 3:
            raise cause

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        open_stream(endpoint(daemon), Deadline(20), check)
    with accepted(daemon) as client:
        assert is_open(client)


def test_so_does_a_kill(daemon: socket.socket) -> None:
    command = [sys.executable, "-c", DIALLING, daemon.getsockname()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as dialling, accepted(daemon) as client:
        assert dialling.stdout is not None
        assert dialling.stdout.readline() == "waiting\n"
        dialling.send_signal(signal.SIGKILL)
        dialling.wait(timeout=10)
        assert is_open(client)
        client.sendall(b"OK 2222\n")
        assert ends(client)


def test_nothing_stays_behind_an_answer_or_a_refusal(daemon: socket.socket) -> None:
    looks: list[None] = []
    clients: list[socket.socket] = []

    def answer(reply: bytes) -> None:
        looks.append(None)
        if len(looks) == 3:
            client, _ = daemon.accept()
            client.sendall(reply) if reply else client.close()
            clients.append(client)

    with open_stream(endpoint(daemon), Deadline(20), lambda: answer(b"OK 2222\n")):
        pass
    with clients.pop() as client:
        client.settimeout(5)
        assert client.recv(64) == b"CONNECT 2222\n"
        assert client.recv(1) == b"", "nobody keeps it open"
    looks.clear()
    with pytest.raises(RefusedError, match=r"closed|nobody listens"):
        open_stream(endpoint(daemon), Deadline(20), lambda: answer(b""))


LIKE_THE_DAEMON = """
import pathlib, sys, threading
for name in ("vhu-vsock-cid-9", "vring_worker"):
    thread = threading.Thread(target=threading.Event().wait, daemon=True)
    thread.start()
    pathlib.Path(f"/proc/self/task/{thread.native_id}/comm").write_text(name)
print("ready", flush=True)
sys.stdin.read()
"""
"""A process that looks in /proc as vhost-device-vsock does while its rings are stopped."""


@contextlib.contextmanager
def stopped_rings(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A daemon in that state, which serves this socket."""
    command = [sys.executable, "-c", LIKE_THE_DAEMON, f"--uds-path={path}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_a_connection_outlives_its_close_while_the_rings_are_stopped(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with theirs, stopped_rings(tmp_path / "vm.vsock") as daemon:
        theirs.settimeout(20)
        connection = AgentConnection(ours, tmp_path / "vm.vsock")
        connection.close()
        connection.close()
        assert is_open(theirs)
        daemon.kill()
        assert ends(theirs), "with the daemon, at the latest"


def test_otherwise_it_ends_with_its_close(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        AgentConnection(ours, tmp_path / "vm.vsock").close()
        assert not is_open(theirs)
