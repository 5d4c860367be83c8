"""The loop's timers; everything else of it shows in the agent."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from rum.agent import loop as module
from rum.agent.loop import Loop, Timer
from tests.unit.agent.harness import wait_until


def test_timers_are_called_when_they_are_due_and_in_order() -> None:
    loop = Loop()
    called: list[int] = []
    for number in (3, 1, 2):
        loop.call_later(number / 1000, partial(called.append, number))
    loop.call_later(0.002, lambda: called.append(0)).cancel()
    loop.call_later(0.004, loop.stop)
    loop.run()
    assert called == [1, 2, 3]


def test_cancelled_timers_do_not_pile_up_until_they_would_be_due() -> None:
    """A command with a limit of a day costs nothing once it is over."""
    loop = Loop()
    called: list[int] = []
    for number in range(5000):
        loop.call_later(86400, loop.stop).cancel()
        if number % 1000 == 0:
            loop.call_later(number / 1_000_000, partial(called.append, number))
    assert sum(isinstance(thing, Timer) for thing in gc.get_objects()) < 1100
    loop.call_later(0.1, loop.stop)
    loop.run()
    assert called == [0, 1000, 2000, 3000, 4000]


def test_many_that_are_wanted_are_all_called() -> None:
    loop = Loop()
    called: list[int] = []
    for number in range(3000):
        loop.call_later(0.0, partial(called.append, number))
    loop.call_later(0.0, loop.stop)
    loop.run()
    assert called == list(range(3000))


def test_a_callback_that_raises_is_reported_and_ends_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    loop = Loop()
    called: list[int] = []
    loop.call_later(0.0, lambda: called.append(1 // 0))
    loop.call_later(0.0, partial(called.append, 1))
    loop.call_later(0.0, loop.stop)
    loop.run()
    assert called == [1]
    error = capfd.readouterr().err
    assert error.startswith("Traceback (most recent call last)")
    assert error.endswith("ZeroDivisionError: integer division or modulo by zero\n")


STANDING_STILL = """
import os
from rum.agent import loop as module
module.LOOK_EVERY_S, module.LATE_S = 0.05, 0.5
loop = module.Loop()
def say(word):
    os.write(1, word)
loop.call_later(1.5, lambda: (say(b"due\\n"), loop.stop()))
loop.call_later(0.0, lambda: say(b"begun\\n"))
def tick():
    say(b"tick\\n")
    loop.call_later(0.05, tick)
loop.call_later(0.05, tick)
loop.run()
"""


def test_time_in_which_the_machine_stood_still_does_not_count() -> None:
    """A suspended host stops everything in the guest but its clocks: a script must not be timed out by that."""
    with subprocess.Popen([sys.executable, "-c", STANDING_STILL], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"begun\n"
        os.kill(child.pid, signal.SIGSTOP)
        wait_until(lambda: Path(f"/proc/{child.pid}/stat").read_text().split()[2] == "T", "its standstill")
        # Longer than what it waits for.
        stood_still_since = time.monotonic()
        wait_until(lambda: time.monotonic() - stood_still_since > 2, "the time to pass")
        os.kill(child.pid, signal.SIGCONT)
        said = child.stdout.read().split()
    # A loop that wakes late has a tick that is due in the same round after it.
    assert said.index(b"due") > 5, "what it had left it got"


STOPPED_AT_WORK = """
import os, signal, time
from rum.agent import loop as module
module.LATE_S = 0.5
loop = module.Loop()
went_on = []
reader, writer = os.pipe()
os.write(writer, b"x")
def work(_events):
    if not went_on:
        os.kill(os.getpid(), signal.SIGSTOP)
        went_on.append(time.monotonic())
loop.watch(reader, work).want(module.READ)
def due():
    os.write(1, b"%f" % (time.monotonic() - went_on[0]))
    loop.stop()
loop.call_later(1.5, due)
loop.run()
"""


def test_nor_does_it_where_the_machine_stops_while_a_callback_is_at_work() -> None:
    with subprocess.Popen([sys.executable, "-c", STOPPED_AT_WORK], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        wait_until(lambda: Path(f"/proc/{child.pid}/stat").read_text().split()[2] == "T", "its standstill")
        stood_still_since = time.monotonic()
        wait_until(lambda: time.monotonic() - stood_still_since > 2, "the time to pass")
        os.kill(child.pid, signal.SIGCONT)
        assert float(child.stdout.read()) > 0.5


def test_a_loop_that_is_merely_late_puts_nothing_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LATE_S", 60.0)
    loop = Loop()
    timer = loop.call_later(0.01, loop.stop)
    due = timer.due
    loop.run()
    assert timer.due == due
