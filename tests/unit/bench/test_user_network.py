"""Waiting for sshd's first words, from servers that are not there, silent, late, or something else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.bench import user_network
from e2e.bench.user_network import BannerWatch


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


def answer(listener: socket.socket, *answers: bytes) -> None:
    """Serve so many connections."""

    def serve() -> None:
        for words in answers:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(words)

    threading.Thread(target=serve, daemon=True).start()


OLD = b"         Starting ssh.service - OpenBSD Secure Shell server...\r\n"
SHOWN = (
    b"         Starting \x1b[0;1;39mssh.service\x1b[0m - OpenBSD Secure Shell server...\r\n",
    b"         Starting OpenBSD Secure Shell server...\r\n",
    b"[  OK  ] Listening on ssh.socket - OpenBSD Secure Shell server socket.\r\n",
    b"         Starting sshd.service - OpenSSH server daemon...\r\n",
)


@pytest.fixture
def console(tmp_path: Path) -> Path:
    """Of a guest that starts sshd, for the second time."""
    path = tmp_path / "console.log"
    path.write_bytes(OLD + b"[    0.000000] Linux version 6.1\r\n" + SHOWN[0])
    return path


@pytest.fixture
def watch(listener: socket.socket, console: Path) -> BannerWatch:
    return BannerWatch(port_of(listener), console, len(OLD))


def wait(watch: BannerWatch, within_s: float) -> float:
    with watch:
        return watch.wait(within_s)


def test_the_banner_of_an_sshd_that_is_not_up_at_once(listener: socket.socket, watch: BannerWatch) -> None:
    before = time.monotonic()
    answer(listener, b"", b"HTTP/1.1 400 Bad Request", b"", b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n")
    assert before < wait(watch, 60) <= time.monotonic()


def test_the_moment_is_when_they_came_and_not_when_somebody_asks(listener: socket.socket, watch: BannerWatch) -> None:
    answer(listener, b"SSH-2.0-OpenSSH")
    with watch:
        first = watch.wait(60)
        assert watch.wait(60) == first


def test_who_accepts_and_says_nothing_is_no_sshd(watch: BannerWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_network, "ATTEMPT_S", 0.05)
    with pytest.raises(TimeoutError, match="no sshd answered"):
        wait(watch, 0.3)


def test_a_guest_that_has_not_begun_with_sshd_is_left_alone(
    listener: socket.socket, watch: BannerWatch, console: Path
) -> None:
    console.write_bytes(OLD)
    answer(listener, b"SSH-2.0-OpenSSH")
    with watch:
        with pytest.raises(TimeoutError):
            watch.wait(0.3)
        with console.open("ab") as file:
            file.write(SHOWN[0])
        watch.wait(60)


@pytest.mark.parametrize("shown", SHOWN)
def test_how_systemd_tells_of_sshd(shown: bytes) -> None:
    assert user_network.STARTS.search(b"[  OK  ] Reached target network.target.\r\n" + shown)
    assert not user_network.STARTS.search(b"         Starting cloud-init-local.service...\r\n")


def test_nobody_there_and_nobody_who_looks_afterwards(listener: socket.socket, watch: BannerWatch) -> None:
    listener.close()
    before = threading.active_count()
    with pytest.raises(TimeoutError):
        wait(watch, 0.2)
    assert threading.active_count() == before
