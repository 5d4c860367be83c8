"""GRUB's boot blocks: each field that grub-bios-setup would fill in, at its place, and nothing else touched."""

import struct

import pytest

from e2e.images.bootloader import SECTOR, boot_code, core_code

BOOT_IMG = bytes(range(256)) + bytes(254) + b"\x55\xaa"
CORE_IMG = bytes(range(256)) * 9


def changed_offsets(before: bytes, after: bytes) -> set[int]:
    return {offset for offset, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]}


def test_boot_code_ends_before_the_partition_table() -> None:
    assert len(boot_code(BOOT_IMG, 2048)) == 440


def test_boot_code_finds_the_core_image() -> None:
    code = boot_code(BOOT_IMG, 0x1_0000_0800)

    assert struct.unpack_from("<Q", code, 0x5C) == (0x1_0000_0800,)


def test_boot_code_does_not_trust_the_drive_number() -> None:
    assert boot_code(BOOT_IMG, 2048)[0x66:0x68] == b"\x90\x90"


def test_boot_code_changes_nothing_else() -> None:
    assert changed_offsets(BOOT_IMG, boot_code(BOOT_IMG, 2048)) <= {*range(0x5C, 0x64), 0x66, 0x67}


@pytest.mark.parametrize(
    "boot_img",
    [
        pytest.param(b"", id="empty"),
        pytest.param(BOOT_IMG[:-1], id="short"),
        pytest.param(BOOT_IMG + b"\0", id="long"),
        pytest.param(bytes(SECTOR), id="no-signature"),
    ],
)
def test_what_is_no_boot_img_is_refused(boot_img: bytes) -> None:
    with pytest.raises(ValueError, match="not a boot sector"):
        boot_code(boot_img, 2048)


def test_core_code_finds_its_own_rest() -> None:
    code = core_code(CORE_IMG, 2048, room=100)

    # 2304 bytes are 5 sectors: the one that is loaded already and 4 after it, to go right behind it.
    assert struct.unpack_from("<QHH", code, 500) == (2049, 4, 0x820)


def test_core_code_is_padded_to_whole_sectors_and_otherwise_unchanged() -> None:
    code = core_code(CORE_IMG, 2048, room=100)

    assert len(code) == 5 * SECTOR
    assert changed_offsets(CORE_IMG, code) <= set(range(500, 512))
    assert not any(code[len(CORE_IMG) :])


def test_core_code_that_fills_its_room_fits() -> None:
    assert len(core_code(CORE_IMG, 2048, room=5)) == 5 * SECTOR


@pytest.mark.parametrize(
    ("core_img", "room"),
    [
        pytest.param(CORE_IMG, 4, id="too-big"),
        pytest.param(bytes(SECTOR), 4, id="only-its-first-sector"),
        pytest.param(b"", 4, id="empty"),
    ],
)
def test_core_code_that_does_not_fit_is_refused(core_img: bytes, room: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        core_code(core_img, 2048, room)
