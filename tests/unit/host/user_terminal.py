"""The terminal of a user, with a command in it: what a terminal emulator does, for tests."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rum.host.text import ESCAPES
from tests.unit.host.local_guest import TIMEOUT_S


class UserTerminal:
    """A terminal and the process that has it as its controlling one; its keys reach the whole foreground group."""

    def __init__(self, settings: Mapping[str, Any], rows: int, cols: int) -> None:
        self.keys, self._screen = pty.openpty()
        self.resize(rows, cols)
        self.before = self.attributes()
        self.shown = b""
        self.typed = 0
        self.process = subprocess.Popen(
            **settings,
            stdin=self._screen,
            stdout=self._screen,
            stderr=self._screen,
            start_new_session=True,
            preexec_fn=become_job,
        )

    def attributes(self) -> list[Any]:
        """How the terminal is set (termios(3))."""
        return termios.tcgetattr(self._screen)

    def restore(self) -> None:
        """What a shell does with the terminal of a job that was stopped."""
        termios.tcsetattr(self._screen, termios.TCSADRAIN, self.before)

    def resize(self, rows: int, cols: int) -> None:
        """What the user does with the window."""
        fcntl.ioctl(self.keys, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def type(self, keys: bytes) -> None:
        """What the user types."""
        os.write(self.keys, keys)

    def has_typed(self, key: bytes, after: int) -> bool:
        """Whether that many other keys were taken, and then this one; to be called again, the terminal not blocking."""
        with contextlib.suppress(BlockingIOError):
            while self.typed < after:
                self.typed += os.write(self.keys, b"a" * 1024)
            return os.write(self.keys, key) == 1
        return False

    @property
    def text(self) -> bytes:
        """What was shown, without colours and movements."""
        return ESCAPES.sub("", self.shown.decode("latin-1")).encode("latin-1")

    def wait_for(self, text: bytes) -> bytes:
        """Everything that was shown, once this is part of its text."""
        return self._read(lambda: text in self.text, f"{text!r} to be shown")

    def finish(self) -> int:
        """The exit status."""
        self._read(lambda: self.process.poll() is not None, "the command to end")
        while select.select([self.keys], [], [], 0)[0]:
            self.shown += os.read(self.keys, 65536)
        return self.process.returncode

    def close_window(self) -> None:
        """The terminal goes away under the command (SIGHUP)."""
        os.close(self._screen)
        os.close(self.keys)
        self.keys = self._screen = -1

    def close(self) -> None:
        """End what is left."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for descriptor in (self.keys, self._screen):
            if descriptor >= 0:
                os.close(descriptor)

    def _read(self, enough: Callable[[], bool], what: str) -> bytes:
        deadline = time.monotonic() + TIMEOUT_S
        while not enough():
            assert time.monotonic() < deadline, f"waited in vain for {what}; shown: {self.shown[-2000:]!r}"
            if select.select([self.keys], [], [], 0.05)[0]:
                self.shown += os.read(self.keys, 65536)
        return self.shown


def become_job() -> None:
    """In the child: have the terminal for one's own."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    heeding_signals()


def heeding_signals() -> None:
    """In the child: a test runner that was started in the background ignores some, and what it starts would, too."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def user_terminal(settings: Mapping[str, Any], rows: int = 24, cols: int = 80) -> Iterator[UserTerminal]:
    """A terminal with a command in it, which is gone afterwards."""
    terminal = UserTerminal(settings, rows, cols)
    try:
        yield terminal
    finally:
        terminal.close()
