"""`rum logs --console`: the serial console since the VM was last started, reboots in between included."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from rum.host.channel.guest import Guest
from rum.host.channel.reach import how_it_is
from rum.host.console_tail import ConsoleTail
from rum.host.deadlines import Check, Deadline, pause
from rum.host.outcome import Outcome
from rum.host.runs.comeback import comes_back

LOOK_EVERY_S = 0.25
ASK_EVERY = 4
"""Looks at the log between two questions to libvirt whether the VM still runs."""

Show = Callable[[str], None]


def console_log(guest: Guest, show: Show, *, follow: bool, check: Check) -> Outcome:
    """Show the log's lines, with `follow` until the VM is off. Raises HostError.

    `check` is called before each look at the log.
    """
    started = guest.last_start()
    if started is None:
        return kept_log(guest, show)
    tail = ConsoleTail(guest.paths.console_log, started.console_offset)
    show_new(tail, show)
    if follow:
        keep_showing(guest, tail, show, check)
    show_rest(tail, show)
    return Outcome(how_it_is(guest) if follow else "")


def keep_showing(guest: Guest, tail: ConsoleTail, show: Show, check: Check) -> None:
    """Show what comes until the VM is off."""
    for looks in itertools.count():
        # Asked before the look, so that the last that a VM says is seen, too.
        goes_on = looks % ASK_EVERY > 0 or guest.is_running()
        check()
        show_new(tail, show)
        if not goes_on and not comes_back(guest, check):
            return
        pause(LOOK_EVERY_S, Deadline(LOOK_EVERY_S))


def show_new(tail: ConsoleTail, show: Show) -> None:
    """Everything that has come since the last time."""
    for line in tail.all_new_lines():
        show(line)


def show_rest(tail: ConsoleTail, show: Show) -> None:
    """The last line, which has no end."""
    if rest := tail.unfinished():
        show(rest)


def kept_log(guest: Guest, show: Show) -> Outcome:
    """What is left of the console of a VM that was destroyed."""
    path = guest.paths.last_console
    if not path.exists():
        return Outcome(f"VM {guest.name} has never been started, so there is no console log")
    tail = ConsoleTail(path, 0)
    show_new(tail, show)
    show_rest(tail, show)
    return Outcome(f"VM {guest.name} does not exist; this was the console of the last one of this name")
