"""The drives of a VM as files: which there are, which its domain has, and what rum.toml wants of them.

A drive that has left rum.toml keeps its file, and stays attached until the guest does not refer to it any more
(rum.host.guest.drive_release): a disk that is missing while fstab names it would hold up the next boot.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from rum.host.config.model import Config, Filesystem
from rum.host.errors import ConfigError, HostError
from rum.host.guest.drives import LATER, drives_script
from rum.host.guest.mount_order import with_mounts
from rum.host.paths import VmPaths
from rum.host.qemu_img import image_info
from rum.host.sizes import exact_size, show_size
from rum.host.store import VmState
from rum.protocol import ProvisionScript

NEXT_START = "at the next start (`rum reboot`)"


def attached_drives(paths: VmPaths, state: VmState) -> list[str]:
    """The names of the drives that the domain has, also of those that have just left rum.toml."""
    return [name for name in paths.drive_names() if name not in state.detached]


def leaving_drives(config: Config, paths: VmPaths, state: VmState) -> list[str]:
    """The drives that are not in rum.toml any more, but still attached."""
    return [name for name in attached_drives(paths, state) if name not in config.drives]


def with_returned(config: Config, state: VmState) -> VmState:
    """The state of a VM that starts with the drives of rum.toml, those that were detached included."""
    return dataclasses.replace(state, detached=tuple(name for name in state.detached if name not in config.drives))


def with_detached(state: VmState, name: str) -> VmState:
    """The state of a VM whose guest has let go of this drive."""
    return dataclasses.replace(state, detached=tuple(sorted({*state.detached, name})))


def refuse_shrinking(config: Config, paths: VmPaths, state: VmState) -> None:
    """Raise ConfigError where rum.toml wants a disk smaller than it is, which would cut off what is on it."""
    problems = [
        f'{key} = "{exact_size(wanted)}": is smaller than the disk, which has {exact_size(present)}'
        for key, wanted, present in disk_sizes(config, paths, state)
        if wanted < present
    ]
    if problems:
        raise ConfigError(
            f"disks only grow, and {config.path} wants a smaller one",
            hint="set the size that the disk has, or start over with 'rum destroy' and 'rum up'",
            problems=problems,
        )


def applied_later(config: Config, paths: VmPaths, state: VmState) -> Iterator[str]:
    """What becomes of the drives of a running VM at its next start."""
    for key, wanted, present in drive_sizes(config, paths):
        if wanted > present:
            yield f"{key} is now {show_size(wanted)}, the disk has {show_size(present)}; it grows {NEXT_START}"
    for name in sorted(config.drives.keys() - set(attached_drives(paths, state))):
        yield f"drives.{name} is new; it is attached {NEXT_START}"


def disk_sizes(config: Config, paths: VmPaths, state: VmState) -> Iterator[tuple[str, int, int]]:
    """The key, the wanted and the present size in bytes of each disk that is there. Raises HostError."""
    if paths.overlay.exists():
        # An image larger than resources.disk has a disk of its own size.
        wanted = max(config.resources.disk, state.image.virtual_size)
        yield "resources.disk", wanted, image_info(paths.overlay).virtual_size
    yield from drive_sizes(config, paths)


def drive_sizes(config: Config, paths: VmPaths) -> Iterator[tuple[str, int, int]]:
    """The same of the drives alone."""
    for name, drive in sorted(config.drives.items()):
        if paths.drive(name).exists():
            yield f"drives.{name}.size", drive.size, image_info(paths.drive(name)).virtual_size


def drives_script_for(config: Config, paths: VmPaths, state: VmState) -> ProvisionScript | None:
    """The drives script for the disks that the VM has, at their present sizes; None where there is nothing to do.

    A file system on a drive that comes with the next start waits for it. A script without file systems unmounts those
    that have left rum.toml. New ones belong to the account that the VM was made with, whatever rum.toml says now.
    """
    attached = set(attached_drives(paths, state))
    filesystems = [
        in_place(filesystem, attached) for filesystem in config.filesystems if attached & {*filesystem.drives}
    ]
    if not filesystems and not leaving_drives(config, paths, state):
        return None
    names = {name for filesystem in filesystems for name in filesystem.drives}
    sizes = {name: image_info(paths.drive(name)).virtual_size for name in sorted(names)}
    owner = state.settings.user if state.settings else config.user.name
    return with_mounts(drives_script(filesystems, owner, sizes), filesystems, config.mounts)


def in_place(filesystem: Filesystem, attached: set[str]) -> Filesystem:
    """The file system, or one that stays as it is until the rest of its drives has come."""
    present = tuple(name for name in filesystem.drives if name in attached)
    return filesystem if present == filesystem.drives else dataclasses.replace(filesystem, kind=LATER, drives=present)


def describe_drives(paths: VmPaths, state: VmState | None) -> list[str]:
    """Each drive that has a file, with its size, for those who are about to delete it."""
    detached = state.detached if state else ()
    return [describe_drive(paths, name, attached=name not in detached) for name in paths.drive_names()]


def describe_drive(paths: VmPaths, name: str, *, attached: bool) -> str:
    """One drive; a file that is no image any more has no size."""
    try:
        about = [show_size(image_info(paths.drive(name)).virtual_size)]
    except HostError:
        about = []
    about += [] if attached else ["detached"]
    return f"{name} ({', '.join(about)})" if about else name
