"""GRUB for BIOS machines, put in place byte by byte: what grub-bios-setup does, without a block device to do it on.

The firmware loads one sector, boot.img. boot.img loads one more, the first of core.img, from the sector number
written into it. That one loads the rest of core.img from the block list at its own end.
"""

import struct

SECTOR = 512
PARTITION_TABLE_OFFSET = 440
"""From here on sector 0 belongs to the disk signature and the partition table."""

_DRIVE_CHECK_OFFSET = 0x66
_CORE_SECTOR_OFFSET = 0x5C
_BLOCK_LIST_OFFSET = SECTOR - 12
_CORE_LOAD_SEGMENT = 0x820
"""Right after core.img's first sector, which runs at 0x8000: segment 0x800, and 0x20 paragraphs per sector."""

_NO_OPERATION = b"\x90\x90"


def boot_code(boot_img: bytes, core_sector: int) -> bytes:
    """The start of sector 0, ending before the partition table. ValueError: that is no boot.img."""
    if len(boot_img) != SECTOR or boot_img[-2:] != b"\x55\xaa":
        raise ValueError(f"boot.img is {len(boot_img)} bytes long or lacks its signature, not a boot sector")
    sector = bytearray(boot_img)
    struct.pack_into("<Q", sector, _CORE_SECTOR_OFFSET, core_sector)
    # The jump here trusts the drive number of the firmware; on hard disks grub-bios-setup removes it as well,
    # because some firmware passes a wrong one.
    sector[_DRIVE_CHECK_OFFSET : _DRIVE_CHECK_OFFSET + 2] = _NO_OPERATION
    return bytes(sector[:PARTITION_TABLE_OFFSET])


def core_code(core_img: bytes, core_sector: int, room: int) -> bytes:
    """core.img, padded to whole sectors, that finds its own rest when it lies at core_sector.

    room: sectors of the partition it goes to. ValueError: it does not fit, or is no core.img.
    """
    sectors = -(-len(core_img) // SECTOR)
    if not 2 <= sectors <= room:
        raise ValueError(f"core.img has {sectors} sectors, which does not fit a partition of {room}")
    image = bytearray(core_img.ljust(sectors * SECTOR, b"\0"))
    struct.pack_into("<QHH", image, _BLOCK_LIST_OFFSET, core_sector + 1, sectors - 1, _CORE_LOAD_SEGMENT)
    return bytes(image)
