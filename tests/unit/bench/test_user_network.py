"""Waiting for sshd's first words, from servers that are not there, silent, late, or something else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from e2e.bench import user_network


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


def test_the_banner_of_an_sshd_that_is_not_up_at_once(listener: socket.socket) -> None:
    before = time.monotonic()
    answer(listener, b"", b"HTTP/1.1 400 Bad Request", b"", b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n")
    assert before < user_network.banner_at(port_of(listener), 60) <= time.monotonic()


def test_who_accepts_and_says_nothing_is_no_sshd(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_network, "ATTEMPT_S", 0.05)
    with pytest.raises(TimeoutError, match="no sshd answered"):
        user_network.banner_at(port_of(listener), 0.3)


def test_nobody_there(listener: socket.socket) -> None:
    port = port_of(listener)
    listener.close()
    with pytest.raises(TimeoutError):
        user_network.banner_at(port, 0.2)
