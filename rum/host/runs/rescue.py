"""Before a VM goes down: runs that nobody has read yet are copied, if the guest hands them over quickly."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rum.host.channel.client import AgentConnection, is_result, open_agent
from rum.host.channel.guest import Guest
from rum.host.deadlines import Deadline
from rum.host.errors import GuestError, HostError
from rum.host.events import Emit, Notice
from rum.host.runs.guest_runs import listed
from rum.host.runs.records import RunCopies
from rum.host.runs.runreader import attach_params
from rum.host.runs.runview import RunView
from rum.host.runs.verdicts import summary_verdict
from rum.protocol.summary import RunSummary

PATIENCE_S = 5.0
"""For all of it: a convenience must not keep a VM from going down."""

CONNECT_S = 2.0
"""One attempt: an agent that is there takes milliseconds."""


def copy_unseen(guest: Guest, emit: Emit) -> None:
    """Copy the runs that have ended and are not among the host's copies, and say which; what fails is left behind."""
    copied: list[RunSummary] = []
    with contextlib.suppress(GuestError, HostError):
        copied.extend(unseen_runs(guest, emit))
    if len(copied) == 1:
        text = f"run {copied[0].run_id} had not been seen yet ({summary_verdict(copied[0])})"
        emit(Notice(f"{text}; show it: rum logs --run {copied[0].run_id}"))
    elif copied:
        emit(Notice(f"{len(copied)} runs had not been seen yet; `rum logs --list` shows them"))


def unseen_runs(guest: Guest, emit: Emit) -> Iterator[RunSummary]:
    """Copies runs, each of which is then yielded, oldest first. Raises GuestError, HostError."""
    if guest.last_start() is None:
        return
    deadline = Deadline(PATIENCE_S)
    copies = RunCopies(guest.paths.runs)
    with dial(guest, deadline) as connection:
        runs = listed(connection, deadline)
    for run in runs:
        if not run.running and not copies.has(run.run_id):
            with dial(guest, deadline) as connection:
                copy_run(connection, RunView(emit, copies, quiet=True, run_id=run.run_id), deadline)
            if copies.has(run.run_id):
                yield run


def dial(guest: Guest, deadline: Deadline) -> AgentConnection:
    """One attempt to reach the agent. Raises GuestError, HostError."""
    return open_agent(guest.endpoint(), guest.key(), guest.vm_id(), deadline.at_most(CONNECT_S))


def copy_run(connection: AgentConnection, view: RunView, deadline: Deadline) -> None:
    """Read a run that has ended into its copy. Raises GuestError."""
    with contextlib.closing(view):
        connection.send_request("attach", attach_params(view, follow=False))
        for received in connection.events(deadline=deadline):
            view.take(received)
            if is_result(received):
                connection.acknowledge()
