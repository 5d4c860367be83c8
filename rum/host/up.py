"""`rum up` and `rum provision`: the stories, from top to bottom."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from rum.host.channel.guest import Guest
from rum.host.channel.reach import StoppedError, boot_deadline, wait_for_agent
from rum.host.errors import EXIT_INTERRUPTED, GuestError
from rum.host.events import Emit, Notice, Phase
from rum.host.guest.agent_upgrade import upgrade_if_outdated
from rum.host.guest.drive_release import release_drives
from rum.host.guest.guest_settings import update_settings
from rum.host.interrupts import FirstInterrupt
from rum.host.lifecycle import require_running
from rum.host.outcome import Outcome
from rum.host.runs.provisioning import Provisioning
from rum.host.runs.runreader import RunReader
from rum.host.vm.machine import Machine
from rum.protocol import Message, Mode

STALE_STATE_MS = 5000
"""libvirt takes a moment to notice that a QEMU was killed, and until then says that the VM runs."""


def up(machine: Machine, emit: Emit) -> Outcome:
    """Create or start the VM, provision it, return. Raises RumError.

    The lock is held for the first part only: runs are kept apart by the agent, and `rum down` must work meanwhile.
    """
    with machine.lock():
        started = machine.start()
    looked_at = time.monotonic()
    if not started.booted:
        by = f"accelerator {started.accelerator}, transport {started.transport}"
        emit(Notice(f"VM {machine.config.name} runs already; {by}"))
    try:
        welcome = await_agent(machine, emit)
    except StoppedError:
        if started.booted or since(looked_at) > STALE_STATE_MS:
            raise
        emit(Notice(f"VM {machine.config.name} has just died; it is started again", warning=True))
        with machine.lock():
            machine.start()
        welcome = await_agent(machine, emit)
    machine.note_answer()
    upgrade_if_outdated(machine, welcome, emit)
    update_settings(machine, emit)
    return provisioned_and_released(machine, emit, "rum up")


def provision(machine: Machine, emit: Emit, mode: Mode) -> Outcome:
    """Provision a VM that runs. Raises RumError."""
    require_running(machine)
    with wait_for_agent(machine, boot_deadline(machine), emit, "waiting for the agent") as connection:
        welcome = connection.welcome
    upgrade_if_outdated(machine, welcome, emit)
    if mode is Mode.AUTO:
        return provisioned_and_released(machine, emit, "rum provision")
    command = f"rum provision --{mode.value}"
    return provisioned(machine, emit, command, lambda provisioning: provisioning.selected(mode))


def provisioned_and_released(machine: Machine, emit: Emit, command: str) -> Outcome:
    """What has to run has run; drives that rum.toml does not name any more are out of the VM."""
    outcome = provisioned(machine, emit, command, Provisioning.auto)
    if outcome.exit != EXIT_INTERRUPTED:
        release_drives(machine, emit)
    return outcome


def provisioned(guest: Guest, emit: Emit, command: str, work: Callable[[Provisioning], Outcome]) -> Outcome:
    """The work, with a first Ctrl+C that cancels the run instead of leaving it alone."""
    with FirstInterrupt() as interrupt, contextlib.closing(RunReader(guest, emit, interrupt)) as reader:
        drives = guest.drives_script()
        scripts = [*([drives] if drives else []), *guest.config.scripts]
        return work(Provisioning(reader, scripts, command))


def await_agent(guest: Guest, emit: Emit) -> Message:
    """Wait until the agent answers, as a phase of the command; its welcome. Raises GuestError."""
    start = time.monotonic()
    emit(Phase("agent", "started"))
    try:
        with wait_for_agent(guest, boot_deadline(guest), emit) as connection:
            status = connection.call("status")
    except GuestError:
        emit(Phase("agent", "failed", since(start)))
        raise
    detail = f"rum-agent {status.get('agent_version')}, Python {status.get('python')}"
    emit(Phase("agent", "done", since(start), detail))
    return connection.welcome


def since(start: float) -> int:
    """Milliseconds since a moment of the monotonic clock."""
    return round((time.monotonic() - start) * 1000)
