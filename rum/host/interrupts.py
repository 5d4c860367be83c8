"""Signals that end a command, that only ask for an end, and that are meant for somebody else."""

from __future__ import annotations

import collections
import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Self

from rum.host.errors import EXIT_SIGNAL_BASE

LEAVING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

IMPORTER = "<frozen importlib._bootstrap>"
"""The file name of the interpreter's own code that loads modules."""

IMPORT_S = 2.0
"""How long an import may take that a signal must not meet."""

AGAIN_S = 0.005

WAKE_UPS = 4096
"""Bytes that are taken at once of what the interpreter writes for each signal."""


class SignalExit(SystemExit):
    """A signal ends this command. `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(EXIT_SIGNAL_BASE + number)
        self.number = number


class Leaver:
    """A handler that ends what is under way by an exception, so that it cleans up after itself.

    Not in the middle of an import: the callbacks of weak references would swallow it there, and before Python 3.12
    __set_name__ makes a RuntimeError of it. The signal comes again a little later; an import that hangs is cut off.
    """

    def __init__(self) -> None:
        self._patient_until: float | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._patient_until is None:
            self._patient_until = now + IMPORT_S
        if now < self._patient_until and is_importing(frame):
            # By the handler that there is then: the signal may only be noted by that time.
            signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(number))
            signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            raise SignalExit(number)


def is_importing(frame: FrameType | None) -> bool:
    """Whether this frame was called by an import."""
    while frame is not None:
        if frame.f_code.co_filename == IMPORTER:
            return True
        frame = frame.f_back
    return False


@contextmanager
def leaving_on_signals() -> Iterator[None]:
    """SIGINT and its like end the block in order; those that were ignored before (nohup) stay ignored."""
    previous = {number: signal.getsignal(number) for number in LEAVING}
    leave = Leaver()
    for number, handler in previous.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, leave)
    try:
        yield
    finally:
        # One that was put off has nothing left to end.
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def deferred_signals() -> Iterator[None]:
    """What signals ask for within the block happens at its end; it must be short, and not be cut in two."""
    with NotedSignals(LEAVING) as noted:
        yield
        asked = noted.take()
    for number in asked:
        signal.raise_signal(number)


class FirstInterrupt:
    """Within its block the first SIGINT sets `requested`; the second raises KeyboardInterrupt wherever it meets us."""

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> Self:
        self._previous = signal.getsignal(signal.SIGINT)
        if self._previous is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._previous)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


class NotedSignals:
    """Within its block these signals are noted, and make `fileno` readable for whoever polls.

    With `once`, the same signal a second time does what it did before the block. What was ignored stays ignored.
    """

    def __init__(self, numbers: Iterable[int], *, once: bool = False) -> None:
        self._numbers = tuple(numbers)
        self._once = once
        self._noted: collections.deque[int] = collections.deque()
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # A signal that comes while poll(2) waits is no reason for Python to return from it (PEP 475).
        self._woken_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in self._numbers:
            handler = signal.getsignal(number)
            if handler is not signal.SIG_IGN:
                self._previous[number] = handler
                signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in list(self._previous):
            self._restore(number)
        signal.set_wakeup_fd(self._woken_before)
        os.close(self._reader)
        os.close(self._writer)

    def fileno(self) -> int:
        """Readable once a signal has come, until `take`."""
        return self._reader

    def take(self) -> list[int]:
        """The signals since the last call, in their order."""
        with suppress(BlockingIOError):
            os.read(self._reader, WAKE_UPS)
        return [self._noted.popleft() for _ in range(len(self._noted))]

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._noted.append(number)
        if self._once:
            self._restore(number)

    def _restore(self, number: int) -> None:
        signal.signal(number, self._previous.pop(number))  # type: ignore[arg-type]
