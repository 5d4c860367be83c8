"""`rum up` from top to bottom, with the real agent and a VM that is only played."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from rum import __version__
from rum.host import up as story
from rum.host.channel.reach import PausedError, StoppedError
from rum.host.errors import HostError
from rum.host.events import GuestBoot, Phase, Stage
from rum.host.guest import boot_times, drive_release
from rum.host.guest.drives import drives_script
from rum.host.vm.machine import Machine, Started
from rum.protocol import ProvisionScript
from tests.unit.host.local_guest import LocalGuest, Seen, local_guest


class PlayedMachine:
    """A machine that is a LocalGuest; each start takes the next of these states."""

    def __init__(self, guest: LocalGuest, *starts: tuple[bool, bool]) -> None:
        self._guest = guest
        self._starts = list(starts)

    def __getattr__(self, name: str) -> object:
        return getattr(self._guest, name)

    def lock(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def start(self) -> Started:
        booted, self._guest.running = self._starts.pop(0)
        return Started(created=False, booted=booted, accelerator="tcg", transport="vhost-user")

    def detach_drive(self, name: str) -> bool:
        """The hypervisor's part."""
        self._guest.leaving.remove(name)
        return True


def up(guest: LocalGuest, seen: Seen, *starts: tuple[bool, bool]) -> int:
    return story.up(cast(Machine, PlayedMachine(guest, *starts)), seen).exit


def test_a_vm_whose_death_libvirt_has_not_noticed_yet_is_started(tmp_path: Path) -> None:
    with local_guest(tmp_path) as guest:
        seen = Seen()
        assert up(guest, seen, (False, False), (True, True)) == 0
        assert any("has just died" in text for text in seen.notices())


def test_a_vm_that_dies_while_it_boots_is_not_started_over_and_over(tmp_path: Path) -> None:
    with local_guest(tmp_path) as guest, pytest.raises(StoppedError, match="stopped while rum was waiting"):
        up(guest, Seen(), (True, False), (True, True))


def test_nor_is_one_that_was_shut_down_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "STALE_STATE_MS", -1)
    with local_guest(tmp_path) as guest, pytest.raises(StoppedError):
        up(guest, Seen(), (False, False), (True, True))


def test_nor_is_one_whose_disk_is_still_full(tmp_path: Path) -> None:
    with local_guest(tmp_path) as guest:
        guest.out_of_space = True
        with pytest.raises(PausedError, match="is full"):
            up(guest, Seen(), (False, True), (True, True))


def test_a_boot_and_what_makes_the_agent_ready_are_phases(tmp_path: Path) -> None:
    with local_guest(tmp_path) as guest:
        seen = Seen()
        assert up(guest, seen, (True, True)) == 0
        phases = [(event.name, event.status) for event in seen if isinstance(event, Phase)]
        assert phases == [("boot", "started"), ("boot", "done"), ("agent", "started"), ("agent", "done")]
        [ready] = [event for event in seen if isinstance(event, Phase) and event.detail]
        assert ready.detail.startswith(f"rum-agent {__version__}, Python 3")


def test_a_boot_that_fails_is_a_phase_that_failed(tmp_path: Path) -> None:
    with local_guest(tmp_path) as guest:
        seen = Seen()
        with pytest.raises(StoppedError):
            up(guest, seen, (True, False))
        assert [(event.name, event.status) for event in seen if isinstance(event, Phase)][-1] == ("boot", "failed")


def test_what_is_up_says_how_long_it_took_and_what_can_be_done_with_it(tmp_path: Path) -> None:
    with local_guest(tmp_path) as guest:
        outcome = story.up(cast(Machine, PlayedMachine(guest, (True, True))), Seen())
        assert outcome.text.startswith("VM demo is up: no scripts to run (")
        assert outcome.hint == "next: `rum ssh`, `rum exec -- COMMAND`"


