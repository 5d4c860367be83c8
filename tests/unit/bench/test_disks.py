"""Disks of first boots, by the real qemu-img."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from e2e.bench.disks import Base, base_of, make_disk


@pytest.fixture
def image(tmp_path: Path) -> Base:
    path = tmp_path / "image.raw"
    path.write_bytes(b"image" + bytes(65536))
    return Base(str(path), "raw")


def test_a_disk_lies_upon_its_image(tmp_path: Path, image: Base) -> None:
    disk = tmp_path / "disk.qcow2"
    make_disk(image, disk)
    assert base_of(disk) == image


def test_what_was_on_the_disk_before_is_gone(tmp_path: Path, image: Base) -> None:
    disk = tmp_path / "disk.qcow2"
    make_disk(image, disk)
    subprocess.run(["qemu-io", "-c", "write -P 65 0 4k", str(disk)], check=True, capture_output=True)
    assert subprocess.run(["qemu-io", "-c", "read -P 65 0 4k", str(disk)], capture_output=True).returncode == 0
    make_disk(base_of(disk), disk)
    assert subprocess.run(["qemu-io", "-c", "read -P 105 0 1", str(disk)], capture_output=True).returncode == 0


def test_a_disk_without_an_image_has_no_base(tmp_path: Path) -> None:
    disk = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "1M"], check=True)
    with pytest.raises(KeyError):
        base_of(disk)
