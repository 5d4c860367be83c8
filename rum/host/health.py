"""`[provision.healthcheck]`: whether a VM whose scripts have passed is up."""

from __future__ import annotations

from rum.host.channel.reach import reach_agent
from rum.host.config.model import Healthcheck
from rum.host.deadlines import Deadline, pause
from rum.host.errors import EXIT_SCRIPT_FAILED
from rum.host.events import Emit
from rum.host.guest.configured import ConfiguredGuest
from rum.host.guest.probe import Tried, probe
from rum.host.outcome import Outcome
from rum.host.progress import SignsOfLife, phase

TRY_MIN_S = 0.1


def with_healthcheck(guest: ConfiguredGuest, emit: Emit, outcome: Outcome, command: str) -> Outcome:
    """The outcome of a command that has provisioned the VM, once the healthcheck has had its say. Raises GuestError."""
    check = guest.config.healthcheck
    if outcome.exit or check is None:
        return outcome
    return await_health(guest, emit, check, command) or outcome


def await_health(guest: ConfiguredGuest, emit: Emit, check: Healthcheck, command: str) -> Outcome | None:
    """Try until the healthcheck passes; how it ended where it does not in time. Raises GuestError."""
    try:
        with phase(emit, "healthcheck") as detail:
            tries = tries_until_healthy(guest, emit, check)
            detail.append(f"passed at try {tries}" if tries > 1 else "passed")
    except UnhealthyError as exc:
        return unhealthy(check, exc.tried, command)
    return None


def tries_until_healthy(guest: ConfiguredGuest, emit: Emit, check: Healthcheck) -> int:
    """How many tries it has taken. Raises UnhealthyError where there is no time for another one, GuestError."""
    deadline, told = Deadline(check.timeout_s), SignsOfLife(emit)
    number = 0
    while True:
        number += 1
        limit_s = min(check.try_timeout_s, max(TRY_MIN_S, deadline.remaining()))
        tried = probe(reach_agent(guest, emit), check.command, limit_s)
        if tried.passed:
            return number
        if deadline.remaining() <= check.interval_s:
            raise UnhealthyError(tried)
        told.tell(f"not healthy yet: {tried}")
        pause(check.interval_s, deadline)


class UnhealthyError(Exception):
    """The healthcheck has not passed in time. Attributes: `tried`, its last try."""

    def __init__(self, tried: Tried) -> None:
        super().__init__(str(tried))
        self.tried = tried


def unhealthy(check: Healthcheck, tried: Tried, command: str) -> Outcome:
    """The end of a command whose VM has not become healthy."""
    return Outcome(
        f"the healthcheck has not passed within {check.timeout_s:g} s; the last try: {tried.how}",
        EXIT_SCRIPT_FAILED,
        "unhealthy",
        f"the scripts have passed and the VM is still running: look with `rum shell`, then run `{command}` again",
        tried.tail,
    )
