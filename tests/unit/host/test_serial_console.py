"""`rum console` with a serial port that is played: a socket that serves one client at a time, as QEMU's does.

The real one is in e2e/test_console.py.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.host.cli.test_commands import command, rum
from tests.unit.host.local_guest import TIMEOUT_S, LocalGuest, local_guest, wait_until
from tests.unit.host.user_terminal import user_terminal

HINT = b"serial console of VM demo; Ctrl+] leaves\r\n"


class SerialPort:
    """The guest's end."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._listener.settimeout(TIMEOUT_S)
        self.client: socket.socket | None = None

    def serve(self) -> socket.socket:
        """Take the next client."""
        self.client, _ = self._listener.accept()
        self.client.settimeout(TIMEOUT_S)
        return self.client

    def close(self) -> None:
        """The VM ends."""
        if self.client:
            self.client.close()
        self._listener.close()


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[LocalGuest]:
    """The console needs no agent."""
    with local_guest(tmp_path, started=False) as guest:
        guest.paths.console_log.write_bytes(b"\x1b[0;32mOK\x1b[0m Started\r\n\r\ndemo login: ")
        yield guest


@pytest.fixture
def port(guest: LocalGuest) -> Iterator[SerialPort]:
    with contextlib.closing(SerialPort(guest.paths.console_socket)) as port:
        yield port


def read_up_to(client: socket.socket, wanted: bytes) -> bytes:
    got = b""
    while wanted not in got:
        data = client.recv(4096)
        assert data, f"{wanted!r} never came, but {got!r}"
        got += data
    return got


class TestTerminal:
    def test_keys_and_output_pass_and_control_bracket_leaves(self, guest: LocalGuest, port: SerialPort) -> None:
        with user_terminal(command(guest, "console")) as user:
            with port.serve() as client:
                assert user.wait_for(b"login: ") == HINT + b"OK Started\r\ndemo login: "
                user.type(b"ro\x03\x1bot\r")
                assert read_up_to(client, b"\r") == b"ro\x03\x1bot\r"
                client.sendall(b"\x1b[1mPassword: \x1b[0m")
                user.wait_for(b"Password: ")
                assert b"\x1b[1mPassword: \x1b[0m" in user.shown
                user.type(b"last\x1dnot this")
                assert read_up_to(client, b"last") == b"last"
                assert client.recv(100) == b""
            assert user.finish() == 0
            assert user.shown.endswith(b"\x1b[0m\r\n")
            assert user.attributes() == user.before

    def test_it_can_be_left_while_the_guest_takes_no_keys(self, guest: LocalGuest, port: SerialPort) -> None:
        with user_terminal(command(guest, "console")) as user, port.serve():
            user.wait_for(HINT)
            os.set_blocking(user.keys, False)
            wait_until(lambda: user.has_typed(b"\x1d", after=1 << 20), "the keys to be taken")
            assert user.finish() == 0
            assert user.attributes() == user.before

    def test_only_the_last_screenful_is_shown_first(self, guest: LocalGuest, port: SerialPort) -> None:
        guest.paths.console_log.write_text("".join(f"line {number}\n" for number in range(100)))
        with user_terminal(command(guest, "console"), rows=6) as user, port.serve():
            assert user.wait_for(b"line 99\r\n") == HINT + b"line 96\r\nline 97\r\nline 98\r\nline 99\r\n"

    def test_a_vm_that_ends_is_told(self, guest: LocalGuest, port: SerialPort) -> None:
        with user_terminal(command(guest, "console")) as user:
            with port.serve() as client:
                client.sendall(b"reboot: Power down\r\n")
            assert user.finish() == 0
            assert user.shown.endswith(b"reboot: Power down\r\nVM demo has ended, and its serial console with it\r\n")
            assert user.attributes() == user.before

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT])
    def test_a_signal_ends_it_and_the_terminal_is_as_before(
        self, guest: LocalGuest, port: SerialPort, number: signal.Signals
    ) -> None:
        with user_terminal(command(guest, "console")) as user, port.serve() as client:
            user.wait_for(HINT)
            user.process.send_signal(number)
            assert user.finish() == 128 + number
            assert client.recv(100) == b""
            assert user.attributes() == user.before


