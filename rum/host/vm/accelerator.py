"""KVM or TCG. A /dev/kvm that opens proves nothing: without vmx or svm in an x86 CPU it hangs or aborts guests."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from rum.host import remedies
from rum.host.devices import why_not_openable
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
            hint=f'{remedies.use_kvm(device, cpuinfo)}; or set advanced.accelerator = "auto"',
        )
    return AcceleratorChoice(Accelerator.TCG, refused)


def why_no_kvm(device: Path, cpuinfo: Path) -> str | None:
    """A clause that says why KVM is not usable, None where it is."""
    flags = remedies.cpu_flags(cpuinfo)
    # Arm has no such list, and no such trap. First: who joins the device's group gains nothing by it here.
    if flags and not flags & {"vmx", "svm"}:
        return "the CPU has no vmx or svm"
    return why_not_openable(device)
