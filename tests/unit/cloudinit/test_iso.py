"""The seed ISO, read back by xorriso and blkid rather than by the library that wrote it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rum.cloudinit import build_iso

FILES = {
    "meta-data": b"{}\n",
    "network-config": b"network\n",
    "user-data": b"#cloud-config\n" + bytes(range(256)) * 400,
}


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "seed.iso"
    path.write_bytes(build_iso(FILES))
    return path


def test_xorriso_reads_the_files_back(image: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("xorriso", "-osirrox", "on", "-indev", str(image), "-extract", "/", str(out))
    assert {entry.name: entry.read_bytes() for entry in out.iterdir()} == FILES


def test_the_label_is_the_one_that_cloud_init_looks_for(image: Path) -> None:
    assert run("blkid", "-p", "-s", "LABEL", "-s", "TYPE", "-o", "value", str(image)).split() == ["CIDATA", "iso9660"]


def test_xorriso_finds_no_fault(image: Path) -> None:
    report = subprocess.run(
        ["xorriso", "-abort_on", "WARNING", "-indev", str(image), "-check_media", "--"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert report.returncode == 0, report.stderr


def test_the_same_files_make_the_same_bytes_at_any_time_and_place(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_999_999_999.0)
    monkeypatch.setitem(os.environ, "TZ", "Asia/Kathmandu")
    assert build_iso(dict(reversed(FILES.items()))) == image.read_bytes()


@given(st.binary(max_size=5000), st.integers(1, 40))
def test_any_content_is_found_whole(content: bytes, count: int) -> None:
    image = build_iso({f"file-{index}": content for index in range(count)})
    assert len(image) % 2048 == 0
    assert content in image
