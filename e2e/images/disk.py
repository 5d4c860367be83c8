"""The disk around the root filesystem: its partitions, laid out as Debian's cloud images have them."""

from collections.abc import Mapping
from pathlib import Path

from e2e.images import fat
from e2e.images.bootloader import SECTOR, boot_code, core_code

SECTORS = 3 * 1024**3 // SECTOR
_MIB = 1024**2 // SECTOR

BIOS_BOOT_START = 1 * _MIB
_BIOS_BOOT_SIZE = 3 * _MIB
_EFI_START = BIOS_BOOT_START + _BIOS_BOOT_SIZE
_EFI_SIZE = 124 * _MIB
ROOT_START = _EFI_START + _EFI_SIZE
# The last MiB is for the second copy of the partition table.
ROOT_SIZE = SECTORS - ROOT_START - 1 * _MIB

_BIOS_BOOT_TYPE = "21686148-6449-6E6F-744E-656564454649"
_EFI_TYPE = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
_ROOT_TYPE = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"

# The root partition is number 1 and lies last, so that it can grow with the disk.
SFDISK_SCRIPT = f"""\
label: gpt
unit: sectors
disk14 : start={BIOS_BOOT_START}, size={_BIOS_BOOT_SIZE}, type={_BIOS_BOOT_TYPE}
disk15 : start={_EFI_START}, size={_EFI_SIZE}, type={_EFI_TYPE}
disk1 : start={ROOT_START}, size={ROOT_SIZE}, type={_ROOT_TYPE}
"""


def create(path: Path) -> None:
    """Make an empty sparse disk."""
    with path.open("wb") as disk:
        disk.truncate(SECTORS * SECTOR)


def install_bios_boot(path: Path, boot_img: bytes, core_img: bytes) -> None:
    """Write GRUB into sector 0 and the BIOS boot partition. ValueError: what was given is not GRUB."""
    with path.open("r+b") as disk:
        disk.write(boot_code(boot_img, BIOS_BOOT_START))
        disk.seek(BIOS_BOOT_START * SECTOR)
        disk.write(core_code(core_img, BIOS_BOOT_START, _BIOS_BOOT_SIZE))


def install_efi_boot(path: Path, files: Mapping[str, bytes]) -> None:
    """Fill the EFI system partition. ValueError: these files cannot be on one."""
    with path.open("r+b") as disk:
        disk.seek(_EFI_START * SECTOR)
        disk.write(fat.filesystem(_EFI_SIZE, files))
