"""The agent's unit and the autologin drop-in, checked by systemd where it is installed."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
from pathlib import Path

from rum.cloudinit.install import SETTLE, build_autologin, build_unit


def parse(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


def test_the_unit_is_restarted_for_ever_and_leaves_scripts_alone() -> None:
    unit = parse(build_unit("id", network=True))
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert unit["Service"]["Restart"] == "always"
    assert unit["Service"]["KillMode"] == "process"
    assert unit["Service"]["OOMPolicy"] == "continue"
    assert unit["Install"]["WantedBy"] == "multi-user.target"


def test_the_unit_enables_itself_as_systemctl_would() -> None:
    unit = parse(build_unit("id", network=True))
    wants = f"/etc/systemd/system/{unit['Install']['WantedBy']}.wants"
    link = f"/bin/ln -sfn /etc/systemd/system/rum-agent.service {wants}/rum-agent.service"
    assert unit["Service"]["ExecStartPre"] == f"-{link}"


def test_the_unit_is_ready_once_it_says_so_and_reloads_by_a_signal() -> None:
    service = parse(build_unit("id", network=True))["Service"]
    assert service["Type"] == "notify"
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"


def test_the_unit_never_waits_for_the_network() -> None:
    assert parse(build_unit("id", network=True))["Unit"]["After"] == "local-fs.target"


def test_autologin_replaces_the_command() -> None:
    lines = build_autologin("dev").splitlines()
    assert lines[:2] == ["[Service]", "ExecStart="]
    assert "--autologin dev " in lines[2]


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "rum-agent.service"
    unit.write_text(build_unit("id", network=True).replace("/usr/bin/python3", shutil.which("true") or ""))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60
    )
    assert "rum-agent.service" not in verified.stderr


class Guest:
    """A directory in a guest's place, in which commands that would change a machine only say that they were called."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._calls = root / "calls"
        self._calls.touch()
        for directory in ("bin", "run/systemd", "etc/rum", "var/lib/cloud/data"):
            (root / directory).mkdir(parents=True)
        for name in ("cloud-init", "systemctl", "sleep", "sync"):
            program = root / "bin" / name
            program.write_text(f'#!/bin/sh\necho "{name} $*" >> {self._calls}\n')
            program.chmod(0o755)

    def write(self, path: str, text: str, time: int = 0) -> None:
        """A file that was changed so many seconds after the epoch."""
        (self._root / path).write_text(text)
        os.utime(self._root / path, (time, time))

    def boot(self, previous: str, key_written: int) -> list[str]:
        """What is called in a boot at 1000 s, with the previous boot's instance and the time of the key."""
        self.write("run/systemd/notify", "", 1000)
        self.write("var/lib/cloud/data/instance-id", "mine")
        self.write("var/lib/cloud/data/previous-instance-id", previous)
        self.write("etc/rum/key", "", key_written)
        script = SETTLE[2]
        for top in ("/etc/", "/var/", "/run/"):
            script = script.replace(top, f"{self._root}{top}")
        path = f"{self._root / 'bin'}:{os.environ['PATH']}"
        subprocess.run([*SETTLE[:2], script], env={"PATH": path}, check=True, timeout=30)
        return self._calls.read_text().splitlines()


def test_a_first_boot_is_synced_before_anything_starts(tmp_path: Path) -> None:
    assert Guest(tmp_path).boot("NO_PREVIOUS_INSTANCE_ID", key_written=1030) == ["sync "]


def test_a_first_boot_that_was_cut_short_is_done_again(tmp_path: Path) -> None:
    calls = Guest(tmp_path).boot("mine", key_written=500)
    assert calls[:2] == ["cloud-init clean", "systemctl reboot --force"]


def test_files_of_a_boot_whose_instance_was_forgotten_are_written_again(tmp_path: Path) -> None:
    calls = Guest(tmp_path).boot("NO_PREVIOUS_INSTANCE_ID", key_written=500)
    assert calls == ["cloud-init single --name write-files --frequency always", "sync "]


def test_once_the_agent_has_been_started_nothing_is_done_any_more(tmp_path: Path) -> None:
    guest = Guest(tmp_path)
    (tmp_path / "var/lib/rum").mkdir()
    assert guest.boot("mine", key_written=500) == []
