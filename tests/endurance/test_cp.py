"""A gigabyte and ten thousand files through `rum cp`: all the same, in little memory."""

from __future__ import annotations

import filecmp
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.endurance.conftest import Figure
from tests.unit.host.cli.test_commands import command
from tests.unit.host.local_guest import LocalGuest, local_guest

MEGABYTE = 1_000_000
FILES = 10_000
MEMORY_KIB = 64 * 1024
"""What this end may have had resident: Python and the command line are half of it."""


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGuest]:
    with local_guest(tmp_path_factory.mktemp("guest")) as running:
        yield running


def cp(guest: LocalGuest, tmp_path: Path, figure: Figure, source: str, destination: str) -> float:
    """Copy; the seconds that it took."""
    settings = command(guest, "cp", source, destination)
    peak = tmp_path / "peak"
    settings["env"]["RUM_TEST_PEAK"] = str(peak)
    begun = time.monotonic()
    done = subprocess.run(**settings, capture_output=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    took = time.monotonic() - begun
    figure("peak, KiB", int(peak.read_text()))
    assert int(peak.read_text()) < MEMORY_KIB
    return took


@pytest.mark.parametrize("mark", [(":", ""), ("", ":")], ids=["from the guest", "to the guest"])
def test_a_gigabyte(guest: LocalGuest, tmp_path: Path, figure: Figure, mark: tuple[str, str]) -> None:
    with open(tmp_path / "large", "wb") as file:
        for _ in range(1000):
            file.write(os.urandom(MEGABYTE))
    took = cp(guest, tmp_path, figure, f"{mark[0]}{tmp_path}/large", f"{mark[1]}{tmp_path}/copy")
    figure("MB/s", round(1000 / took))
    assert filecmp.cmp(tmp_path / "large", tmp_path / "copy", shallow=False)
    for name in ("large", "copy"):
        (tmp_path / name).unlink()


@pytest.mark.parametrize("mark", [(":", ""), ("", ":")], ids=["from the guest", "to the guest"])
def test_ten_thousand_files(guest: LocalGuest, tmp_path: Path, figure: Figure, mark: tuple[str, str]) -> None:
    (tmp_path / "many").mkdir()
    for number in range(FILES):
        (tmp_path / f"many/{number}").write_text(str(number))
    took = cp(guest, tmp_path, figure, f"{mark[0]}{tmp_path}/many", f"{mark[1]}{tmp_path}/copy")
    figure("files/s", round(FILES / took))
    copied = {path.name: path.read_text() for path in (tmp_path / "copy").iterdir()}
    assert copied == {str(number): str(number) for number in range(FILES)}
