"""Draws by a clock, in a thread of its own: a spinner turns while the command waits for something else.

All of the drawing is that thread's: whatever signal ends the command, no line is left half drawn.
"""

from __future__ import annotations

import enum
import os
import threading
from collections.abc import Callable, Sequence
from typing import Protocol, TextIO

from rum.host.show.capability import size_of
from rum.host.show.live_region import Drawn, LiveRegion
from rum.host.show.terminal_modes import TerminalModes

FRAME_S = 0.1
GONE_S = 5.0
"""A terminal that takes nothing for so long is left as it is: nobody waits for the other end of a dead line."""

BACKLOG_MAX = 2000
"""Lines that wait for the terminal; a command does not run ahead of what it shows any further."""


class Wanted(enum.Enum):
    """What the thread is to do."""

    DRAW = 1
    PAUSE = 2
    STOP = 3


class Scene(Protocol):
    """What there is to see. Its methods are called with the painter's lock held."""

    def backlog(self) -> int:
        """How many lines wait to be shown above."""

    def take_above(self, size: os.terminal_size) -> Sequence[str]:
        """The lines that stay and have not been shown yet."""

    def lines(self, size: os.terminal_size) -> Sequence[Drawn]:
        """The lines at work, fit to the terminal."""


class Painter:
    """One scene on one terminal, between `start` and `stop`."""

    def __init__(self, scene: Scene, out: TextIO, region: LiveRegion) -> None:
        self._scene = scene
        self._out = out
        self._region = region
        self._modes = TerminalModes(out.fileno())
        self._wanted = Wanted.DRAW
        self._reached = Wanted.DRAW
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="painter", daemon=True)

    def start(self) -> None:
        """Begin to draw."""
        self._modes.take()
        self._thread.start()

    def pause(self) -> None:
        """Take the region off the screen, and draw nothing until `resume`."""
        self._reach(Wanted.PAUSE)
        self._modes.give_back()

    def resume(self) -> None:
        """Draw again, wherever the cursor is by now."""
        self._modes.take()
        self._reach(Wanted.DRAW)

    def stop(self) -> None:
        """Show what is still to be shown above, take the region off the screen, and leave the terminal as it was."""
        try:
            self._reach(Wanted.STOP)
        finally:
            self._modes.give_back()

    def update(self, change: Callable[[], None]) -> None:
        """Change the scene; wait where the terminal does not keep up."""
        with self._changed:
            change()
            if self._scene.backlog() > BACKLOG_MAX:
                self._changed.notify_all()
                self._changed.wait_for(lambda: not self._scene.backlog() or self._has_ended(), GONE_S)

    def _reach(self, wanted: Wanted) -> None:
        with self._changed:
            self._wanted = wanted
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._reached is wanted or self._has_ended(), GONE_S)

    def _has_ended(self) -> bool:
        return self._reached is Wanted.STOP

    def _run(self) -> None:
        wanted = Wanted.DRAW
        try:
            while self._show(wanted) and wanted is not Wanted.STOP:
                wanted = self._next(wanted)
        finally:
            with self._changed:
                self._reached = Wanted.STOP
                self._changed.notify_all()

    def _next(self, reached: Wanted) -> Wanted:
        """What the next frame is for, when it is time for one."""
        with self._changed:
            self._reached = reached
            self._changed.notify_all()
            self._changed.wait_for(self._is_urgent, FRAME_S)
            return self._wanted

    def _is_urgent(self) -> bool:
        return self._wanted is not self._reached or self._scene.backlog() > BACKLOG_MAX

    def _show(self, wanted: Wanted) -> bool:
        """Draw one frame; False where the terminal is gone."""
        size = size_of(self._out)
        with self._changed:
            drawn = wanted is Wanted.DRAW and self._modes.is_ours()
            text = self._region.redrawn(self._scene.take_above(size), self._scene.lines(size) if drawn else (), size)
        try:
            self._out.write(text)
            self._out.flush()
        except OSError:
            return False
        return True
