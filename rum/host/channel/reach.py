"""Waiting for the agent of a VM that boots: attempts, what the wait shows, and why it ends early."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rum.host.channel.client import AgentConnection, LostError, WrongKeyError, open_agent
from rum.host.channel.connect import NotReadyError
from rum.host.channel.guest import Guest
from rum.host.console import PANIC, is_hopeless
from rum.host.console_tail import ConsoleTail
from rum.host.deadlines import Check, Deadline, no_check, pause
from rum.host.errors import GuestError, HostError
from rum.host.events import ConsoleLine, Emit, Notice

if TYPE_CHECKING:
    from rum.host.file_growth import FileGrowth

RETRY_S = 0.25
"""Between two attempts that fail at once, unless the console tells of the agent."""

AGENT_LINE = re.compile(r"rum-agent|rum guest agent")
"""What systemd says on the console when the unit is up, by its name or its description."""

SIGN_OF_LIFE_S = 15.0
"""A wait says at least so often what it waits for."""

WRONG_KEY_MAX = 3
"""An agent that is just being restarted closes connections too, but not time and again right after the proof."""

TAIL_LINES = 15
BOOT_LINES = 10_000
"""More than a boot prints."""

LAST_WORDS = 3
"""A panic ends with a line that names it again; after a reboot other lines follow."""


KERNEL_CLOCK = re.compile(r"^\[ *\d+\.\d+\] ")
LINE_SHOWN = 50
"""Characters of the console's last line: with what is said about it, one line of a terminal."""

FIRST_TRY_S = 2.0
"""For an agent that is there: connecting takes milliseconds, and what takes longer is looked into."""

ROOM_HINT = "make room on that disk, then `rum up` lets the VM go on: nothing in it is lost"

NOTICED_WITHIN_S = 2.0
"""libvirt takes a moment to notice that a QEMU has ended; the guest's connections have ended by then."""

NOTICED_PAUSE_S = 0.1

SHORT_PATIENCE_S = 30.0
"""For commands that expect the agent to be up already; an agent that crashed is started again after 2 s."""


class StoppedError(GuestError):
    """The VM does not run, or no longer."""

    code = "not-running"


class PausedError(StoppedError):
    """The VM stands still; it goes on where it was once it is let."""


class BootWatch:
    """What a wait does every half a second: fail if the VM is dead, pass on the console, give a sign of life."""

    def __init__(self, guest: Guest, emit: Emit, waiting_for: str, also: Check, console_growth: FileGrowth) -> None:
        self._guest = guest
        self._console_growth = console_growth
        self._also = also
        self._emit = emit
        self._waiting_for = waiting_for
        self._console = ConsoleTail(guest.paths.console_log)
        self._last_line = ""
        self._start = self._last_sign = time.monotonic()

    def pause(self, deadline: Deadline) -> None:
        """Let time pass until another attempt may succeed. Raises GuestError for a panic."""
        until = deadline.at_most(RETRY_S)
        while not until.expired:
            self._console_growth.wait(until.remaining())
            if self._pass_on_console():
                return

    def check(self) -> None:
        """Raises GuestError where waiting on makes no sense."""
        self._also()
        self._pass_on_console()
        require_alive(self._guest)
        now = time.monotonic()
        if now - self._last_sign >= SIGN_OF_LIFE_S:
            self._last_sign = now
            self._emit(Notice(self._sign_of_life(now - self._start), passing=True))
            # Not at once: in later boots an agent is there that does not need cloud-init.
            require_hope(self._guest)

    def _sign_of_life(self, seconds: float) -> str:
        shown = f"; the console says: {shortened(self._last_line)}" if self._last_line else ""
        return f"still {self._waiting_for}, {seconds:.0f} s{shown}"

    def _pass_on_console(self) -> bool:
        """Whether something of it is about the agent."""
        lines = self._console.new_lines()
        for line in lines:
            self._last_line = line
            self._emit(ConsoleLine(line))
            if PANIC in line:
                raise panicked(self._guest)
        return any(AGENT_LINE.search(line) for line in lines)

    def check_past(self) -> None:
        """Raises GuestError where the console's last words, from before this wait, are a panic's."""
        if any(PANIC in line for line in self._guest.console_tail(LAST_WORDS)):
            raise panicked(self._guest)


def shortened(line: str) -> str:
    """The line without the kernel's clock, cut to what fits beside a few words."""
    return KERNEL_CLOCK.sub("", line)[:LINE_SHOWN]


def panicked(guest: Guest) -> GuestError:
    """The sentence for a guest that will never answer."""
    return GuestError(
        f"VM {guest.name} cannot boot: {guest.diagnose_boot()}",
        hint="`rum down` and `rum up` try again; if it always ends like this, another image or more memory may help",
        tail=guest.console_tail(TAIL_LINES),
        code="boot-failed",
    )


def require_alive(guest: Guest) -> None:
    """Raises StoppedError where the VM is dead or paused, GuestError where the host's half of the channel is dead."""
    if not guest.is_running():
        require_undestroyed(guest)
        require_unpaused(guest)
        raise StoppedError(
            f"VM {guest.name} stopped while rum was waiting for it: {guest.diagnose_boot()}",
            hint="run `rum up` to start it again",
            tail=guest.console_tail(TAIL_LINES),
        )
    if not guest.transport_alive():
        raise GuestError(
            f"the vsock daemon of VM {guest.name} has died, so its agent cannot be reached",
            hint="run `rum down` and `rum up`, which starts both again",
        )


def require_undestroyed(guest: Guest) -> None:
    """Raises StoppedError where the VM that there was is no more."""
    if not guest.exists():
        text = f"VM {guest.name} was destroyed while rum was waiting for it"
        raise StoppedError(text, hint="run `rum up` to create it anew")


