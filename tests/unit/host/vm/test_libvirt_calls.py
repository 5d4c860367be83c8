"""A libvirt that does not answer keeps nobody: its client library has no deadline of its own."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rum.host.vm.libvirt_driver import LibvirtDriver
from rum.host.vm.libvirt_errors import SilentLibvirtError


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket of a daemon that is stopped: the kernel takes connections on its behalf, and nobody reads them."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "libvirt-sock"))
        sock.listen()
        yield sock


@pytest.fixture
def uri(listener: socket.socket) -> str:
    return f"qemu+unix:///session?socket={listener.getsockname()}"


def test_a_daemon_that_is_stopped_is_one_sentence(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rum.host.vm.libvirt_calls.LIBVIRT_TIMEOUT_S", 0.1)
    with pytest.raises(SilentLibvirtError) as caught:
        LibvirtDriver(uri)
    assert f"libvirt at {uri} has not answered within" in str(caught.value)
    assert caught.value.code == "libvirt"
    assert "stopped, or hangs: ps " in str(caught.value.hint)


def test_a_ctrl_c_is_felt_meanwhile(listener: socket.socket, uri: str) -> None:
    def interrupt() -> None:
        # Somebody waits for an answer once it has asked.
        connection, _ = listener.accept()
        with connection:
            connection.recv(1)
            os.kill(os.getpid(), signal.SIGINT)
            ended.wait(60)

    ended = threading.Event()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            LibvirtDriver(uri)
    finally:
        signal.signal(signal.SIGINT, before)
        ended.set()
        thread.join()
