"""`rum down` and `rum destroy`: the VM as a whole."""

from __future__ import annotations

from collections.abc import Sequence

from rum.host.outcome import Outcome
from rum.host.runs.rescue import copy_unseen
from rum.host.show.table import aligned
from rum.host.sizes import show_size
from rum.host.survey import disk_use
from rum.host.vm.known import KnownVm

DOWN = {
    "stopped": "VM {} is stopped",
    "forced": "VM {} did not shut down within 30 s and was turned off",
    "not-running": "VM {} is not running",
}


def down(vm: KnownVm) -> Outcome:
    """Shut the VM down, turn it off if it does not. Raises RumError."""
    with vm.lock():
        copy_unseen(vm, vm.emit)
        how = vm.down()
    return Outcome(DOWN.get(how, "VM {} is down").format(vm.name))


def destroy(vm: KnownVm) -> Outcome:
    """Remove the VM and its disks. Raises RumError."""
    name = vm.name
    with vm.lock():
        drives = vm.describe_drives()
        copy_unseen(vm, vm.emit)
        if not vm.destroy():
            return Outcome(f"there is no VM {name}: nothing to destroy")
    return Outcome(f"VM {name} is destroyed{with_drives(drives)}")


def what_goes(vm: KnownVm) -> list[str]:
    """The lines that `rum destroy` shows before it deletes what nothing brings back."""
    if not vm.exists():
        return [f"There is no VM {vm.name}; what may be left of one goes."]
    rows = [("root disk", f"{show_size(disk_use(vm.paths.overlay))} on this host")]
    rows += [("drive", drive) for drive in vm.describe_drives()]
    rows += [("and", "its keys and its console's log; the copies of its runs stay, and so does its rum.toml")]
    return [f"VM {vm.name} of {vm.identity.path} goes, with", *(f"  {line}" for line in aligned(rows))]


def with_drives(drives: Sequence[str]) -> str:
    """The part of a sentence on a VM that names its drives.

    >>> with_drives(["data (10 GiB)", "old (1 GiB, detached)"]), with_drives([])
    (' with its drives data (10 GiB), old (1 GiB, detached)', '')
    """
    return f" with its drive{'s' if len(drives) > 1 else ''} {', '.join(drives)}" if drives else ""
