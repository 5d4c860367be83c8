"""A look at a VM that waits for nothing: what `rum status` and `rum list` are made of."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from rum.host.channel.checked import BrokenProtocolError
from rum.host.channel.client import open_agent
from rum.host.channel.reach import ROOM_HINT
from rum.host.deadlines import Deadline
from rum.host.errors import GuestError, HostError
from rum.host.vm.known import KnownVm
from rum.protocol import Message

BLOCK_SIZE = 512
"""Of `st_blocks` (stat(2))."""


@dataclass(frozen=True)
class Sight:
    """What is seen of a VM. Where its state is "unknown", or "paused" for want of room, there is a `problem`."""

    state: str
    agent: Message | None = None
    problem: str | None = None
    hint: str | None = None


def look(vm: KnownVm, patience_s: float) -> Sight:
    """Ask the agent, for so many seconds at most, and libvirt where it does not answer.

    A VM whose agent answers runs, whatever libvirt is up to. Raises HostError where the VM's own files cannot be read,
    BrokenProtocolError.
    """
    agent = agent_status(vm, patience_s) if vm.last_start() else None
    if agent is not None:
        return Sight("running", agent)
    try:
        state = vm.state()
        if state == "paused" and vm.is_out_of_space():
            return Sight(state, None, f"the disk of {vm.paths.state} is full, so the VM is paused", ROOM_HINT)
        return Sight(state)
    except HostError as exc:
        return Sight("unknown", None, str(exc), exc.hint)


def agent_status(vm: KnownVm, patience_s: float) -> Message | None:
    """The agent's `status`, None where it does not answer. Raises BrokenProtocolError for an answer that is none."""
    deadline = Deadline(patience_s)
    try:
        with open_agent(vm.endpoint(), vm.key(), vm.vm_id(), deadline) as connection:
            answer = connection.call("status", deadline=deadline)
    except BrokenProtocolError:
        raise
    except GuestError:
        return None
    return {key: value for key, value in answer.items() if key != "type"}


def disk_use(*paths: str | Path) -> int:
    """Bytes that files, and the files in directories, take on this host: disks have holes."""
    total = 0
    for path in paths:
        # It may be removed meanwhile.
        with contextlib.suppress(OSError):
            inside = [entry.path for entry in os.scandir(path)] if os.path.isdir(path) else []
            total += os.lstat(path).st_blocks * BLOCK_SIZE + disk_use(*inside)
    return total
