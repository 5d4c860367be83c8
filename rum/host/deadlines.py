"""Deadlines, and waiting for time to pass or a socket to be ready."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable
from typing import TypeVar

R = TypeVar("R")

CHECK_EVERY_S = 0.5
"""How often a wait asks whether it still makes sense: soon enough for a Ctrl+C to be felt."""

Check = Callable[[], None]


def no_check() -> None:
    """The check of a wait whose other side cannot be asked whether it lives."""


class OvertimeError(Exception):
    """A call that knows no deadline has not ended in its time."""


class Deadline:
    """A moment on the monotonic clock; passed on as it is, so that nested waits cannot add up."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left, 0 once it has passed."""
        return max(0.0, self._end - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether it has passed."""
        return self.remaining() == 0.0

    def at_most(self, seconds: float) -> Deadline:
        """The earlier of this deadline and one in `seconds`."""
        return Deadline(min(seconds, self.remaining()))


def pause(seconds: float, deadline: Deadline) -> None:
    """Let time pass between two attempts, not beyond the deadline."""
    time.sleep(min(seconds, deadline.remaining()))


def wait_readable(sock: socket.socket, deadline: Deadline, check: Check = no_check) -> bool:
    """Whether there is something to read (or an end) before the deadline; `check` may raise to end the wait."""
    return _wait(sock, select.POLLIN, deadline, check)


def wait_writable(sock: socket.socket, deadline: Deadline, check: Check = no_check) -> bool:
    """Whether the socket takes bytes (or has failed) before the deadline; `check` may raise to end the wait."""
    return _wait(sock, select.POLLOUT, deadline, check)


def _wait(sock: socket.socket, event: int, deadline: Deadline, check: Check) -> bool:
    poller = select.poll()
    poller.register(sock, event)
    while True:
        check()
        if poller.poll(1000 * min(CHECK_EVERY_S, deadline.remaining())):
            return True
        if deadline.expired:
            return False


def within(seconds: float, call: Callable[[], R], errors: type[Exception]) -> R:
    """What a call that knows no deadline returns; its errors of that kind are raised here.

    Raises OvertimeError where it takes longer; nothing ends it then.
    """
    results: list[R] = []
    raised: list[Exception] = []
    ended = threading.Event()

    def make() -> None:
        try:
            results.append(call())
        except errors as exc:
            raised.append(exc)
        finally:
            ended.set()

    # A daemon: what has not ended may never do so, and must not keep this process alive.
    threading.Thread(target=make, daemon=True).start()
    if not ended.wait(seconds):
        raise OvertimeError(f"a call has not ended within {seconds:g} s")
    if raised:
        raise raised[0]
    (result,) = results
    return result
