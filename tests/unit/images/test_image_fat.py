"""The EFI system partition, read back by a reader that knows nothing of the writer."""

import struct
from collections.abc import Iterator

import pytest

from e2e.images import fat

SECTORS = 124 * 2048


def read_back(image: bytes) -> dict[str, bytes]:
    """Path to content of all files on a FAT16 filesystem."""
    sector, per_cluster, reserved, copies, root_entries = struct.unpack_from("<HBHBH", image, 11)
    (fat_sectors,) = struct.unpack_from("<H", image, 22)
    root = (reserved + copies * fat_sectors) * sector
    data = root + root_entries * 32
    cluster_size = per_cluster * sector

    def chain(cluster: int) -> Iterator[bytes]:
        while 2 <= cluster < 0xFFF8:
            start = data + (cluster - 2) * cluster_size
            yield image[start : start + cluster_size]
            (cluster,) = struct.unpack_from("<H", image, reserved * sector + 2 * cluster)

    def walk(directory: bytes, prefix: str) -> Iterator[tuple[str, bytes]]:
        for offset in range(0, len(directory), 32):
            name, extension, attributes, cluster, size = struct.unpack_from("<8s3sB14xHI", directory, offset)
            if name[0] == 0:
                return
            stem, suffix = name.decode().rstrip(), extension.decode().rstrip()
            path = f"{prefix}{stem}.{suffix}" if suffix else f"{prefix}{stem}"
            if not attributes & 0x10:
                yield path, b"".join(chain(cluster))[:size]
            elif not stem.startswith("."):
                yield from walk(b"".join(chain(cluster)), f"{path}/")

    return dict(walk(image[root:data], ""))


FILES = {
    "EFI/BOOT/BOOTX64.EFI": bytes(range(256)) * 100,
    "EFI/BOOT/GRUBX64.EFI": b"g" * 4096,
    "EFI/DEBIAN/GRUB.CFG": b"configfile\n",
    "EMPTY": b"",
}


def test_files_are_found_again() -> None:
    assert read_back(fat.filesystem(SECTORS, FILES)) == FILES


def test_both_copies_of_the_table_are_equal() -> None:
    image = fat.filesystem(SECTORS, FILES)
    (size,) = struct.unpack_from("<H", image, 22)

    assert image[512 : 512 + size * 512] == image[512 + size * 512 : 512 + 2 * size * 512]


def test_dot_dot_is_the_parent() -> None:
    image = fat.filesystem(SECTORS, {"A/B/C": b"x"})
    (size,) = struct.unpack_from("<H", image, 22)
    data = (1 + 2 * size + 32) * 512
    own_and_parent = [struct.unpack_from("<26xH4x26xH", image, data + cluster * 4096) for cluster in (0, 1)]

    assert own_and_parent == [(2, 0), (3, 2)]


def test_size_and_signature_are_those_of_the_partition() -> None:
    image = fat.filesystem(SECTORS, {})

    assert struct.unpack_from("<I", image, 32) == (SECTORS,)
    assert image[510:512] == b"\x55\xaa"


@pytest.mark.parametrize("name", ["lower", "NINECHARS", "A.LONG", "A.B.C", ".EFI", "", "Ä"])
def test_names_that_need_more_than_short_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="upper case name"):
        fat.filesystem(SECTORS, {name: b""})


def test_a_file_is_no_directory() -> None:
    with pytest.raises(ValueError, match="is a file"):
        fat.filesystem(SECTORS, {"A": b"", "A/B": b""})


@pytest.mark.parametrize("sectors", [2048, 4 * 1024 * 1024])
def test_sizes_that_would_be_another_fat_are_refused(sectors: int) -> None:
    with pytest.raises(ValueError, match="no FAT16"):
        fat.filesystem(sectors, {})


def test_files_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        fat.filesystem(36000, {"A": bytes(36000 * 512)})


def test_a_full_directory_is_refused() -> None:
    with pytest.raises(ValueError, match="in one directory"):
        fat.filesystem(SECTORS, {f"D/{number}": b"" for number in range(127)})
