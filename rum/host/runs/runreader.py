"""Reading a run to its end, over as many connections as it takes: nothing lost, nothing doubled."""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rum.host.channel.checked import check_message
from rum.host.channel.client import CALL_PATIENCE_S, AgentConnection, AgentError, LostError, is_result, open_agent
from rum.host.channel.guest import Guest
from rum.host.channel.reach import (
    TAIL_LINES,
    StoppedError,
    boot_deadline,
    reach_agent,
    require_undestroyed,
    require_unpaused,
    wait_for_agent,
)
from rum.host.channel.wire import script_to_json
from rum.host.deadlines import Check, Deadline, no_check
from rum.host.errors import GuestError
from rum.host.events import Emit, Notice
from rum.host.interrupts import FirstInterrupt
from rum.host.outcome import while_script
from rum.host.runs.records import RunCopies
from rum.host.runs.runview import RunView
from rum.protocol import ErrorCode, Message, ProvisionScript


@dataclass(frozen=True)
class LatestRun:
    """The guest's latest run by its `run_started`, and the boot that the guest is in."""

    started: Message
    this_boot: object

    @property
    def run_id(self) -> str:
        """Its id."""
        return str(self.started["run_id"])

    @property
    def boot_id(self) -> object:
        """The boot that it is of."""
        return self.started.get("boot_id")


SNAPSHOT_PATIENCE_S = 300.0
"""For what a record holds so far, 128 MiB at most: even an emulated guest sends ten times as fast."""

FRUITLESS_MAX = 5
"""Connections lost in a row without anything new of the run: reading on would be lost time and again."""

CANCEL_PATIENCE_S = 10.0
"""For the second connection that carries a `cancel`; a second Ctrl+C ends the wait earlier."""


