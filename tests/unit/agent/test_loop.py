"""The loop's timers; everything else of it shows in the agent."""

from __future__ import annotations

import gc
from functools import partial

import pytest

from rum.agent.loop import Loop, Timer


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
