"""What a VM is like on each architecture that rum knows. A VM has the host's: anything else would be emulated."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from rum.host.errors import HostError


@dataclass(frozen=True)
class Architecture:
    """One architecture, by the name that uname(1), libvirt and QEMU share; the first firmware is the default."""

    name: str
    machine: str
    """QEMU's machine type where rum.toml names none."""
    firmware: tuple[str, ...]
    serial_device: str
    """The first serial port's device in the guest, below /dev."""
    tcg_cpu: str
    tcg_features: tuple[str, ...]
    """libvirt's CPU model where QEMU emulates it, and what is added to it."""
    largest_without: tuple[str, ...] = ()
    """What is taken away from the largest CPU that QEMU can emulate."""


ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture(
            name="x86_64",
            machine="q35",
            firmware=("bios", "efi"),
            serial_device="ttyS0",
            # QEMU's own default, raised to x86-64-v2: below that the C library of RHEL 9 and of openSUSE gives up. Not
            # one of Intel's old ones, which make the guest isolate its page tables: slow, and for nothing in emulation.
            # Not all that QEMU can emulate: guests choose AVX2 then, and SHA-256 takes four times as long.
            tcg_cpu="qemu64",
            tcg_features=("cx16", "lahf_lm", "popcnt", "sse4.1", "sse4.2", "ssse3"),
            # Told that it is quick, guests copy memory with one instruction, which QEMU emulates byte by byte: 64 KiB
            # take eight times as long (QEMU 7.2).
            largest_without=("erms",),
        ),
        Architecture(
            name="aarch64",
            machine="virt",
            firmware=("efi",),
            serial_device="ttyAMA0",
            # QEMU's own default is a 32-bit CPU, and the pointer authentication of its largest is slow to emulate.
            tcg_cpu="cortex-a72",
            tcg_features=(),
        ),
    )
}


def host_architecture() -> Architecture:
    """The architecture of this host and so of its VMs. Raises HostError for one that rum does not know."""
    name = platform.machine()
    if name not in ARCHITECTURES:
        raise HostError(f"rum runs VMs on {' and '.join(ARCHITECTURES)}, and this host is {name}")
    return ARCHITECTURES[name]


def default_architecture() -> Architecture:
    """What the defaults of rum.toml come from; a file can be checked on any host."""
    return ARCHITECTURES.get(platform.machine(), ARCHITECTURES["x86_64"])
