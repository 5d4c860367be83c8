"""Reading what a process writes, to the very end.

The process holds its end of a FIFO open for reading and writing, so nobody's exit makes it fail with SIGPIPE: not that
of the script that started it, and not that of the agent, whose successor goes on reading the same FIFO.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct
import termios
from typing import Callable

from rum.agent.loop import READ, Loop
from rum.protocol.limits import OUTPUT_CHUNK

BUFFER = memoryview(bytearray(OUTPUT_CHUNK))
"""What any pump reads into: memory taken anew for each piece, and given back, is page faults: most of its cost."""


class Pump:
    """Owns the reading end. Data goes to `on_data` as it was written; afterwards, and for ever, it is discarded.

    A piece is there for the time of the call: BUFFER is used again.
    """

    def __init__(self, loop: Loop, fd: int, *, path: str | None = None) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._path = path
        self._watch = loop.watch(fd, self._ready)
        self._owed = 0
        self._paused = False
        self.at_end = False
        self.on_data: Callable[[memoryview], None] = discard
        self.on_end: Callable[[], None] = lambda: None
        self._watch.want(READ)

    @property
    def owes(self) -> bool:
        """Whether something written before `process_ended` has still to be read."""
        return self._owed > 0 and not self.at_end

    def process_ended(self) -> None:
        """Read what is in the pipe now: this much belongs to the process. While paused it is owed instead.

        Not until the pipe is empty: something left in the background may write for ever.
        """
        if not self.at_end:
            self._owed = struct.unpack("i", fcntl.ioctl(self._fd, termios.FIONREAD, bytes(4)))[0]
        while not self._paused and self._read() and self.owes:
            pass

    def pause(self, paused: bool) -> None:
        """Leave what is written in the pipe, so that its writer waits, or stop doing so."""
        self._paused = paused
        if not self.at_end:
            self._watch.want(0 if paused else READ)

    def detach(self) -> None:
        """Discard whatever is still to come, until the last writer is gone."""
        self.on_data = discard
        self.on_end = lambda: None
        self.pause(False)

    def close(self) -> None:
        """Stop reading for good; a writer that is left is then on its own."""
        if self.at_end:
            return
        self.at_end = True
        self._watch.want(0)
        os.close(self._fd)
        if self._path:
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    def _ready(self, _events: int) -> None:
        self._read()

    def _read(self) -> bool:
        """Whether there was something to read."""
        if self.at_end:
            return False
        try:
            size = os.readv(self._fd, [BUFFER])
        except BlockingIOError:
            return False
        except OSError as exc:
            # A terminal says EIO when its last user is gone (tty_ioctl(4)).
            if exc.errno != errno.EIO:
                raise
            size = 0
        if size:
            self._owed -= size
            self.on_data(BUFFER[:size])
            return True
        self.close()
        self.on_end()
        return False


def discard(_data: memoryview) -> None:
    """Nobody wants it."""


def open_fifo(loop: Loop, path: str) -> tuple[Pump, int]:
    """A new FIFO: the pump that reads it, and the descriptor for the process. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    os.mkfifo(path, 0o600)
    writer = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        return open_reader(loop, path), writer
    except OSError:
        os.close(writer)
        raise


def adopt_fifos(loop: Loop, directory: str) -> list[Pump]:
    """Go on reading what a predecessor left, as far as processes still write to it. Raises OSError."""
    names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    paths = [os.path.join(directory, name) for name in names]
    pumps = [open_reader(loop, path) for path in paths if stat.S_ISFIFO(os.lstat(path).st_mode)]
    for pump in pumps:
        # A FIFO that was opened without a writer never says that it has none (fifo(7)): only reading tells.
        pump.process_ended()
    return [pump for pump in pumps if not pump.at_end]


def open_reader(loop: Loop, path: str) -> Pump:
    """The pump of a FIFO that is there. Raises OSError."""
    return Pump(loop, os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), path=path)
