"""What a script waits for before it starts. Every wait is bounded and falls away where there is nothing to wait for."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import Callable, Optional

from rum.agent.loop import Loop, Timer
from rum.agent.settings import Settings
from rum.protocol.limits import WAIT_MAX_S
from rum.protocol.scripts import After

POLL_S = 0.1
QUIET_S = 0.5
"""A wait is announced only when it takes longer than this."""

Announce = Callable[[After], None]
Done = Callable[[Optional[str]], None]
"""Called at the end of a wait, with a sentence where it did not end as it should."""


def has_network_card(settings: Settings) -> bool:
    """Whether there is any interface that could ever be online."""
    directory = settings.path("/sys/class/net")
    return os.path.isdir(directory) and any(name != "lo" for name in os.listdir(directory))


def steps_before(after: After, settings: Settings) -> list[After]:
    """What really has to be waited for, in order."""
    if after is After.LOCAL_FS or not settings.has_systemd:
        return []
    steps = [After.NETWORK_ONLINE] if has_network_card(settings) else []
    if after is After.CLOUD_INIT and cloud_init_will_finish(settings):
        steps.append(After.CLOUD_INIT)
    return steps


def cloud_init_will_finish(settings: Settings) -> bool:
    """Whether cloud-init is enabled in this boot and still has to write its result."""
    run_dir = settings.path("/run/cloud-init")
    if not os.path.isdir(run_dir) or os.path.exists(os.path.join(run_dir, "disabled")):
        return False
    return not cloud_init_finished(settings)


def cloud_init_finished(settings: Settings) -> bool:
    """Whether cloud-init has written its result, which is the last thing it does in a boot."""
    return os.path.exists(settings.path("/run/cloud-init/result.json"))


class Wait:
    """Waits for the steps one after the other."""

    def __init__(self, loop: Loop, settings: Settings, after: After) -> None:
        self._loop = loop
        self._settings = settings
        self._steps = steps_before(after, settings)
        self._limits: list[Timer] = []
        self._next_look: Timer | None = None
        self._child: subprocess.Popen[bytes] | None = None

    def begin(self, announce: Announce, done: Done) -> None:
        """Wait, and then call `done`, at once where there is nothing to wait for; never after `cancel`."""
        self._announce = announce
        self._done = done
        self._next()

    def cancel(self) -> None:
        """Stop waiting; `done` is not called any more."""
        for timer in (*self._limits, *filter(None, [self._next_look])):
            timer.cancel()
        self._drop_child()

    def _next(self) -> None:
        if not self._steps:
            self._done(None)
            return
        step = self._step = self._steps.pop(0)
        if step is After.NETWORK_ONLINE:
            self._child = join_network_online()
        # Timers and no look at the clock: a standstill of the machine counts for neither.
        self._limits = [
            self._loop.call_later(QUIET_S, lambda: self._announce(step)),
            self._loop.call_later(WAIT_MAX_S, self._give_up),
        ]
        self._look()

    def _look(self) -> None:
        if self._reached():
            self.cancel()
            self._next()
        else:
            self._next_look = self._loop.call_later(POLL_S, self._look)

    def _give_up(self) -> None:
        self.cancel()
        self._done(f"{self._step.value} was not reached within {WAIT_MAX_S:.0f} s; the script runs all the same")

    def _reached(self) -> bool:
        if self._step is After.CLOUD_INIT:
            return cloud_init_finished(self._settings)
        return self._child is None or self._child.poll() is not None

    def _drop_child(self) -> None:
        if self._child and self._child.poll() is None:
            self._child.send_signal(signal.SIGKILL)
            self._child.wait()
        self._child = None


def join_network_online() -> subprocess.Popen[bytes] | None:
    """A process that ends when the target is reached, which it also pulls in: nothing else in an image may want it."""
    try:
        return subprocess.Popen(
            ["systemctl", "start", "network-online.target"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return None


def release_network_wait(settings: Settings) -> None:
    """Without a network card nothing can come online, yet systemd-networkd-wait-online takes 120 s to say so.

    Stopping it takes its job out of the boot; what is ordered after it goes on.
    """
    if not (settings.in_guest and settings.has_systemd) or has_network_card(settings):
        return
    units = ["systemd-networkd-wait-online.service", "NetworkManager-wait-online.service"]
    subprocess.run(["systemctl", "stop", "--no-block", *units], check=False, stderr=subprocess.DEVNULL)
