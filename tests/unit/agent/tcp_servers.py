"""TCP servers on the loopback, each connection in a thread: what forwards lead to in tests."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

DEADLINE_S = 60.0
RESET = struct.pack("ii", 1, 0)

Serve = Callable[[socket.socket], None]


@contextlib.contextmanager
def serving(serve: Serve, address: str = "127.0.0.1") -> Iterator[int]:
    """The port of a server that gives each connection to `serve`, which may leave it open."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    threads: list[threading.Thread] = []
    opened: list[socket.socket] = []

    def run(client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            serve(client)

    def accept(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                client.settimeout(DEADLINE_S)
                opened.append(client)
                threads.append(threading.Thread(target=run, args=(client,)))
                threads[-1].start()

    with socket.socket(family) as listener:
        listener.bind((address, 0))
        listener.listen(100)
        acceptor = threading.Thread(target=accept, args=(listener,))
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join(DEADLINE_S)
            for client in opened:
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(DEADLINE_S)
            for client in opened:
                client.close()


@contextlib.contextmanager
def free_port() -> Iterator[int]:
    """A port that nobody listens at, kept from everybody else."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def echo(client: socket.socket) -> None:
    """Give back what comes as it comes, and end after the client has."""
    while data := client.recv(65536):
        client.sendall(data)
    client.shutdown(socket.SHUT_WR)


def digest(client: socket.socket) -> None:
    """Read to the client's end, then answer with the hash."""
    sha256 = hashlib.sha256()
    while data := client.recv(65536):
        sha256.update(data)
    client.sendall(sha256.hexdigest().encode())
    client.close()


def reset(client: socket.socket) -> None:
    """Read something, and reset the connection."""
    client.recv(1)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.close()


def sending(*blocks: bytes) -> Serve:
    """A server that sends these and closes."""

    def serve(client: socket.socket) -> None:
        for block in blocks:
            client.sendall(block)
        client.close()

    return serve
