"""Shared by every unit test."""

from __future__ import annotations

import signal

from hypothesis import settings

# The same few examples in every run, and no deadline: a loaded machine is slow, not wrong.
settings.register_profile("unit", derandomize=True, deadline=None, database=None, max_examples=50)
settings.load_profile("unit")

for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        # In the background, or under nohup(1). What a test starts would ignore it, too: an ignored signal stays ignored
        # across execve(2), one that has a handler does not.
        signal.signal(number, lambda _number, _frame: None)
