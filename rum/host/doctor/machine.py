"""The machine: its processor, its devices, its memory, its disks."""

from __future__ import annotations

import os
import platform
import shutil
import socket
from pathlib import Path

from rum.host import remedies
from rum.host.channel.endpoint import Transport
from rum.host.channel.transport import choose_transport
from rum.host.config.identity import FILE_NAME, VmIdentity
from rum.host.doctor.finding import Finding, Host, Status, existing_parent, needed
from rum.host.errors import HostError
from rum.host.paths import VmPaths, image_cache, runtime_home, state_home
from rum.host.sizes import show_size
from rum.host.vm.accelerator import CPUINFO, KVM_DEVICE, Accelerator, choose_accelerator
from rum.host.vm.architecture import host_architecture

MEMINFO = Path("/proc/meminfo")
DEFAULT_MEMORY_MB = 2048
ROOM_NEEDED = 2 << 30
"""Bytes: the largest image of the catalogue, and what a first boot writes."""


def system(_host: Host) -> Finding:
    """The distribution and the architecture."""
    name = remedies.os_release().get("PRETTY_NAME", "an unknown distribution")
    try:
        architecture = host_architecture()
    except HostError as exc:
        return needed(exc)
    return Finding(Status.OK, f"{name}, {architecture.name}, Python {platform.python_version()}")


def accelerator(host: Host) -> Finding:
    """KVM, or the emulation of a processor."""
    wanted = host.config.advanced.accelerator if host.config else "auto"
    try:
        choice = choose_accelerator(wanted)
    except HostError as exc:
        return needed(exc)
    if choice.accelerator is Accelerator.KVM:
        return Finding(Status.OK, f"kvm: {choice.reason}")
    if wanted == Accelerator.TCG.value:
        return Finding(Status.OK, f"tcg: {choice.reason}")
    return Finding(Status.SLOWER, f"tcg: {choice.reason}", remedies.use_kvm(KVM_DEVICE, CPUINFO))


def transport(host: Host) -> Finding:
    """What the agent is reached by."""
    try:
        choice = choose_transport(host.config.advanced.transport if host.config else "auto")
    except HostError as exc:
        return needed(exc)
    if choice.transport is Transport.VHOST_VSOCK and not hasattr(socket, "AF_VSOCK"):
        return Finding(
            Status.MISSING,
            "this Python was built without AF_VSOCK",
            'set advanced.transport = "vhost-user", or run rum in the distribution\'s own python3',
        )
    through = f" by {choice.program}" if choice.program else ""
    return Finding(Status.OK, f"{choice.transport}{through}: {choice.reason}")


def memory(host: Host) -> Finding | None:
    """Whether the guest's memory fits into what is free."""
    wanted = (host.config.resources.memory_mb if host.config else DEFAULT_MEMORY_MB) << 20
    available = available_memory()
    if available is None:
        return None
    text = f"{show_size(available)} are available, the VM has {show_size(wanted)}"
    if available < wanted:
        return Finding(Status.SLOWER, text, "end something, or set resources.memory_mb to less")
    return Finding(Status.OK, text)


def available_memory() -> int | None:
    """Bytes that can be had without swapping (proc_meminfo(5)), None where the kernel does not say."""
    try:
        lines = MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), None)


def disk(host: Host) -> Finding:
    """Room for images and for the VM's disks."""
    places = [existing_parent(place) for place in (state_home(), image_cache())]
    for place in places:
        if not os.access(place, os.W_OK):
            return Finding(Status.MISSING, f"{place} cannot be written", "look who owns it: ls -ld " + str(place))
    free = {place: shutil.disk_usage(place).free for place in dict.fromkeys(places)}
    text = ", ".join(f"{show_size(room)} free under {place}" for place, room in free.items())
    if min(free.values()) < ROOM_NEEDED:
        fix = "make room there (`rum image remove --unused`), or set XDG_STATE_HOME and XDG_CACHE_HOME"
        return Finding(Status.MISSING, text, fix)
    largest = largest_disks(host)
    if largest > free[places[0]]:
        fix = f"keep an eye on it: the disks of this VM may grow to {show_size(largest)}"
        return Finding(Status.OPTIONAL, text, fix)
    return Finding(Status.OK, text)


def largest_disks(host: Host) -> int:
    """Bytes that the VM's disks can grow to."""
    if host.config is None:
        return 0
    return host.config.resources.disk + sum(drive.size for drive in host.config.drives.values())


def sockets(host: Host) -> Finding:
    """A directory for sockets, with a path that is short enough."""
    place = existing_parent(runtime_home())
    if not os.access(place, os.W_OK):
        return Finding(Status.MISSING, f"{place} cannot be written", "log in anew, or set XDG_RUNTIME_DIR")
    # Of any VM: the sockets of all have names of the same length.
    vm = host.config.identity if host.config else VmIdentity.of(Path(FILE_NAME))
    try:
        VmPaths.of(vm).require_short_sockets()
    except HostError as exc:
        return needed(exc)
    return Finding(Status.OK, str(runtime_home()))
