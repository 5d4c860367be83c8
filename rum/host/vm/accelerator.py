"""KVM or TCG. A /dev/kvm that opens proves nothing: without vmx or svm in the CPU it hangs or aborts guests."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from pathlib import Path

from rum.host.channel.transport import why_not_openable
from rum.host.errors import HostError

KVM_DEVICE = Path("/dev/kvm")
CPUINFO = Path("/proc/cpuinfo")


class Accelerator(enum.StrEnum):
    """The two, by the names of `advanced.accelerator`."""

    KVM = "kvm"
    TCG = "tcg"


TIMEOUT_FACTOR = {Accelerator.KVM: 1, Accelerator.TCG: 5}
"""An emulated CPU is several times slower, so every deadline in the guest is longer by this."""


@dataclass(frozen=True)
class AcceleratorChoice:
    """An accelerator and why it is used."""

    accelerator: Accelerator
    reason: str


def choose_accelerator(wanted: str, device: Path = KVM_DEVICE, cpuinfo: Path = CPUINFO) -> AcceleratorChoice:
    """The accelerator for `advanced.accelerator`. Raises HostError for a "kvm" that cannot work here."""
    if wanted == Accelerator.TCG.value:
        return AcceleratorChoice(Accelerator.TCG, "rum.toml asks for it")
    refused = why_no_kvm(device, cpuinfo)
    if refused is None:
        return AcceleratorChoice(Accelerator.KVM, f"{device} can be opened and the CPU has the extension for it")
    if wanted == Accelerator.KVM.value:
        raise HostError(
            f'advanced.accelerator is "kvm", but {refused}',
            hint='switch virtualization on in the firmware, join the group ("usermod -a -G kvm USER", then log in '
            'again), or set advanced.accelerator = "auto"',
        )
    return AcceleratorChoice(Accelerator.TCG, refused)


def why_no_kvm(device: Path, cpuinfo: Path) -> str | None:
    """A clause that says why KVM is not usable, None where it is."""
    refused = why_not_openable(device)
    if refused:
        return refused
    try:
        flags = re.findall(r"^flags\s*:(.*)$", cpuinfo.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    except OSError as exc:
        return f"{cpuinfo} cannot be read: {exc.strerror}"
    if not any({"vmx", "svm"} & set(line.split()) for line in flags):
        return f"{device} is there but the CPU has no vmx or svm"
    return None
