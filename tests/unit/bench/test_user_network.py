"""Waiting for sshd's first words, from servers that are not there, silent, late, or something else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

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


def wait(port: int, within_s: float) -> float:
    with BannerWatch(port) as watch:
        return watch.wait(within_s)


def test_the_banner_of_an_sshd_that_is_not_up_at_once(listener: socket.socket) -> None:
    before = time.monotonic()
    answer(listener, b"", b"HTTP/1.1 400 Bad Request", b"", b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n")
    assert before < wait(port_of(listener), 60) <= time.monotonic()


def test_the_moment_is_when_they_came_and_not_when_somebody_asks(listener: socket.socket) -> None:
    answer(listener, b"SSH-2.0-OpenSSH")
    with BannerWatch(port_of(listener)) as watch:
        first = watch.wait(60)
        assert watch.wait(60) == first


def test_who_accepts_and_says_nothing_is_no_sshd(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_network, "ATTEMPT_S", 0.05)
    with pytest.raises(TimeoutError, match="no sshd answered"):
        wait(port_of(listener), 0.3)


def test_nobody_there_and_nobody_who_looks_afterwards(listener: socket.socket) -> None:
    port = port_of(listener)
    listener.close()
    before = threading.active_count()
    with pytest.raises(TimeoutError):
        wait(port, 0.2)
    assert threading.active_count() == before
