"""Mounts as the guest's fstab has them, and those that have to wait for a drive."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rum.host.config.model import Filesystem, Mount
from rum.host.guest.drives import MOUNT_OPTIONS, fstab_field
from rum.protocol import ProvisionScript

ON_A_DRIVE = """
# Directories of the host that are mounted on these file systems: their lines are in fstab already.
mount_on_drive() {
    if ! mountpoint -q "$1"; then
        mkdir -p "$1"
        mount "$1"
    fi
}
"""


def fstab_line(tag: str, target: str, *, readonly: bool) -> str:
    """A mount as a line of fstab(5)."""
    options = f"{'ro' if readonly else 'rw'},{MOUNT_OPTIONS.removeprefix('defaults,')}"
    return f"{fstab_field(tag)} {fstab_field(target)} virtiofs {options} 0 0"


def drive_below(target: str, filesystems: Sequence[Filesystem]) -> str | None:
    """The target of the file system on which a target lies, None where it lies on none."""
    found = (filesystem.target for filesystem in filesystems if target.startswith(filesystem.target.rstrip("/") + "/"))
    return max(found, key=len, default=None)


def with_mounts(script: ProvisionScript, filesystems: Sequence[Filesystem], mounts: Sequence[Mount]) -> ProvisionScript:
    """The drives script, which also mounts what lies on the file systems that it has just mounted."""
    waiting = [mount.target for mount in mounts if drive_below(mount.target, filesystems)]
    if not waiting:
        return script
    calls = "\n".join(shlex.join(["mount_on_drive", target]) for target in waiting)
    return script._replace(content=f"{script.content}{ON_A_DRIVE}{calls}\n")
