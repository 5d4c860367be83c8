"""The thread that draws, on a terminal that stalls or goes away."""

from __future__ import annotations

import contextlib
import os
import pty
import threading
from collections.abc import Iterator, Sequence
from typing import TextIO

import pytest

from rum.host.show import painter as module
from rum.host.show.live_region import Drawn, LiveRegion
from rum.host.show.painter import Painter

LINE = "x" * 70


class Lines:
    """A scene of lines that stay."""

    def __init__(self) -> None:
        self.waiting: list[str] = []

    def backlog(self) -> int:
        return len(self.waiting)

    def take_above(self, _size: os.terminal_size) -> Sequence[str]:
        taken, self.waiting = self.waiting, []
        return taken

    def lines(self, _size: os.terminal_size) -> Sequence[Drawn]:
        return [Drawn("at work", 7)]


class Terminal:
    """Our end of a terminal, and the painter's."""

    def __init__(self) -> None:
        self._ours, theirs = pty.openpty()
        self.out: TextIO = os.fdopen(theirs, "w", encoding="utf-8")
        self.seen = b""
        self._reader: threading.Thread | None = None

    def read(self) -> None:
        """From now on."""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        # A terminal without users ends with EIO (tty_ioctl(4)).
        with contextlib.suppress(OSError):
            while piece := os.read(self._ours, 65536):
                self.seen += piece

    def hang_up(self) -> None:
        os.close(self._ours)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.out.close()
        reader, self._reader = self._reader, None
        if reader:
            reader.join(20)
            os.close(self._ours)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


def test_nothing_runs_ahead_of_a_terminal_that_does_not_keep_up(terminal: Terminal) -> None:
    scene = Lines()
    painter = Painter(scene, terminal.out, LiveRegion(reflows=False))
    painter.start()
    terminal.read()
    for _ in range(20):
        painter.update(lambda: scene.waiting.extend([LINE] * (module.BACKLOG_MAX // 2)))
        assert scene.backlog() <= module.BACKLOG_MAX
    painter.stop()
    terminal.close()
    assert terminal.seen.count(LINE.encode()) == 20 * (module.BACKLOG_MAX // 2)
    assert b"\x1b[?25h" in terminal.seen


def test_a_terminal_that_takes_nothing_holds_up_no_end(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GONE_S", 0.2)
    scene = Lines()
    painter = Painter(scene, terminal.out, LiveRegion(reflows=False))
    painter.start()
    painter.update(lambda: scene.waiting.extend([LINE] * (module.BACKLOG_MAX + 1)))
    painter.stop()
    terminal.read()
    painter._thread.join(20)
    terminal.close()
    assert terminal.seen.count(LINE.encode()) == module.BACKLOG_MAX + 1


def test_a_terminal_that_has_hung_up_is_no_error_and_not_waited_for(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GONE_S", 3600)
    scene = Lines()
    painter = Painter(scene, terminal.out, LiveRegion(reflows=False))
    painter.start()
    terminal.hang_up()

    def work() -> None:
        for _ in range(3):
            painter.update(lambda: scene.waiting.extend([LINE] * (module.BACKLOG_MAX + 1)))
        painter.pause()
        painter.resume()
        painter.stop()

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(20)
    assert not worker.is_alive()
