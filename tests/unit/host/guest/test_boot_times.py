"""Where a guest's boot went, by what systemd and cloud-init have noted of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rum.host.events import GuestBoot, Stage
from rum.host.guest import boot_times
from rum.host.guest.boot_times import parse, tell_boot_times
from tests.unit.host.local_guest import Seen, local_guest

MANAGER = "UserspaceTimestampMonotonic=4900000\nInitRDTimestampMonotonic=0\nFinishTimestampMonotonic=44200000\n"
UNITS = """
Id=local-fs.target
InactiveExitTimestampMonotonic=10200000
ActiveEnterTimestampMonotonic=10200000

Id=cloud-init-local.service
InactiveExitTimestampMonotonic=10400000
ActiveEnterTimestampMonotonic=22500000

Id=rum-agent.service
InactiveExitTimestampMonotonic=21000000
ActiveEnterTimestampMonotonic=22100000

Id=cloud-final.service
InactiveExitTimestampMonotonic=0
ActiveEnterTimestampMonotonic=0
"""
LOG = """
2026-11-01 10:00:00,000 - handlers.py[DEBUG]: start: init-local/check-cache: attempting to read from cache [check]
2026-11-01 10:00:01,000 - handlers.py[DEBUG]: start: modules-final/config-old: running config-old
2026-11-01 10:00:31,000 - handlers.py[DEBUG]: finish: modules-final/config-old: SUCCESS: config-old ran
2026-11-26 23:59:58,000 - handlers.py[DEBUG]: start: init-local/check-cache: attempting to read from cache [check]
2026-11-26 23:59:59,500 - handlers.py[DEBUG]: start: init-network/config-growpart: running config-growpart
2026-11-27 00:00:01,250 - handlers.py[DEBUG]: finish: init-network/config-growpart: SUCCESS: config-growpart ran
2026-11-27 00:00:02,000 - handlers.py[DEBUG]: start: init-network/config-ssh: running config-ssh
2026-11-27 00:00:02,400 - handlers.py[DEBUG]: finish: init-network/config-ssh: FAIL: running config-ssh
2026-11-27 00:00:03,000 - handlers.py[DEBUG]: start: modules-final/config-scripts_user: running it
"""


def test_stages_by_the_guests_own_clock_in_their_order() -> None:
    assert parse(MANAGER + UNITS).stages == (
        Stage("kernel", 0, 4900),
        Stage("local-fs.target", 10_200, None),
        Stage("cloud-init-local", 10_400, 12_100),
        Stage("rum-agent", 21_000, 1100),
        Stage("boot finished", 44_200, None),
    )


def test_an_initrd_with_systemd_is_a_stage_of_its_own() -> None:
    found = parse("UserspaceTimestampMonotonic=4900000\nInitRDTimestampMonotonic=1500000\nFinishTimestampMonotonic=0\n")
    assert found.stages == (Stage("kernel", 0, 1500), Stage("initrd", 1500, 3400))


def test_a_unit_that_is_asked_for_by_two_names_is_one_stage() -> None:
    found = parse(MANAGER + UNITS + UNITS.replace("local-fs.target", "ssh.service") + UNITS.replace("local-fs", "x"))
    assert [stage.name for stage in found.stages].count("cloud-init-local") == 1


def test_the_modules_of_this_boot_the_slowest_first() -> None:
    assert parse(MANAGER + UNITS + LOG).modules == (("growpart", 1750), ("ssh", 400))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n\n",
        "UserspaceTimestampMonotonic=soon\nFinishTimestampMonotonic=-5\n",
        f"UserspaceTimestampMonotonic={'9' * 400}\n",
        "\nId=../../etc\nInactiveExitTimestampMonotonic=1\nActiveEnterTimestampMonotonic=2\n",
        "\nId=ssh.service\n",
        "2026-99-99 10:00:00,000 - handlers.py[DEBUG]: start: init/config-x: y\n",
        "2026-11-27 10:00:00,000 - handlers.py[DEBUG]: finish: init/config-x: y\n",
    ],
)
def test_nonsense_is_no_figure(text: str) -> None:
    assert parse(text) == GuestBoot((), ())


def test_they_are_fetched_from_the_guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = tmp_path / "noted"
    noted.write_text(MANAGER + UNITS + LOG)
    program = tmp_path / "boot_times.sh"
    program.write_text(f"cat {noted}")
    monkeypatch.setattr(boot_times, "PROGRAM", program)
    with local_guest(tmp_path) as guest:
        seen = Seen()
        tell_boot_times(guest, seen)
    assert seen == [parse(MANAGER + UNITS + LOG)]


def test_a_guest_that_does_not_tell_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "boot_times.sh"
    program.write_text("echo broken >&2; exit 3")
    monkeypatch.setattr(boot_times, "PROGRAM", program)
    with local_guest(tmp_path) as guest:
        seen = Seen()
        tell_boot_times(guest, seen)
        guest.running = False
        guest.stop()
        tell_boot_times(guest, seen)
    assert seen == []
