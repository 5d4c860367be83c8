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
from rum.host.vm.known import KnownVm
from rum.protocol import Message

STATUS_PATIENCE_S = 5.0
"""`status` says what is there, it does not wait for what may come."""

DOWN = {
    "stopped": "VM {} is stopped",
    "forced": "VM {} did not shut down within 30 s and was turned off",
    "not-running": "VM {} is not running",
}


def down(vm: KnownVm) -> Outcome:
    """Shut the VM down, turn it off if it does not. Raises RumError."""
    with vm.lock():
        how = vm.down()
    return Outcome(DOWN.get(how, "VM {} is down").format(vm.name))


def destroy(vm: KnownVm) -> Outcome:
    """Remove the VM and its disks. Raises RumError."""
    name = vm.name
    with vm.lock():
        drives = vm.describe_drives()
        if not vm.destroy():
            return Outcome(f"there is no VM {name}: nothing to destroy")
    return Outcome(f"VM {name} is destroyed{with_drives(drives)}")


def destroy_question(vm: KnownVm) -> str:
    """What `rum destroy` asks before it deletes what nothing brings back."""
    return f"Remove VM {vm.name}{with_drives(vm.describe_drives())} and its disk?"


def with_drives(drives: Sequence[str]) -> str:
    """The part of a sentence on a VM that names its drives.

    >>> with_drives(["data (10 GiB)", "old (1 GiB, detached)"]), with_drives([])
    (' with its drives data (10 GiB), old (1 GiB, detached)', '')
    """
    return f" with its drive{'s' if len(drives) > 1 else ''} {', '.join(drives)}" if drives else ""


def status(vm: KnownVm, emit: Emit) -> Message:
    """What `rum status -o json` prints. An agent that does not answer is a finding, no error.

    Raises HostError, BrokenProtocolError.
    """
    running = vm.is_running()
    if running:
        warn_if_missing(vm.name, vm.paths, emit)
    answer = agent_status(vm) if running else None
    latest = last_run(vm, ask_agent=answer is not None)
    started = vm.last_start()
    return {
        "type": "status",
        "name": vm.name,
        "id": vm.identity.id8,
        "state": vm.state(),
        "provisioned": bool((answer or latest or {}).get("system_provisioned", False)),
        "accelerator": started.accelerator if started else None,
        "transport": started.transport if started else None,
        "agent": answer,
        "ports": forwarded(vm.paths),
        "last_run": latest,
    }


def agent_status(vm: KnownVm) -> Message | None:
    """The agent's `status`, None where it does not answer. Raises BrokenProtocolError for an answer that is none."""
    deadline = Deadline(STATUS_PATIENCE_S * vm.timeout_factor())
    try:
        with open_agent(vm.endpoint(), vm.key(), vm.vm_id(), deadline) as connection:
            answer = connection.call("status")
    except BrokenProtocolError:
        raise
    except GuestError:
        return None
    return {key: value for key, value in answer.items() if key != "type"}
