"""A gigabyte through `rum exec`, both ways: none of it is lost, and neither side grows."""

from __future__ import annotations

import functools
import hashlib
import subprocess
import time
from pathlib import Path

from tests.endurance.conftest import Figure
from tests.endurance.test_output import GIGABYTE, output_of
from tests.unit.agent.tally import tally_of
from tests.unit.host.cli.test_commands import command
from tests.unit.host.local_guest import LocalGuest, local_guest

OURS_KIB = 64 * 1024
"""What `rum exec` may have resident at most: an interpreter with its modules, and a window of data."""

AGENTS_KIB = 30 * 1024


def agents_peak_kib(guest: LocalGuest) -> int:
    """The largest resident memory of the agent."""
    assert guest.process
    status = Path(f"/proc/{guest.process.pid}/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0])


def check(guest: LocalGuest, peak: Path, begun: float, figure: Figure) -> None:
    ours, agents = int(peak.read_text(encoding="ascii")), agents_peak_kib(guest)
    figure("MB/s", round(GIGABYTE / 1e6 / (time.monotonic() - begun)))
    figure("peak of rum exec, KiB", ours)
    figure("peak of the agent, KiB", agents)
    assert ours < OURS_KIB
    assert agents < AGENTS_KIB


def test_a_gigabyte_out(tmp_path: Path, figure: Figure) -> None:
    peak = tmp_path / "peak"
    with local_guest(tmp_path) as guest:
        settings = command(guest, "exec", "--", *output_of(GIGABYTE))
        settings["env"]["RUM_TEST_PEAK"] = str(peak)
        begun = time.monotonic()
        with subprocess.Popen(**settings, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            assert process.stdout
            with open(process.stdout.fileno(), "rb", closefd=False) as out:
                found = hashlib.file_digest(out, "sha256").hexdigest()
        check(guest, peak, begun, figure)
    assert (process.returncode, found) == (0, expected())


def test_a_gigabyte_in(tmp_path: Path, figure: Figure) -> None:
    peak = tmp_path / "peak"
    with local_guest(tmp_path) as guest:
        settings = command(guest, "exec", "--", "sha256sum")
        settings["env"]["RUM_TEST_PEAK"] = str(peak)
        begun = time.monotonic()
        with subprocess.Popen(output_of(GIGABYTE), stdout=subprocess.PIPE) as source:
            done = subprocess.run(**settings, stdin=source.stdout, capture_output=True, timeout=600, check=True)
        check(guest, peak, begun, figure)
    assert done.stdout.split()[0].decode() == expected()


@functools.cache
def expected() -> str:
    """The checksum of the same, made here."""
    return tally_of(output_of(GIGABYTE)).sha256
