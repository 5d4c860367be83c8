"""Rules about `[drives.*]` and `[[fs.*]]`, and what they come to."""

from __future__ import annotations

from collections.abc import Iterator

from rum.host.config.document import Btrfs, File, PlainFilesystem, Zfs
from rum.host.config.draft import Draft
from rum.host.config.model import Drive, Filesystem
from rum.host.config.place import Place, path_of, suggestion
from rum.host.config.types import is_pool_name
from rum.host.sizes import parse_size, show_size

DRIVES_MIN = {"raid0": 2, "raid1": 2, "raid10": 4, "mirror": 2, "raidz1": 2, "raidz2": 3, "raidz3": 4}
"""mkfs.btrfs(8) of 5.10, newer ones may take fewer; zpoolconcepts(7): one device more than a raidz has parity."""

SIZE_MIN = {"xfs": 300 << 20, "btrfs": 109 << 20, "zfs": 64 << 20}
"""Bytes, below which mkfs.xfs, mkfs.btrfs and zpool refuse a device."""
VFAT_MAX = (2 << 40) - 1
"""Bytes; FAT32 counts sectors of 512 bytes in 32 bits."""


def check_disks(draft: Draft) -> None:
    """Every rule about drives and file systems but those about targets."""
    for kind in ("btrfs", "zfs"):
        for place, _ in draft.find(f"fs.{kind}.*", dict):
            check_either(draft, place, "drive", "drives")
            check_count(draft, place)
    check_drives(draft)
    check_repeats(draft)
    check_pools(draft)


def check_either(draft: Draft, table: Place, one: str, other: str) -> None:
    """A table has exactly one of two keys."""
    found = draft.has(table, one, other)
    if len(found) != 1:
        draft.note(table, f"has both {one} and {other}" if found else f"needs either {one} or {other}")


def check_count(draft: Draft, table: Place) -> None:
    """A way to spread data has as many drives as it needs."""
    mode = draft.get(table, "mode", str)
    count = len(draft.get(table, "drives", list) or ["drive"])
    if mode is not None and count < DRIVES_MIN.get(mode, 1):
        text = f"needs at least {DRIVES_MIN[mode]} drives, and there is {count}"
        draft.note_value((*table, "mode"), mode, text if count == 1 else text.replace("there is", "there are"))


def drives_of(draft: Draft) -> Iterator[tuple[Place, str, str]]:
    """Every mention of a drive, its name, and the kind of file system that is on it."""
    for pattern in ("fs.*.*.drive", "fs.*.*.drives.*"):
        for place, name in draft.find(pattern, str):
            yield place, name, str(place[1])


def check_repeats(draft: Draft) -> None:
    """No drive is in two file systems, nor in one twice."""
    for place, names in draft.find("fs.*.*.drives", list):
        for index, name in enumerate(names):
            if isinstance(name, str) and name in names[:index]:
                draft.note_value((*place, index), name, "is in this list already")
    mentions = {(place[:3], name): place for place, name, _ in reversed(list(drives_of(draft)))}
    draft.refuse_repeated(((place, name) for (_, name), place in mentions.items()), "file system", "drive")


def check_drives(draft: Draft) -> None:
    """A file system is on drives that exist and are of a fit size."""
    # With those whose name or table is malformed, which is said where they stand.
    names = draft.get((), "drives", dict) or {}
    sizes = {str(name): parse_size(draft.get(("drives", name), "size", str) or "") for name in names}
    for place, name, kind in drives_of(draft):
        if name not in sizes:
            draft.note_value(place, name, f"there is no [{path_of(('drives', name))}]{suggestion(name, sizes)}")
        elif unfit := unfit_size(kind, sizes[name]):
            draft.note_value(place, name, unfit)


def unfit_size(kind: str, size: int | None) -> str:
    """Why a file system does not fit a drive of this size, empty if it does."""
    if size and size < SIZE_MIN.get(kind, 0):
        return f"{kind} needs a drive of at least {show_size(SIZE_MIN[kind])}, and this one has {show_size(size)}"
    if size and kind == "vfat" and size > VFAT_MAX:
        return f"vfat needs a drive of less than 2 TiB, and this one has {show_size(size)}"
    return ""


def check_pools(draft: Draft) -> None:
    """Every pool has a name of its own, which may come from its first drive."""
    named = list(draft.find("fs.zfs.*.pool", str))
    for table, _ in draft.find("fs.zfs.*", dict):
        first = first_drive(draft, table)
        if draft.has(table, "pool") or first not in (draft.get((), "drives", dict) or {}):
            continue
        if is_pool_name(first):
            named.append((table, first))
        else:
            draft.note(table, f"needs a pool: it cannot be named after the drive {first}, which is no ZFS pool's name")
    draft.refuse_repeated(named, "pool", "name")


def first_drive(draft: Draft, table: Place) -> str:
    """The first drive of a file system, empty where that is malformed."""
    return draft.get(table, "drive", str) or draft.get((*table, "drives"), 0, str) or ""


def build_drives(document: File) -> dict[str, Drive]:
    """The drives by name."""
    return {name: Drive(name, parse_size(drive.size) or 0) for name, drive in document.drives.items()}


def build_filesystems(document: File) -> tuple[Filesystem, ...]:
    """The file systems by target: a path comes before the paths below it."""
    fs = document.fs
    found = [
        *(build_filesystem(kind, entry) for kind in ("ext4", "xfs", "vfat") for entry in getattr(fs, kind)),
        *(build_filesystem("btrfs", entry) for entry in fs.btrfs),
        *(build_filesystem("zfs", entry) for entry in fs.zfs),
    ]
    return tuple(sorted(found, key=lambda filesystem: filesystem.target.split("/")))


def build_filesystem(kind: str, entry: PlainFilesystem | Btrfs | Zfs) -> Filesystem:
    """One file system."""
    if isinstance(entry, PlainFilesystem):
        return Filesystem(kind, (entry.drive,), entry.target)
    drives = tuple(entry.drives or [entry.drive or ""])
    pool = (entry.pool or drives[0]) if isinstance(entry, Zfs) else None
    return Filesystem(kind, drives, entry.target, entry.mode, pool)
