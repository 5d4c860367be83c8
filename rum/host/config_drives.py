"""`[drives.*]` and `[[fs.*]]` of rum.toml."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

from rum.host.config_model import Drive, Filesystem
from rum.host.sizes import ALLOWED, parse_size
from rum.host.toml_fields import Table, suggestion

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,15}")
"""With "rum-" in front it is the disk's virtio serial, of which the guest sees 20 characters."""

KINDS = ("ext4",)
LATER_KINDS = ("xfs", "btrfs", "vfat", "zfs")
SIZE_MIN = 1 << 20

TARGET = 'an absolute, normalised path other than /, without control characters, such as "/data"'


def read_drives(table: Table) -> dict[str, Drive]:
    """Every `[drives.<name>]`."""
    drives = {}
    for name, drive in table.named_tables().items():
        if not NAME.fullmatch(name):
            allowed = "a drive's name must be lower-case letters, digits and inner hyphens, at most 16 characters"
            table.problems.note(drive.path, allowed)
        drive.require("size")
        size = drive.text("size", "", ALLOWED, lambda text: (parse_size(text) or 0) >= SIZE_MIN)
        drive.close()
        drives[name] = Drive(name, parse_size(size) or 0)
    return drives


def read_filesystems(table: Table, drives: Mapping[str, Drive]) -> tuple[Filesystem, ...]:
    """Every `[[fs.<kind>]]`, by target: a path comes before the paths below it."""
    table.refuse(*LATER_KINDS)
    found: list[Filesystem] = []
    for kind in KINDS:
        for entry in table.tables(kind):
            found.append(read_filesystem(entry, kind, drives, found))
    table.close()
    return tuple(sorted(found, key=lambda filesystem: filesystem.target.split("/")))


def read_filesystem(entry: Table, kind: str, drives: Mapping[str, Drive], before: list[Filesystem]) -> Filesystem:
    """One `[[fs.<kind>]]`; a drive and a target can be used once."""
    entry.require("drive", "target")
    drive = entry.text("drive", "", "the name of a drive")
    if "drive" in entry and drive not in drives:
        text = f"there is no [drives.{drive}]{suggestion(drive, drives.keys())}"
        entry.problems.note_value(entry.path_of("drive"), drive, text)
    target = entry.text("target", "", TARGET, is_target)
    entry.close()
    for key, value, used in (
        ("drive", drive, {name for filesystem in before for name in filesystem.drives}),
        ("target", target, {filesystem.target for filesystem in before}),
    ):
        if value and value in used:
            entry.problems.note_value(entry.path_of(key), value, f"another file system has this {key}")
    return Filesystem(kind, (drive,), target)


def is_target(path: str) -> bool:
    """Whether a file system can be mounted there."""
    normalised = posixpath.normpath(path) == path and not path.startswith("//")
    return path.startswith("/") and path != "/" and normalised and path.isprintable()
