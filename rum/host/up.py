"""`rum up` and `rum provision`: the stories, from top to bottom."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence

from rum.host.channel.client import AgentConnection
from rum.host.channel.guest import Guest
from rum.host.channel.reach import (
    PausedError,
    StoppedError,
    boot_deadline,
    explained_loss,
    require_running,
    wait_for_agent,
)
from rum.host.errors import EXIT_INTERRUPTED
from rum.host.events import Emit, Notice
from rum.host.guest.agent_upgrade import upgrade_if_outdated
from rum.host.guest.boot_times import tell_boot_times
from rum.host.guest.configured import ConfiguredGuest
from rum.host.guest.drive_release import release_drives
from rum.host.guest.guest_settings import update_settings
from rum.host.health import with_healthcheck
from rum.host.interrupts import FirstInterrupt
from rum.host.outcome import Outcome, counted, seconds
from rum.host.ports.forwards import forwarded
from rum.host.ports.host_ports import spelled
from rum.host.progress import phase
from rum.host.runs.provisioning import DRIVES, Provisioning
from rum.host.runs.rescue import copy_unseen
from rum.host.runs.runreader import RunReader
from rum.host.runs.selection import require_script
from rum.host.vm.machine import Machine
from rum.protocol import Mode, in_order

PORTS_SHOWN = 3

STALE_STATE_MS = 5000
"""libvirt takes a moment to notice that a QEMU was killed, and until then says that the VM runs."""


def up(machine: Machine, emit: Emit, begun: float | None = None, *, guest_figures: bool = False) -> Outcome:
    """Create or start the VM, provision it, return. Raises RumError.

    The lock is held for the first part only: runs are kept apart by the agent, and `rum down` must work meanwhile.
    `begun`: when the command began, by the monotonic clock; now, unless it did something before. `guest_figures`: a VM
    that was booted is asked in the end where its boot went.
    """
    begun = time.monotonic() if begun is None else begun
    with machine.lock():
        started = machine.start()
    looked_at = time.monotonic()
    if not started.booted:
        by = f"accelerator {started.accelerator}, transport {started.transport}"
        emit(Notice(f"VM {machine.name} runs already; {by}"))
    try:
        connection = await_boot(machine, emit)
    except StoppedError as exc:
        if started.booted or since(looked_at) > STALE_STATE_MS or isinstance(exc, PausedError):
            raise
        emit(Notice(f"VM {machine.name} has just died; it is started again", warning=True))
        with machine.lock():
            machine.start()
        connection = await_boot(machine, emit)
    prepare_agent(machine, connection, emit)
    outcome = provisioned_and_released(machine, emit, "rum up", begun)
    if guest_figures and started.booted:
        tell_boot_times(machine, emit)
    return outcome


def reboot(machine: Machine, emit: Emit, *, guest_figures: bool = False) -> Outcome:
    """Shut a VM that runs down, start it as rum.toml has it now, and show what its boot scripts do. Raises RumError.

    Its domain is started anew: a guest that reboots by itself keeps the processors, memory, mounts and drives it has.
    """
    begun = time.monotonic()
    require_running(machine)
    seen = machine.last_start()
    with machine.lock():
        if machine.last_start() == seen:
            machine.require_startable()
            copy_unseen(machine, emit)
            machine.down()
        else:
            emit(Notice(f"another rum has just booted VM {machine.name}; that is the reboot"))
    return up(machine, emit, begun, guest_figures=guest_figures)


def provision(machine: Machine, emit: Emit, mode: Mode, start: str | None = None) -> Outcome:
    """Provision a VM that runs; with `start` run the scripts from that one on, again. Raises RumError."""
    begun = time.monotonic()
    asked = [f"--{mode.value}"] if mode is not Mode.AUTO else []
    if start is not None:
        asked += ["--from", start]
        generated = [DRIVES] if machine.config.drives else []
        require_script(start, generated + [script.name for script in in_order(machine.config.scripts)])
        mode = Mode.ALL if mode is Mode.AUTO else mode
    require_running(machine)
    with phase(emit, "agent"):
        with wait_for_agent(machine, boot_deadline(machine), emit, "waiting for the agent") as connection:
            welcome = connection.welcome
        upgrade_if_outdated(machine, welcome, emit)
    if mode is Mode.AUTO:
        return provisioned_and_released(machine, emit, "rum provision", begun)
    command = " ".join(["rum provision", *asked])
    return provisioned(machine, emit, command, lambda provisioning: provisioning.selected(mode, start), begun)


def provisioned_and_released(machine: Machine, emit: Emit, command: str, begun: float) -> Outcome:
    """What has to run has run; drives that rum.toml does not name any more are out of the VM."""
    outcome = provisioned(machine, emit, command, Provisioning.auto, begun)
    if outcome.exit != EXIT_INTERRUPTED:
        release_drives(machine, emit)
    return outcome


def provisioned(
    guest: ConfiguredGuest, emit: Emit, command: str, work: Callable[[Provisioning], Outcome], begun: float
) -> Outcome:
    """The work, with a first Ctrl+C that cancels the run instead of leaving it alone, and the healthcheck after it."""
    with explained_loss(guest):
        with FirstInterrupt() as interrupt, contextlib.closing(RunReader(guest, emit, interrupt)) as reader:
            drives = guest.drives_script()
            scripts = [*([drives] if drives else []), *guest.config.scripts]
            outcome = work(Provisioning(reader, scripts, command))
        outcome = with_healthcheck(guest, emit, outcome, command)
    return outcome if outcome.code else completed(guest, outcome, begun)


def completed(guest: Guest, outcome: Outcome, begun: float) -> Outcome:
    """A good outcome, with how long the command took since `begun`, and what can be done now."""
    text = f"{outcome.text} ({seconds(since(begun))})"
    return dataclasses.replace(outcome, text=text, hint=next_steps(forwarded(guest.paths)))


def await_boot(guest: Guest, emit: Emit) -> AgentConnection:
    """Wait until the agent answers, however far the boot is, as a phase of the command. Raises GuestError."""
    with phase(emit, "boot"):
        return wait_for_agent(guest, boot_deadline(guest), emit)


def prepare_agent(machine: Machine, connection: AgentConnection, emit: Emit) -> None:
    """The agent is this rum's, and the guest has the settings of rum.toml: a phase as well. Raises GuestError."""
    with phase(emit, "agent") as detail, explained_loss(machine):
        with connection:
            status = connection.call("status")
        detail.append(f"rum-agent {status.get('agent_version')}, Python {status.get('python')}")
        upgrade_if_outdated(machine, connection.welcome, emit)
        update_settings(machine, emit)


def next_steps(ports: Sequence[Mapping[str, object]]) -> str:
    """What can be done with a VM that is up.

    >>> next_steps([{"bind": "127.0.0.1", "host": 8080, "guest": 80, "auto": False}])
    "next: `rum ssh`, `rum exec -- COMMAND`; 127.0.0.1:8080 leads to the guest's 80"
    """
    leading = [f"{spelled(port['bind'], port['host'])} leads to the guest's {port['guest']}" for port in ports]
    more = [f"`rum status` shows {counted(len(ports) - PORTS_SHOWN, 'more port')}"] if len(ports) > PORTS_SHOWN else []
    return "; ".join(["next: `rum ssh`, `rum exec -- COMMAND`", *leading[:PORTS_SHOWN], *more])


def since(start: float) -> int:
    """Milliseconds since a moment of the monotonic clock."""
    return round((time.monotonic() - start) * 1000)
