"""`rum reboot`: with the real agent, which is restarted as a guest would, and with a hypervisor that only plays."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import cast

import pytest

from rum.host import up as story
from rum.host.errors import ConfigError, GuestError
from rum.host.outcome import Outcome
from rum.host.store import LastStart
from rum.host.vm.machine import Machine, Started
from tests.unit.host.cli.test_commands import json_lines, rum
from tests.unit.host.local_guest import LocalGuest, Seen, local_guest, script_toml
from tests.unit.host.test_health import up
from tests.unit.host.test_up import PlayedMachine


class Rebooting(PlayedMachine):
    """A machine whose guest boots when it is started after it was shut down."""

    refusal: Exception | None = None

    def require_startable(self) -> None:
        if self.refusal:
            raise self.refusal

    def down(self) -> str:
        self._guest.stop()
        self._guest.running = False
        return "stopped"

    def start(self) -> Started:
        self._guest.new_boot()
        self._guest.start()
        return super().start()


def reboot(guest: LocalGuest, seen: Seen, refusal: Exception | None = None) -> Outcome:
    machine = Rebooting(guest, (True, True))
    machine.refusal = refusal
    return story.reboot(cast(Machine, machine), seen)


def test_boot_scripts_run_once_and_are_shown_and_system_scripts_do_not(tmp_path: Path) -> None:
    toml = script_toml("one", "echo once") + script_toml("each", "echo boot; echo x >> ran", run_on="boot", order=60)
    with local_guest(tmp_path, toml.replace("ran", f"{tmp_path}/ran")) as guest:
        up(guest)
        seen = Seen()
        outcome = reboot(guest, seen)
    assert outcome.exit == 0
    assert seen.output() == b"boot\n"
    assert (tmp_path / "ran").read_text() == "x\nx\n"


def test_a_boot_script_that_fails_is_its_end(tmp_path: Path) -> None:
    marker = tmp_path / "broken"
    with local_guest(tmp_path, script_toml("each", f"test ! -e '{marker}'", run_on="boot")) as guest:
        up(guest)
        marker.touch()
        outcome = reboot(guest, Seen())
    assert (outcome.exit, outcome.code) == (1, "script-failed")


def test_a_vm_that_could_not_start_again_is_not_shut_down(tmp_path: Path) -> None:
    with local_guest(tmp_path) as guest:
        with pytest.raises(ConfigError, match="disks only grow"):
            reboot(guest, Seen(), ConfigError("disks only grow"))
        assert guest.running


def test_a_vm_that_does_not_run_is_said_and_left_as_it_is(tmp_path: Path) -> None:
    with local_guest(tmp_path, started=False) as guest:
        guest.running = False
        with pytest.raises(GuestError, match="VM demo is stopped"):
            reboot(guest, Seen())
        done = rum(guest, "-o", "json", "reboot")
        assert (done.returncode, json_lines(done.stdout)[-1]["command"]) == (4, "reboot")


def test_with_a_broken_rum_toml_nothing_is_touched(tmp_path: Path) -> None:
    with local_guest(tmp_path) as guest:
        guest.identity.path.write_text("[image]\n")
        done = rum(guest, "reboot")
        assert (done.returncode, b"image.base" in done.stderr) == (2, True)
        assert rum(guest, "exec", "true").returncode == 0


class RebootedMeanwhile(Rebooting):
    """Another rum reboots the machine while this one waits for the lock."""

    def lock(self) -> contextlib.AbstractContextManager[None]:
        self._guest.started = LastStart("tcg", "vhost-user", 70_000, console_offset=4711)
        return super().lock()

    def down(self) -> str:
        raise AssertionError("a boot that others wait for was cut off")

    def start(self) -> Started:
        return PlayedMachine.start(self)


def test_the_reboot_of_another_rum_is_as_good(tmp_path: Path) -> None:
    with local_guest(tmp_path) as guest:
        seen = Seen()
        assert story.reboot(cast(Machine, RebootedMeanwhile(guest, (False, True))), seen).exit == 0
    assert "another rum has just booted VM demo; that is the reboot" in seen.notices()
