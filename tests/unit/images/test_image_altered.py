"""Altering an image, with the real tools, on a disk that is laid out as the built ones are."""

import subprocess
from pathlib import Path

import pytest

from e2e.images import altered, disk, host
from e2e.images.bootloader import SECTOR
from e2e.images.errors import ImageError

OFFSET = disk.ROOT_START * SECTOR


def run(*argv: str) -> str:
    done = subprocess.run(argv, check=True, capture_output=True, text=True, env=host.environment())
    return done.stdout


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A disk with a root filesystem that has /etc/fstab."""
    tree, raw, built = tmp_path / "tree", tmp_path / "disk.raw", tmp_path / "built.qcow2"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc" / "fstab").write_text("a longer text than what takes its place\n")
    disk.create(raw)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-d", str(tree), "-E", f"offset={OFFSET}", str(raw), "16m")
    run("qemu-img", "convert", "-O", "qcow2", str(raw), str(built))
    return built


def test_files_are_replaced_and_added(image: Path, tmp_path: Path) -> None:
    target = tmp_path / "altered.raw"
    altered.copy(image, target, {"etc/fstab": "short\n", "etc/a.d/b.d/new.conf": "[Service]\n", "etc/a.d/two": "2\n"})

    root = f"{target}?offset={OFFSET}"
    assert run("debugfs", "-R", "cat etc/fstab", root) == "short\n"
    assert run("debugfs", "-R", "cat etc/a.d/b.d/new.conf", root) == "[Service]\n"
    status = run("debugfs", "-R", "stat etc/a.d/two", root)
    assert "Mode:  0644" in status
    assert "User:     0   Group:     0" in status
    run("e2fsck", "-f", "-n", root)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["altered.raw", "built.qcow2", "disk.raw", "tree"]


def test_the_image_stays_as_it_is(image: Path, tmp_path: Path) -> None:
    before = image.read_bytes()
    altered.copy(image, tmp_path / "altered.raw", {"etc/fstab": "short\n"})
    assert image.read_bytes() == before


def test_what_cannot_be_written_is_an_error(image: Path, tmp_path: Path) -> None:
    # A name longer than a directory entry can be.
    with pytest.raises(ImageError, match="debugfs has not written"):
        altered.copy(image, tmp_path / "altered.raw", {"etc/" + 300 * "x": "text\n"})


def test_what_is_no_image_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"^qemu-img failed \(status 1\): .*none"):
        altered.copy(tmp_path / "none", tmp_path / "altered.raw", {})
