"""Takes drives that have left rum.toml out of a running VM, once its guest has let go of them.

Every step may be the last one: a drive is attached until state.json says that it is not, and the next command goes on.
"""

from __future__ import annotations

from rum.host.captured import run_captured
from rum.host.channel.reach import short_deadline, wait_for_agent
from rum.host.errors import RumError
from rum.host.events import Emit, Notice
from rum.host.exec import ExecRequest
from rum.host.runs.provisioning import is_applied
from rum.host.vm.machine import Machine

IN_USE = 3

# An exclusive open is refused for whatever the kernel itself uses: mounts, swap, RAID, LVM, each device of a btrfs.
TRY_DISK = f"""
import errno, glob, os, sys
for path in glob.glob("/sys/block/*/serial"):
    with open(path) as file:
        if file.read().strip() != "rum-" + sys.argv[1]:
            continue
    try:
        disk = os.open("/dev/" + path.split("/")[3], os.O_RDONLY | os.O_EXCL)
    except OSError as exc:
        sys.exit({IN_USE} if exc.errno == errno.EBUSY else 0)
    os.fsync(disk)
"""


def release_drives(machine: Machine, emit: Emit) -> None:
    """Detach every drive that is not in rum.toml any more; what keeps that from working is a warning."""
    for name in machine.leaving_drives():
        try:
            release_drive(machine, name, emit)
        except RumError as exc:
            emit(Notice(f"the drive {name}, which is not in rum.toml any more, stays attached: {exc}", warning=True))


def release_drive(machine: Machine, name: str, emit: Emit) -> None:
    """Detach the drive unless the guest still uses it. Raises RumError."""
    if not is_unmounted(machine, emit):
        # The drives script has failed, and has said why.
        return
    if is_in_use(machine, name, emit):
        text = (
            f"the drive {name} is not in rum.toml any more, but stays attached, because something in the guest uses it"
        )
        emit(Notice(f"{text}; unmount it there and run `rum up` again", warning=True))
        return
    at_once = machine.detach_drive(name)
    when = "is detached" if at_once else "is detached at the next start"
    text = f"the drive {name}, which is not in rum.toml any more, {when}"
    emit(Notice(f"{text}; its data stays in {machine.paths.drive(name)}"))


def is_unmounted(machine: Machine, emit: Emit) -> bool:
    """Whether the drives script of today's rum.toml, which does not name the drive, has passed."""
    script = machine.drives_script()
    with wait_for_agent(machine, short_deadline(machine), emit, "waiting for the agent") as connection:
        return script is not None and is_applied(script, connection.call("status"))


def is_in_use(machine: Machine, name: str, emit: Emit) -> bool:
    """Whether the guest's kernel uses the disk; what it has in memory of it is on it afterwards."""
    request = ExecRequest(["python3", "-I", "-S", "-c", TRY_DISK, name], timeout_s=60)
    with wait_for_agent(machine, short_deadline(machine), emit, "waiting for the agent") as connection:
        return not run_captured(connection, request).ok