class TestPipes:
    def test_bytes_are_passed_on_until_they_end(self, guest: LocalGuest, port: SerialPort) -> None:
        process = subprocess.Popen(
            **command(guest, "console"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdin
        assert process.stdout
        with port.serve() as client:
            process.stdin.write(b"\x00\x1d\xff\n")
            process.stdin.flush()
            assert read_up_to(client, b"\n") == b"\x00\x1d\xff\n"
            client.sendall(b"\xfe\x1d")
            assert process.stdout.read(2) == b"\xfe\x1d"
            assert process.communicate(timeout=30) == (b"", b"")
            assert client.recv(100) == b""
        assert process.returncode == 0

    def test_a_reader_that_pauses_does_not_hold_up_the_guest(self, guest: LocalGuest, port: SerialPort) -> None:
        with (
            subprocess.Popen(**command(guest, "console"), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
            port.serve() as client,
        ):
            assert process.stdout
            client.sendall(b"begin" + bytes(5_000_000) + b"end")
            # All of that was taken, while nobody has read a byte of it here.
            client.shutdown(socket.SHUT_WR)
            out = process.stdout.read()
        assert process.returncode == 0
        assert out.startswith(b"begin")
        assert out.endswith(b"end")
        assert b" bytes were not shown; `rum logs --console` has them]" in out

    def test_a_reader_that_has_enough_ends_it_quietly(self, guest: LocalGuest, port: SerialPort) -> None:
        with (
            subprocess.Popen(
                **command(guest, "console"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            ) as process,
            port.serve() as client,
        ):
            assert process.stdout
            assert process.stderr
            process.stdout.close()
            client.sendall(b"x")
            assert process.stderr.read() == b""
        assert process.returncode == 141


class TestRefusals:
    def test_a_vm_that_is_off(self, guest: LocalGuest) -> None:
        guest.running = False
        done = rum(guest, "console")
        assert (done.returncode, done.stderr) == (4, b"rum: VM demo is stopped\nrum: run `rum up` first\n")

    def test_somebody_else_is_there(self, guest: LocalGuest, port: SerialPort) -> None:
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(str(guest.paths.console_socket))
            with port.serve():
                self.is_taken(guest)

    def test_another_rum_is_there(self, guest: LocalGuest, port: SerialPort) -> None:
        with user_terminal(command(guest, "console")) as user, port.serve():
            user.wait_for(HINT)
            self.is_taken(guest)
            user.process.kill()
            user.process.wait()
        with user_terminal(command(guest, "console")) as user, port.serve():
            user.wait_for(HINT)

    def is_taken(self, guest: LocalGuest) -> None:
        done = rum(guest, "console")
        assert (done.returncode, done.stdout) == (4, b"")
        assert done.stderr.startswith(b"rum: somebody else is attached to the serial console of VM demo")

    def test_nobody_serves_it(self, guest: LocalGuest) -> None:
        guest.paths.runtime.mkdir()
        done = rum(guest, "console")
        assert done.returncode == 4
        assert done.stderr.startswith(
            b"rum: the serial console of VM demo cannot be reached: No such file or directory\n"
        )

    def test_json(self, guest: LocalGuest) -> None:
        assert rum(guest, "-o", "json", "console").returncode == 2


def test_who_is_connected_is_seen(guest: LocalGuest, port: SerialPort) -> None:
    """What the kernel lists is what the refusals go by."""
    from rum.host.serial_console import CONNECTED, NOT_ACCEPTED, states

    path = guest.paths.console_socket
    assert CONNECTED not in states(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        assert NOT_ACCEPTED in states(path)
        with port.serve():
            assert CONNECTED in states(path)
            assert NOT_ACCEPTED not in states(path)
    wait_until(lambda: CONNECTED not in states(path), "nobody to be connected")
