"""`rum down`, `rum destroy` and `rum status`: the VM as a whole."""

from __future__ import annotations

from collections.abc import Sequence

from rum.host.channel.checked import BrokenProtocolError
from rum.host.channel.client import open_agent
from rum.host.deadlines import Deadline
from rum.host.errors import GuestError
from rum.host.events import Emit
from rum.host.outcome import Outcome
from rum.host.ports.forwards import forwarded, warn_if_missing
from rum.host.runs.logs import last_run
from rum.host.vm.machine import Machine
from rum.protocol import Message

STATUS_PATIENCE_S = 5.0
"""`status` says what is there, it does not wait for what may come."""

DOWN = {
    "stopped": "VM {} is stopped",
    "forced": "VM {} did not shut down within 30 s and was turned off",
    "not-running": "VM {} is not running",
}


def down(machine: Machine) -> Outcome:
    """Shut the VM down, turn it off if it does not. Raises RumError."""
    with machine.lock():
        how = machine.down()
    return Outcome(DOWN.get(how, "VM {} is down").format(machine.config.name))


def destroy(machine: Machine) -> Outcome:
    """Remove the VM and its disks. Raises RumError."""
    name = machine.config.name
    with machine.lock():
        drives = machine.describe_drives()
        if not machine.destroy():
            return Outcome(f"there is no VM {name}: nothing to destroy")
    return Outcome(f"VM {name} is destroyed{with_drives(drives)}")


def destroy_question(machine: Machine) -> str:
    """What `rum destroy` asks before it deletes what nothing brings back."""
    return f"Remove VM {machine.config.name}{with_drives(machine.describe_drives())} and its disk?"


def with_drives(drives: Sequence[str]) -> str:
    """The part of a sentence on a VM that names its drives.

    >>> with_drives(["data (10 GiB)", "old (1 GiB, not in rum.toml)"]), with_drives([])
    (' with its drives data (10 GiB), old (1 GiB, not in rum.toml)', '')
    """
    return f" with its drive{'s' if len(drives) > 1 else ''} {', '.join(drives)}" if drives else ""


def status(machine: Machine, emit: Emit) -> Message:
    """What `rum status -o json` prints. An agent that does not answer is a finding, no error.

    Raises HostError, BrokenProtocolError.
    """
    running = machine.is_running()
    if running:
        warn_if_missing(machine.config, machine.paths, emit)
    answer = agent_status(machine) if running else None
    latest = last_run(machine, ask_agent=answer is not None)
    started = machine.last_start()
    return {
        "type": "status",
        "name": machine.config.name,
        "id": machine.config.id8,
        "state": machine.state(),
        "provisioned": bool((answer or latest or {}).get("system_provisioned", False)),
        "accelerator": started.accelerator if started else None,
        "transport": started.transport if started else None,
        "agent": answer,
        "ports": forwarded(machine.paths),
        "last_run": latest,
    }


def agent_status(machine: Machine) -> Message | None:
    """The agent's `status`, None where it does not answer. Raises BrokenProtocolError for an answer that is none."""
    deadline = Deadline(STATUS_PATIENCE_S * machine.timeout_factor())
    try:
        with open_agent(machine.endpoint(), machine.key(), machine.vm_id(), deadline) as connection:
            answer = connection.call("status")
    except BrokenProtocolError:
        raise
    except GuestError:
        return None
    return {key: value for key, value in answer.items() if key != "type"}


def require_running(machine: Machine) -> None:
    """Raises GuestError where the VM does not run."""
    if not machine.is_running():
        state = "does not exist" if not machine.exists() else f"is {machine.state()}"
        raise GuestError(f"VM {machine.config.name} {state}", hint="run `rum up` first")