def test_a_vm_that_was_booted_is_asked_where_its_boot_went_if_anybody_wants_to_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "boot_times.sh"
    program.write_text("echo UserspaceTimestampMonotonic=4900000")
    monkeypatch.setattr(boot_times, "PROGRAM", program)
    with local_guest(tmp_path) as guest:
        for booted, wanted in ((True, True), (True, False), (False, True)):
            seen = Seen()
            story.up(cast(Machine, PlayedMachine(guest, (booted, True))), seen, guest_figures=wanted)
            told = [event.stages for event in seen if isinstance(event, GuestBoot)]
            assert told == ([(Stage("kernel", 0, 4900),)] if booted and wanted else [])


def test_only_the_first_ports_are_spelled_out() -> None:
    ports = [{"bind": "127.0.0.1", "host": 8000 + number, "guest": number, "auto": True} for number in range(9)]
    steps = story.next_steps(ports)
    assert steps.endswith("; 127.0.0.1:8002 leads to the guest's 2; `rum status` shows 6 more ports")


EMPTY = drives_script((), "", {})


def harmless(guest: LocalGuest, script: ProvisionScript, text: str) -> ProvisionScript:
    return script._replace(content=f"echo {text} >>'{guest.directory}/log'")


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalGuest]:
    """A guest that has passed a drives script; that of a rum.toml without file systems only takes note."""
    with local_guest(tmp_path) as guest:
        empty = harmless(guest, EMPTY, "unmounted")
        monkeypatch.setattr("rum.host.runs.provisioning.drives_script", lambda *_: empty)
        guest.the_drives_script = harmless(guest, empty, "mounted")
        assert up(guest, Seen(), (True, True)) == 0
        assert log_of(guest) == ["mounted"]
        yield guest


def log_of(guest: LocalGuest) -> list[str]:
    return (guest.directory / "log").read_text().splitlines()


def test_a_guest_whose_file_systems_have_all_left_rum_toml_is_told_once(guest: LocalGuest) -> None:
    guest.the_drives_script = None
    for _ in range(3):
        assert up(guest, Seen(), (False, True)) == 0
    assert log_of(guest) == ["mounted", "unmounted"]


def test_file_systems_that_come_back_are_mounted_again(guest: LocalGuest) -> None:
    mounted, guest.the_drives_script = guest.the_drives_script, None
    assert up(guest, Seen(), (False, True)) == 0
    guest.the_drives_script = mounted
    assert up(guest, Seen(), (False, True)) == 0
    assert log_of(guest) == ["mounted", "unmounted", "mounted"]


def test_a_drive_is_detached_once_the_guest_has_let_go_of_it(guest: LocalGuest) -> None:
    guest.the_drives_script = harmless(guest, EMPTY, "gone")
    guest.leaving = ["old"]
    seen = Seen()
    assert up(guest, seen, (False, True)) == 0
    assert (log_of(guest), guest.leaving) == (["mounted", "gone"], [])
    where = guest.paths.drive("old")
    assert seen.notices()[-1] == (
        f"the drive old, which is not in rum.toml any more, is detached; its data stays in {where}"
    )


def test_a_drive_whose_unmount_failed_stays(guest: LocalGuest) -> None:
    guest.the_drives_script = EMPTY._replace(content="exit 1")
    guest.leaving = ["old"]
    seen = Seen()
    assert up(guest, seen, (False, True)) == 1
    assert guest.leaving == ["old"]
    assert not any("detached" in text for text in seen.notices())


def test_a_drive_that_the_guest_uses_stays_with_a_warning(guest: LocalGuest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drive_release, "TRY_DISK", "raise SystemExit(3)")
    guest.the_drives_script = harmless(guest, EMPTY, "gone")
    guest.leaving = ["old"]
    seen = Seen()
    assert up(guest, seen, (False, True)) == 0
    assert guest.leaving == ["old"]
    assert "stays attached, because something in the guest uses it" in seen.notices()[-1]


def test_a_hypervisor_that_does_not_detach_it_is_a_warning(guest: LocalGuest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(machine: PlayedMachine, name: str) -> bool:
        raise HostError("libvirt is gone")

    monkeypatch.setattr(PlayedMachine, "detach_drive", refuse)
    guest.the_drives_script = harmless(guest, EMPTY, "gone")
    guest.leaving = ["old"]
    seen = Seen()
    assert up(guest, seen, (False, True)) == 0
    assert seen.notices()[-1] == ("the drive old, which is not in rum.toml any more, stays attached: libvirt is gone")
