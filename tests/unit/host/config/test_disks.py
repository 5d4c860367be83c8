"""`[drives.*]` and `[[fs.*]]`: what they come to."""

from __future__ import annotations

from pathlib import Path

from rum.host.config.load import load_config
from rum.host.config.model import Drive, Filesystem
from tests.unit.host.config.config_text import MINIMAL, problems, write


def test_file_systems_over_several_drives(tmp_path: Path) -> None:
    drives = "".join(f'[drives.{name}]\nsize = "1G"\n' for name in "abcdefg")
    config = load_config(
        write(
            tmp_path,
            MINIMAL
            + drives
            + """
[[fs.zfs]]
drives = ["a", "b"]
target = "/tank"
mode = "mirror"
[[fs.zfs]]
drive = "c"
target = "/pool"
pool = "Pool_1"
[[fs.btrfs]]
drives = ["d", "e"]
target = "/many"
mode = "raid1"
[[fs.btrfs]]
drive = "f"
target = "/one"
[[fs.vfat]]
drive = "g"
target = "/efi"
""",
        )
    )
    assert config.filesystems == (
        Filesystem("vfat", ("g",), "/efi"),
        Filesystem("btrfs", ("d", "e"), "/many", "raid1"),
        Filesystem("btrfs", ("f",), "/one"),
        Filesystem("zfs", ("c",), "/pool", "stripe", "Pool_1"),
        Filesystem("zfs", ("a", "b"), "/tank", "mirror", "a"),
    )


def test_parents_are_mounted_before_what_is_below_them(tmp_path: Path) -> None:
    entries = [("a", "/srv/data/deep"), ("b", "/srv/data"), ("c", "/srv/data-2")]
    drives = "".join(f'[drives.{name}]\nsize = "1G"\n' for name, _ in entries)
    tables = "".join(f'[[fs.ext4]]\ndrive = "{name}"\ntarget = "{target}"\n' for name, target in entries)
    config = load_config(write(tmp_path, MINIMAL + drives + tables))
    assert [filesystem.drives[0] for filesystem in config.filesystems] == ["b", "a", "c"]


def test_the_smallest_and_the_largest_drive(tmp_path: Path) -> None:
    def drive(size: str) -> str:
        return f'{MINIMAL}[drives.a]\nsize = "{size}"\n'

    assert load_config(write(tmp_path, drive("1024K"))).drives == {"a": Drive("a", 1 << 20)}
    assert load_config(write(tmp_path, drive("64T"))).drives == {"a": Drive("a", 64 << 40)}
    for size in ("1023K", "65T"):
        assert problems(tmp_path, drive(size)) == [
            f'drives.a.size = "{size}": must be a size such as "512M", "20G" or "1T", from "1M" to "64T"'
        ]
