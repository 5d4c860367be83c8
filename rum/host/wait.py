"""`rum wait`: until the agent answers, the VM is provisioned, or a command in it ends with 0.

The VM may be started, by somebody else, while the wait goes on. What can be followed is followed, a run to its end for
example; the rest is asked for about once a second.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rum.host.channel.client import CALL_PATIENCE_S, AgentConnection, LostError, WrongKeyError, open_agent
from rum.host.channel.connect import NotReadyError
from rum.host.channel.guest import Guest
from rum.host.channel.reach import FIRST_TRY_S, TAIL_LINES, StoppedError, wait_for_agent
from rum.host.config.model import Healthcheck
from rum.host.deadlines import Deadline, pause
from rum.host.errors import GuestError
from rum.host.events import Emit, Phase
from rum.host.guest.probe import Tried, probe
from rum.host.outcome import Outcome
from rum.host.progress import SignsOfLife
from rum.host.runs.standing import follow_run, latest_run, unfinished

ASK_EVERY_S = 1.0
TRY_MIN_S = 0.1

NO_ANSWER = "its agent does not answer"
FAIR_S = 1.0
"""An agent that was given less time at the very end has said nothing by its silence."""


class WaitTimeoutError(GuestError):
    """What was waited for has not come in time."""

    code = "timed-out"


class Waiting:
    """One wait for a VM, which need not exist yet. `seen`: what was missing when it was last looked at."""

    def __init__(self, vm: Guest, emit: Emit, timeout_s: float) -> None:
        self.vm = vm
        self.emit = emit
        self.deadline = Deadline(timeout_s)
        self.seen = Tried(False, NO_ANSWER)
        self._signs = SignsOfLife(emit)

    def until(self, goal: Goal) -> Outcome | None:
        """Ask until the goal is reached, or cannot be any more: then how it ended. Raises RumError."""
        while True:
            answer = self._ask(goal)
            if not isinstance(answer, Tried):
                return answer
            self.seen = answer
            self.check()
            self._signs.tell(f"not yet: {self.seen}")
            pause(goal.every_s, self.deadline)

    def _ask(self, goal: Goal) -> Answer:
        fair = self.deadline.remaining() >= FAIR_S
        try:
            return goal.ask(self)
        except (StoppedError, LostError) as exc:
            # What was seen before says more than a look that had no time.
            return self.seen if self.deadline.expired and not fair else Tried(False, str(exc))
        except GuestError:
            self.check()
            raise

    def check(self) -> None:
        """Raises WaitTimeoutError once the time is over."""
        if self.deadline.expired:
            raise WaitTimeoutError(
                f"waited {self.deadline.seconds:g} s for VM {self.vm.name} in vain: {self.seen.how}",
                hint="`rum status` shows what there is; --timeout says how long to wait",
                tail=self.seen.tail,
            )

    def connect(self) -> AgentConnection:
        """A connection to the agent. Raises GuestError, StoppedError where the VM does not run.

        Libvirt is asked only where the agent does not answer at once.
        """
        if self.vm.last_start():
            with contextlib.suppress(NotReadyError, WrongKeyError):
                deadline = self.deadline.at_most(FIRST_TRY_S * self.vm.timeout_factor())
                return open_agent(self.vm.endpoint(), self.vm.key(), self.vm.vm_id(), deadline)
        if not self.vm.is_running():
            raise StoppedError(f"it is {self.vm.state()}" if self.vm.exists() else "it does not exist yet")
        fair = self.deadline.remaining() >= FAIR_S
        try:
            return wait_for_agent(self.vm, self.deadline, self.emit, "waiting for the agent")
        except GuestError:
            if fair and self.deadline.expired:
                self.seen = Tried(False, NO_ANSWER, tuple(self.vm.console_tail(TAIL_LINES)))
            raise


Answer = Tried | Outcome | None
"""What is still missing; how it ended, where it will never come; nothing once it is there."""


@dataclass(frozen=True)
class Goal:
    """What is waited for; `reached` says it in words, for a VM. `ask` raises GuestError."""

    reached: str
    ask: Callable[[Waiting], Answer]
    every_s: float = ASK_EVERY_S


def wait(vm: Guest, emit: Emit, goals: Sequence[Goal], timeout_s: float) -> Outcome:
    """Wait for one goal after the other, at most for so many seconds. Raises RumError."""
    waiting = Waiting(vm, emit, timeout_s)
    start = time.monotonic()
    emit(Phase("wait", "started"))
    status = "failed"
    try:
        for goal in goals:
            ended = waiting.until(goal)
            if ended is not None:
                return ended
        status = "done"
        return Outcome(f"VM {vm.name} {goals[-1].reached}")
    finally:
        emit(Phase("wait", status, round((time.monotonic() - start) * 1000)))


def answers(waiting: Waiting) -> Answer:
    """There is an agent with the VM's key."""
    waiting.connect().close()
    return None


def has_passed(waiting: Waiting) -> Answer:
    """Every script has passed, the boot scripts in this boot; where one has not, the latest run's failure is the end.

    It is not where nothing is missing: `rum up` would have nothing to run either.
    """
    while True:
        with waiting.connect() as connection:
            status = connection.call("status", deadline=waiting.deadline.at_most(CALL_PATIENCE_S))
        run = status.get("run")
        if not isinstance(run, dict):
            break
        waiting.seen = Tried(False, f"run {run.get('run_id')} goes on, with {run.get('script')}")
        ended = follow_run(waiting.connect(), str(run.get("run_id")), waiting.check)
        if ended is not None:
            return ended
    missing = unfinished(status)
    if not missing:
        return None
    return latest_run(waiting.connect(), status.get("boot_id"), waiting.check) or Tried(False, missing)


def passes(command: str, limit_s: float | None = None) -> Callable[[Waiting], Answer]:
    """The command line ends with 0. A try may take as long as the wait does, unless it has a limit in seconds."""

    def ask(waiting: Waiting) -> Answer:
        left_s = max(TRY_MIN_S, waiting.deadline.remaining())
        tried = probe(waiting.connect(), command, min(limit_s or left_s, left_s))
        return None if tried.passed else Tried(False, f"the last try: {tried.how}", tried.tail)

    return ask


def healthy(check: Healthcheck | None) -> list[Goal]:
    """What is waited for beyond being provisioned; nothing where rum.toml has no healthcheck."""
    return [] if check is None else [Goal("is healthy", passes(check.command, check.try_timeout_s), check.interval_s)]


AGENT = Goal("has an agent that answers", answers)
PROVISIONED = Goal("is provisioned", has_passed)