class RunReader:
    """Starts runs and attaches to them. `interrupt` is looked at while a run is read: it cancels that run, once.

    `check` is called meanwhile as well; what it raises ends the reading.
    """

    def __init__(
        self,
        guest: Guest,
        emit: Emit,
        interrupt: FirstInterrupt,
        patience: Callable[[Guest], Deadline] = boot_deadline,
        check: Check = no_check,
    ) -> None:
        self._check = check
        self._patience = patience
        self.guest = guest
        self.emit = emit
        self.copies = RunCopies(guest.paths.runs)
        self.interrupt = interrupt
        self._cancelled = False
        self._lost: list[AgentConnection] = []

    def connect(self) -> AgentConnection:
        """A new connection to an agent that has been up before; it may just be on its way back."""
        deadline = self._patience(self.guest)
        connection = wait_for_agent(self.guest, deadline, self.emit, "waiting for the agent", self._maybe_leave)
        # Only now: a close is an event, too, and the daemon dies of events while the guest's driver is down.
        self.close()
        return connection

    def keep_lost(self, connection: AgentConnection) -> None:
        """Leave a connection that was lost open until the next one stands."""
        self._lost.append(connection)

    def close(self) -> None:
        """Close the connections that were lost; the reader can still be used."""
        while self._lost:
            self._lost.pop().close()

    def _maybe_leave(self) -> None:
        """Without a connection there is nothing to cancel, unless that was done and its result is still to be read."""
        if self.interrupt.requested and not self._cancelled:
            raise KeyboardInterrupt

    def provision(self, scripts: Sequence[ProvisionScript], mode: str) -> RunView:
        """Have the scripts run and read that run to its end.

        Raises LostError where the connection was lost before the run had a name, AgentError (`busy` among others).
        """
        view = RunView(self.emit, self.copies)
        params: Message = {"scripts": [script_to_json(script) for script in scripts], "mode": mode}
        return self._read(view, self.connect(), "provision", params)

    def attach(self, view: RunView, *, follow: bool = True) -> RunView:
        """Read on with the run that the view has begun, or with the latest one. Raises AgentError `not-found`."""
        return self._read(view, self.connect(), "attach", attach_params(view, follow=follow))

    def latest(self) -> LatestRun:
        """The guest's latest run, without reading it. Raises AgentError `not-found` where there was none."""
        with self.connect() as connection:
            connection.send_request("attach", {"run_id": None, "offset": 0, "follow": False})
            for received in connection.events(deadline=Deadline(CALL_PATIENCE_S)):
                check_message("run_started", received.message or {})
                return LatestRun(received.message or {}, connection.welcome.get("boot_id"))
        raise LostError("the connection to the agent ended before the result")

    def _read(self, view: RunView, connection: AgentConnection, method: str, params: Message) -> RunView:
        follow = params.get("follow", True)
        deadline = None if follow else Deadline(SNAPSHOT_PATIENCE_S)
        offsets = collections.deque([view.offset], FRUITLESS_MAX + 1)
        try:
            while not self._read_once(view, connection, method, params, deadline):
                offsets.append(view.offset)
                if offsets.count(view.offset) > FRUITLESS_MAX:
                    raise GuestError(
                        f"the agent was lost {FRUITLESS_MAX} times in a row at the same place of run {view.run_id}",
                        hint="run `rum down` and `rum up` to start the VM again",
                    )
                connection, method, params = self.connect(), "attach", attach_params(view, follow=follow)
        except BaseException:
            view.close()
            raise
        return view

    def _read_once(
        self, view: RunView, connection: AgentConnection, method: str, params: Message, deadline: Deadline | None
    ) -> bool:
        """Whether the answer came to its end; after False an `attach` goes on where this one has stopped."""
        try:
            connection.send_request(method, params)
            self._take_all(view, connection, deadline)
        except LostError as exc:
            self.keep_lost(connection)
            if view.run_id is None or (deadline is not None and deadline.expired):
                raise
            self._on_loss(view, exc)
            return False
        except AgentError as exc:
            connection.close()
            if view.offset and exc.agent_code == ErrorCode.NOT_FOUND.value:
                raise forgotten(view) from exc
            if not (view.offset and exc.agent_code == ErrorCode.BAD_REQUEST.value):
                raise
            # The guest died and its record is shorter than what was already shown here: only the result is new.
            view.skip_to_result()
            return False
        except BaseException:
            connection.close()
            raise
        return True

    def _take_all(self, view: RunView, connection: AgentConnection, deadline: Deadline | None) -> None:
        for received in connection.events(lambda: self._look_around(view), deadline):
            view.take(received)
            if is_result(received):
                connection.acknowledge()

    def _on_loss(self, view: RunView, cause: LostError) -> None:
        during = while_script(view.script)
        if not self.guest.is_running():
            require_undestroyed(self.guest)
            require_unpaused(self.guest)
            raise StoppedError(
                f"VM {self.guest.name} stopped{during}",
                hint="run `rum up` to start it again; what is known of the run: `rum logs`",
                tail=self.guest.console_tail(TAIL_LINES),
                code="not-running",
            ) from cause
        self.emit(Notice(f"{cause}{during}; connecting again", warning=True))

    def _look_around(self, view: RunView) -> None:
        self._check()
        self._maybe_cancel(view)

    def _maybe_cancel(self, view: RunView) -> None:
        if not self.interrupt.requested or self._cancelled:
            return
        self._cancelled = True
        self.emit(Notice("cancelling; press Ctrl+C again to leave at once", warning=True))
        try:
            self._cancel(view.run_id, Deadline(CANCEL_PATIENCE_S))
        except GuestError as exc:
            self.emit(Notice(f"the run could not be cancelled: {exc}", warning=True))

    def _cancel(self, run_id: str | None, deadline: Deadline) -> None:
        """Ask for the run's end on a connection of its own. Raises GuestError."""
        with open_agent(self.guest.endpoint(), self.guest.key(), self.guest.vm_id(), deadline) as connection:
            connection.call("cancel", {"run_id": run_id}, deadline)


class GlanceReader(RunReader):
    """For one look at an agent that has just answered: libvirt is not asked whether its VM runs."""

    def connect(self) -> AgentConnection:
        """A connection. Raises GuestError."""
        return reach_agent(self.guest, self.emit)


class ForgottenRunError(GuestError):
    """The guest died in the run's first script, and has not kept anything of it."""


def forgotten(view: RunView) -> ForgottenRunError:
    """The sentence for such a run."""
    return ForgottenRunError(
        f"the guest was reset{while_script(view.script)}, and has kept nothing of that run",
        hint="run the same command again: nothing of the run counts as done",
    )


def attach_params(view: RunView, *, follow: bool) -> Message:
    """The request for what the view has not taken yet."""
    return {"run_id": view.run_id, "offset": view.offset, "follow": follow}
