"""The generated `drives` script: formats blank drives and mounts them, in the guest, on the first boot.

Disks are found by their virtio serial and mounted by their file system's UUID, never by /dev/vdX, which another disk
may have next time. Nothing that already carries any signature is ever formatted. The script itself is drives.sh; only
what rum.toml says is put in here.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from rum.host.config.model import Filesystem
from rum.protocol import After, ProvisionScript, RunOn

SERIAL_PREFIX = "rum-"
"""In front of a drive's name it is the disk's serial."""

MOUNT_OPTIONS = "defaults,nofail,x-systemd.before=local-fs.target,x-systemd.device-timeout=180s"
"""A missing disk does not stop the boot, which takes `nofail`; but that alone also takes the mount out of the order of
the boot (systemd.mount(5)), and scripts have to find it mounted. udev on a busy emulated CPU needs over 30 s to show a
disk that is there."""

LATER = "later"
"""The kind of a file system that is to be left as the guest has it."""

INSTALL_TIMEOUT_S = 300
"""For the network, and for whoever else uses the package manager; design as for scripts that wait for the network."""

PARTS = ("drives_tools.sh", "drives.sh")


@dataclass(frozen=True)
class GuestFiles:
    """Where the script looks in the guest; `notes` is where it remembers what it has begun."""

    dev: str = "/dev"
    sys_block: str = "/sys/block"
    sys_net: str = "/sys/class/net"
    sys_module: str = "/sys/module"
    fstab: str = "/etc/fstab"
    systemd: str = "/run/systemd/system"
    notes: str = "/var/lib/rum/drives"


def drives_script(filesystems: Sequence[Filesystem], owner: str, sizes: Mapping[str, int]) -> ProvisionScript:
    """The script that sets these file systems up, parents before what is mounted below them, and unmounts others.

    New ones belong to the account `owner`. `sizes` are those of the drives, in bytes.
    """
    content = drives_text(filesystems, owner, sizes)
    return ProvisionScript(name="drives", content=content, order=0, run_on=RunOn.SYSTEM, after=After.LOCAL_FS)


def drives_text(
    filesystems: Sequence[Filesystem], owner: str, sizes: Mapping[str, int], files: GuestFiles | None = None
) -> str:
    """The script's text: POSIX sh, safe to run again."""
    settings = {
        **dataclasses.asdict(files or GuestFiles()),
        "options": MOUNT_OPTIONS,
        "install_timeout": str(INSTALL_TIMEOUT_S),
        "owner": owner,
    }
    lines = [
        "set -eu",
        *(f"{name}={shlex.quote(value)}" for name, value in settings.items()),
        # A drive that has grown makes another script, which so has to run again.
        *(f"# The drive {name} has {sizes[name]} bytes." for fs in filesystems for name in fs.drives),
        "each_filesystem() {",
        "    :",
        *(f'    "$1" {shlex.join(arguments(fs))}' for fs in filesystems),
        "}",
    ]
    return "\n".join([*lines, *map(read_part, PARTS)])


def arguments(filesystem: Filesystem) -> list[str]:
    """What each step of the script takes: kind, mode, pool, target, the target in fstab, the drives."""
    target = filesystem.target
    mode = "" if filesystem.mode in (None, "stripe") else str(filesystem.mode)
    return [filesystem.kind, mode, filesystem.pool or "", target, fstab_field(target), *filesystem.drives]


def read_part(name: str) -> str:
    """A part of the script as it lies beside this module."""
    return resources.files("rum.host.guest").joinpath(name).read_text(encoding="utf-8")


def fstab_field(text: str) -> str:
    """A path as a field of fstab(5): blanks and backslashes as octal escapes, the only ones that systemd undoes."""
    return "".join(f"\\{ord(char):03o}" if char in " \t\n\\" else char for char in text)
