"""`rum status`: everything that there is to know of one VM, at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from rum.host.channel.reach import shortened
from rum.host.errors import HostError
from rum.host.json_lines.answers import Agent, DriveFile, ForwardedPort, LastRun, MountedDirectory, State, Status
from rum.host.ports.forwards import forwarded, without_forwards
from rum.host.runs.logs import last_run
from rum.host.runs.standing import COMMAND, is_spoilt, unfinished
from rum.host.store import LastStart, VmState
from rum.host.survey import Sight, look
from rum.host.vm.known import KnownVm
from rum.protocol import Message

PATIENCE_S = 5.0
"""What is there is told; what may come is not waited for."""


def status(vm: KnownVm) -> Status:
    """What `rum status -o json` prints. An agent or a libvirt that does not answer is a finding, no error.

    Raises HostError where the VM's own files cannot be read, BrokenProtocolError.
    """
    seen = look(vm, PATIENCE_S * vm.timeout_factor())
    state, started = vm.load_state(), vm.last_start()
    latest = last_run(vm, seen.agent)
    cut_off = is_cut_off(vm, seen)
    return {
        "type": "status",
        "name": vm.name,
        "id": vm.identity.id8,
        "config": str(vm.identity.path),
        "state": cast(State, seen.state),
        "provisioned": bool((seen.agent or latest or {}).get("system_provisioned", False)),
        "accelerator": started.accelerator if started else None,
        "transport": started.transport if started else None,
        "cpus": started.cpus if started else None,
        "memory_mb": started.memory_mb if started else None,
        "agent": cast(Agent | None, seen.agent),
        "ports": cast(list[ForwardedPort], forwarded(vm.paths)),
        "drives": drives_of(vm, state),
        "mounts": mounts_of(started),
        "last_run": cast(LastRun | None, latest),
        "console": last_words(vm, seen),
        "warnings": list(warnings(vm, seen, cut_off=cut_off)),
        "next": "`rum up` restarts it, nothing else brings its agent back" if cut_off else next_step(seen, latest),
    }


def warnings(vm: KnownVm, seen: Sight, *, cut_off: bool) -> Iterator[str]:
    """What is not as it should be."""
    if seen.problem:
        yield seen.problem if seen.state != "unknown" else f"what state the VM is in cannot be told: {seen.problem}"
    if seen.state == "running":
        yield from without_forwards(vm.name, vm.paths)
    if cut_off:
        yield f"the vsock daemon of VM {vm.name} has died, so its agent cannot be reached"


def is_cut_off(vm: KnownVm, seen: Sight) -> bool:
    """Whether the VM runs, and the host's half of the channel to its agent does not."""
    return seen.state == "running" and seen.agent is None and not vm.transport_alive()


def drives_of(vm: KnownVm, state: VmState | None) -> list[DriveFile]:
    """The drives that have a file."""
    detached = state.detached if state else ()
    return [
        {"name": name, "size_bytes": size_of(vm, name), "attached": name not in detached}
        for name in vm.paths.drive_names()
    ]


def size_of(vm: KnownVm, drive: str) -> int | None:
    """A drive's size in bytes, None where its file is no image any more."""
    from rum.host.qemu_img import image_info

    try:
        return image_info(vm.paths.drive(drive)).virtual_size
    except HostError:
        return None


def mounts_of(started: LastStart | None) -> list[MountedDirectory]:
    """The mounts that the VM was last started with."""
    return [
        {"source": mount.source, "target": mount.target, "readonly": mount.readonly}
        for mount in (started.mounts if started else ())
    ]


def last_words(vm: KnownVm, seen: Sight) -> str | None:
    """The console's last line, where that is all that a running VM says."""
    lines = vm.console_tail(1) if seen.state == "running" and not seen.agent else []
    return shortened(lines[0]) if lines else None


NEXT = {
    "absent": "`rum up` creates it",
    "stopped": "`rum up` starts it",
    "crashed": "`rum up` starts it again",
    "paused": "`rum up` lets it go on",
    "unknown": None,
}
"""What can be done with a VM that does not run, by its state."""


def next_step(seen: Sight, latest: Message | None) -> str | None:
    """What its user may want to do now."""
    if seen.state != "running":
        return seen.hint or NEXT[seen.state]
    if seen.agent is None:
        return "it boots, or its agent has died: `rum wait --for agent` waits, `rum logs --console` shows the boot"
    if seen.agent.get("run"):
        return "`rum logs --follow` shows the run"
    if latest and is_failure_of(seen.agent, latest) and (again := what_runs_it_again(seen.agent)):
        return f"`rum logs --failed` shows why; fix it and run `{again}` again"
    if not seen.agent.get("system_provisioned"):
        return "`rum up` provisions it"
    return "`rum ssh` logs in, `rum exec -- COMMAND` runs a command"


def what_runs_it_again(agent: Mapping[str, object]) -> str | None:
    """The command that runs what has not passed; None where all has by now."""
    if unfinished(agent):
        return COMMAND
    return "rum provision --system" if is_spoilt(agent) else None


def is_failure_of(agent: Mapping[str, object], latest: Mapping[str, object]) -> bool:
    """Whether the latest run is one of this boot that did not pass."""
    return latest.get("success") is False and latest.get("boot_id") == agent.get("boot_id")
