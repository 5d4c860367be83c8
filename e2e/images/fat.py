"""A FAT16 filesystem for a few small files: the EFI system partition, without mtools or a mount."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Union

SECTOR = 512
_CLUSTER_SECTORS = 8
_CLUSTER = _CLUSTER_SECTORS * SECTOR
_ENTRY = 32
_ROOT_SECTORS = 32
_RESERVED_SECTORS = 1
_FAT_COPIES = 2

# A driver tells FAT12, FAT16 and FAT32 apart by the number of clusters and nothing else.
_LEAST_CLUSTERS, _MOST_CLUSTERS = 4085, 65524
_MEDIUM, _END_OF_CHAIN = 0xFFF8, 0xFFFF
_FILE, _DIRECTORY = 0x20, 0x10
_FIRST_DAY = 0x21

_Tree = dict[str, Union[bytes, "_Tree"]]


def filesystem(sectors: int, files: Mapping[str, bytes]) -> bytes:
    """The used beginning of a filesystem of that size; all bytes after it are zero.

    files: "DIRECTORY/NAME.EXT" to content; names are upper case, 8 and 3 characters at most.
    ValueError: such a name or size cannot be, or the files do not fit.
    """
    fat_sectors = -(-2 * (sectors // _CLUSTER_SECTORS + 2) // SECTOR)
    data_sectors = sectors - _RESERVED_SECTORS - _FAT_COPIES * fat_sectors - _ROOT_SECTORS
    clusters = data_sectors // _CLUSTER_SECTORS
    if not _LEAST_CLUSTERS <= clusters <= _MOST_CLUSTERS:
        raise ValueError(f"{sectors} sectors make {clusters} clusters, and that is no FAT16")
    volume = _Volume()
    root = b"".join(_entries(volume, _nested(files), 0))
    if len(volume.chain) - 2 > clusters or len(root) > _ROOT_SECTORS * SECTOR:
        raise ValueError(f"the files do not fit in {sectors} sectors")
    fat = struct.pack(f"<{len(volume.chain)}H", *volume.chain).ljust(fat_sectors * SECTOR, b"\0")
    boot = _boot_sector(sectors, fat_sectors)
    return boot + fat * _FAT_COPIES + root.ljust(_ROOT_SECTORS * SECTOR, b"\0") + bytes(volume.data)


@dataclass
class _Volume:
    """The clusters in use, and for each of them the next one of its file."""

    chain: list[int] = field(default_factory=lambda: [_MEDIUM, _END_OF_CHAIN])
    data: bytearray = field(default_factory=bytearray)

    def store(self, content: bytes) -> int:
        """Append a file; its first cluster, 0 for an empty one."""
        count = -(-len(content) // _CLUSTER)
        if count == 0:
            return 0
        first = len(self.chain)
        self.chain += [*range(first + 1, first + count), _END_OF_CHAIN]
        self.data += content.ljust(count * _CLUSTER, b"\0")
        return first

    def overwrite(self, cluster: int, content: bytes) -> None:
        start = (cluster - 2) * _CLUSTER
        self.data[start : start + len(content)] = content


def _nested(files: Mapping[str, bytes]) -> _Tree:
    top: _Tree = {}
    for path, content in files.items():
        *parents, name = path.split("/")
        tree = top
        for parent in parents:
            inner = tree.setdefault(parent, {})
            if isinstance(inner, bytes):
                raise ValueError(f"{parent} in {path} is a file")
            tree = inner
        tree[name] = content
    return top


def _entries(volume: _Volume, tree: _Tree, own: int) -> list[bytes]:
    return [
        _entry(_short_name(name), _FILE, volume.store(content), len(content))
        if isinstance(content, bytes)
        else _entry(_short_name(name), _DIRECTORY, _directory(volume, content, own))
        for name, content in tree.items()
    ]


def _directory(volume: _Volume, tree: _Tree, parent: int) -> int:
    # What is inside points back at this directory, so its cluster is taken before its content is known.
    own = volume.store(bytes(_CLUSTER))
    content = [_entry(b".", _DIRECTORY, own), _entry(b"..", _DIRECTORY, parent), *_entries(volume, tree, own)]
    if len(content) * _ENTRY > _CLUSTER:
        raise ValueError(f"more than {_CLUSTER // _ENTRY - 2} files in one directory")
    volume.overwrite(own, b"".join(content))
    return own


def _entry(name: bytes, attributes: int, cluster: int, size: int = 0) -> bytes:
    return struct.pack("<11sB10xHHHI", name.ljust(11), attributes, 0, _FIRST_DAY, cluster, size)


def _short_name(name: str) -> bytes:
    stem, _, extension = name.partition(".")
    allowed = name.isascii() and name == name.upper() and "." not in extension
    if not allowed or not 1 <= len(stem) <= 8 or len(extension) > 3:
        raise ValueError(f"{name!r} is not an upper case name of 8 and 3 characters at most")
    return stem.ljust(8).encode() + extension.ljust(3).encode()


def _boot_sector(sectors: int, fat_sectors: int) -> bytes:
    parameters = struct.pack(
        "<HBHBHHBHHHII",
        *(SECTOR, _CLUSTER_SECTORS, _RESERVED_SECTORS, _FAT_COPIES, _ROOT_SECTORS * SECTOR // _ENTRY),
        *(0, _MEDIUM & 0xFF, fat_sectors, 0, 0, 0, sectors),
    )
    extended = struct.pack("<BBBI11s8s", 0x80, 0, 0x29, 0, b"NO NAME".ljust(11), b"FAT16".ljust(8))
    return (b"\xeb\x3c\x90MSDOS5.0" + parameters + extended).ljust(SECTOR - 2, b"\0") + b"\x55\xaa"