def require_unpaused(guest: Guest) -> None:
    """Raises PausedError where the VM is paused."""
    if guest.state() == "paused":
        why = why_paused(guest)
        raise PausedError(f"VM {guest.name} is paused{why}", hint=ROOM_HINT if why else "`rum up` lets it go on")


def why_paused(guest: Guest) -> str:
    """The part of a sentence on a paused VM that says why, empty where somebody has asked for it."""
    return f", because the disk of {guest.paths.state} is full" if guest.is_out_of_space() else ""


@contextlib.contextmanager
def explained_loss(guest: Guest) -> Iterator[None]:
    """An agent that is lost because its VM has ended or stands still: that is said. Raises StoppedError, LostError."""
    try:
        yield
    except LostError as exc:
        with contextlib.suppress(HostError):
            require_unstopped(guest, exc)
        exc.tail = exc.tail or tuple(guest.console_tail(TAIL_LINES))
        raise


def require_unstopped(guest: Guest, loss: LostError) -> None:
    """Raises StoppedError where the VM's end is why the agent was lost."""
    noticed = Deadline(NOTICED_WITHIN_S)
    while guest.is_running():
        if noticed.expired:
            return
        pause(NOTICED_PAUSE_S, noticed)
    require_undestroyed(guest)
    require_unpaused(guest)
    tail = guest.console_tail(TAIL_LINES)
    raise StoppedError(f"VM {guest.name} stopped", hint="run `rum up` to start it again", tail=tail) from loss


def require_hope(guest: Guest) -> None:
    """Raises GuestError where nothing will install an agent any more."""
    if is_hopeless(guest.console_tail(BOOT_LINES)):
        raise GuestError(
            f"VM {guest.name} cannot be provisioned: {guest.diagnose_boot()}",
            hint="`rum destroy` and `rum up` create it anew; if it ends like this again, the image cannot be used",
            tail=guest.console_tail(TAIL_LINES),
            code="boot-failed",
        )


def boot_deadline(guest: Guest) -> Deadline:
    """How long a boot may take: `advanced.boot_timeout_s` times the factor of the accelerator."""
    return Deadline(guest.boot_timeout_s * guest.timeout_factor())


def short_deadline(guest: Guest) -> Deadline:
    """How long a command waits for an agent that should be up."""
    return Deadline(SHORT_PATIENCE_S * guest.timeout_factor())


def wait_for_agent(
    guest: Guest, deadline: Deadline, emit: Emit, waiting_for: str = "booting", also: Check = no_check
) -> AgentConnection:
    """An authenticated connection to the agent.

    Raises GuestError at the deadline, at once where the VM is dead, and where another key or VM answers; and whatever
    `also` raises, which is called every half a second.
    """
    # Not above: ctypes is behind it, and most commands find an agent that answers.
    from rum.host.file_growth import FileGrowth

    refused = 0
    seen = "it was never asked"
    with FileGrowth(guest.paths.console_log) as growth:
        watch = BootWatch(guest, emit, waiting_for, also, growth)
        watch.check_past()
        while not deadline.expired:
            watch.check()
            try:
                return _answer(guest, deadline, watch.check)
            except NotReadyError as exc:
                seen = str(exc)
            except WrongKeyError as exc:
                refused += 1
                if refused >= WRONG_KEY_MAX:
                    raise wrong_key(guest, exc) from exc
            watch.pause(deadline)
    raise timed_out(guest, deadline, seen)


def _answer(guest: Guest, deadline: Deadline, check: Check = no_check) -> AgentConnection:
    connection = open_agent(guest.endpoint(), guest.key(), guest.vm_id(), deadline, check)
    guest.note_answer()
    return connection


def require_running(guest: Guest) -> None:
    """Raises GuestError where the VM does not run."""
    if not guest.is_running():
        require_unpaused(guest)
        raise GuestError(how_it_is(guest), hint="run `rum up` first", code="not-running")


def how_it_is(guest: Guest) -> str:
    """A sentence on a VM that does not run."""
    if not guest.exists():
        return f"VM {guest.name} does not exist"
    state = guest.state()
    return f"VM {guest.name} is {state}{why_paused(guest) if state == 'paused' else ''}"


def reach_agent(guest: Guest, emit: Emit) -> AgentConnection:
    """A connection to an agent that should be up. Raises GuestError.

    One that answers is reached at once, without asking libvirt whether its VM runs.
    """
    if guest.last_start():
        with contextlib.suppress(NotReadyError, WrongKeyError):
            deadline = Deadline(FIRST_TRY_S * guest.timeout_factor())
            return _answer(guest, deadline)
    require_running(guest)
    return wait_for_agent(guest, short_deadline(guest), emit, "waiting for the agent")


def wrong_key(guest: Guest, cause: WrongKeyError) -> GuestError:
    """The sentence for a guest that holds another key."""
    return GuestError(
        f"{cause} (VM {guest.name})",
        hint="if the VM was restored or its state directory changed: `rum destroy` and `rum up` create it anew",
        code="wrong-key",
    )


def timed_out(guest: Guest, deadline: Deadline, seen: str) -> GuestError:
    """The sentence for an agent that has not answered in time, with what the console shows."""
    return GuestError(
        f"the agent of VM {guest.name} did not answer within {deadline.seconds:.0f} s ({seen}): "
        f"{guest.diagnose_boot()}",
        hint="look at the console's end; `advanced.boot_timeout_s` in rum.toml sets how long a boot may take",
        tail=guest.console_tail(TAIL_LINES),
        code="agent-timeout",
    )
