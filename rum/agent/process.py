"""One process under supervision: its output read to the end, its end noticed at once, its whole tree stopped on demand.

It is over when its main process exits. What is in the pipes then is read, a second is allowed for stragglers, and what
it left in the background lives on with its output drained. When it is being stopped, it is over when all of it is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import Callable, NamedTuple

from rum.agent.containment import Cgroup, Session, kill_now, send_signal
from rum.agent.loop import READ, Loop, Timer
from rum.agent.pump import Pump
from rum.agent.spawn import Command, spawn
from rum.agent.strays import Strays
from rum.protocol.limits import KILL_AFTER_S, STRAGGLER_S

POLL_S = 0.02

HUNG_UP_S = 1.0
"""From SIGHUP to SIGTERM: enough for an editor to save what it has."""


class Ending(NamedTuple):
    """How a process ended: exactly one of `exit_code` and `signal` is set. The duration is in milliseconds."""

    exit_code: int | None
    signal: int | None
    timed_out: bool
    duration_ms: int

    @property
    def passed(self) -> bool:
        return self.exit_code == 0 and not self.timed_out


def start(
    loop: Loop,
    command: Command,
    standard: tuple[int, int, int],
    held: Cgroup | Session,
    pumps: list[Pump],
    on_ending: Callable[[Ending], None],
) -> Process:
    """Start the command with these standard descriptors, and look after it. Raises StartError, OSError."""
    child = spawn(command, standard, held)
    try:
        return Process(loop, child, held, pumps, on_ending)
    except OSError:
        # Nobody would see its end.
        child.kill()
        kill_now(held)
        child.wait()
        raise


class Process:
    """Owns a started child and its pumps until the end, which it reports once."""

    def __init__(
        self,
        loop: Loop,
        child: subprocess.Popen[bytes],
        held: Cgroup | Session,
        pumps: list[Pump],
        on_ending: Callable[[Ending], None],
    ) -> None:
        self._loop = loop
        self._child = child
        self._held = held
        self._strays = Strays()
        self._pumps = pumps
        self._on_ending = on_ending
        self._started = time.monotonic()
        self._ended = 0.0
        self._reported = False
        self._timers: list[Timer] = []
        self._next_check: Timer | None = None
        self._stopping = False
        self._hung_up = False
        self._killed = False
        self._all_gone = False
        self._timed_out = False
        held.started(child.pid)
        self._pidfd = os.pidfd_open(child.pid)
        self._exit_watch = loop.watch(self._pidfd, lambda _events: self._exited())
        self._exit_watch.want(READ)
        for pump in pumps:
            pump.on_end = self._check

    def limit(self, timeout_s: float | None) -> None:
        """Stop the process after so many seconds, None for never."""
        if timeout_s is not None:
            self._timers.append(self._loop.call_later(timeout_s, self._time_is_up))

    def signal(self, number: int) -> None:
        """Send the signal to the process group that the main process leads, unless that has ended."""
        if self._child.returncode is None:
            # A group of an account that some LSM protects even from root.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, number)

    def hang_up(self) -> None:
        """Do what a terminal does whose line is gone; what is left after a second is stopped."""
        if self._hung_up or self._reported:
            return
        self._hung_up = True
        self._signal_all(signal.SIGHUP)
        self._timers.append(self._loop.call_later(HUNG_UP_S, self.stop))

    def stop(self) -> None:
        """TERM for the whole tree, KILL for what is left of it after five seconds."""
        if self._stopping or self._reported:
            return
        self._stopping = True
        self._signal_all(signal.SIGTERM)
        self._timers.append(self._loop.call_later(KILL_AFTER_S, self._kill))

    def _signal_all(self, number: int) -> None:
        if self._child.returncode is None:
            self._strays.find(self._child.pid, self._held.pids())
        # A stopped process gets the signal only once it goes on.
        for each in (number, signal.SIGCONT):
            send_signal(self._held, each)
            self._strays.signal(each)

    def _time_is_up(self) -> None:
        # What a script that has ended left in the background may take as long as it likes.
        if self._child.poll() is None:
            self._timed_out = True
            self.stop()

    def _kill(self) -> None:
        self._killed = True
        self._strays.kill(self._held.pids())
        kill_now(self._held)
        if self._child.returncode is None:
            # Where what holds it cannot be read.
            self._child.kill()

    def _exited(self) -> None:
        self._child.poll()
        self._exit_watch.want(0)
        os.close(self._pidfd)
        self._ended = time.monotonic()
        if self._hung_up:
            self.stop()
        for pump in self._pumps:
            pump.process_ended()
        self._check()

    def _check(self) -> None:
        """Finish if it is over; called when a pipe has ended, and again soon for what only time can tell."""
        if self._next_check:
            self._next_check.cancel()
        if not self._ended or self._reported:
            return
        over = self._is_over()
        # The last of its pipes may have ended while that was found out.
        if over and not self._reported:
            self._finish()
        elif not over:
            self._next_check = self._loop.call_later(POLL_S, self._check)

    def _is_over(self) -> bool:
        if self._stopping and not self._stopped():
            return False
        if all(pump.at_end for pump in self._pumps):
            return True
        return time.monotonic() - self._ended >= STRAGGLER_S and not any(pump.owes for pump in self._pumps)

    def _stopped(self) -> bool:
        """Whether nothing is left that was to be stopped, or it was killed; what it wrote last is read then."""
        if not self._all_gone:
            if (self._held.pids() or self._strays.living()) and not self._killed:
                return False
            self._all_gone = True
            for pump in self._pumps:
                pump.process_ended()
        return True

    def _finish(self) -> None:
        self._reported = True
        for timer in self._timers:
            timer.cancel()
        for pump in self._pumps:
            pump.detach()
        self._held.remove()
        self._strays.close()
        code = self._child.returncode
        self._on_ending(
            Ending(
                exit_code=code if code >= 0 else None,
                signal=-code if code < 0 else None,
                timed_out=self._timed_out,
                duration_ms=round((self._ended - self._started) * 1000),
            )
        )
