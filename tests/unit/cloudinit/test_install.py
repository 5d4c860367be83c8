"""The agent's unit and the autologin drop-in, checked by systemd where it is installed."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

from rum.cloudinit.install import build_autologin, build_unit


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


def test_a_slow_start_is_no_reason_to_kill_the_agent() -> None:
    assert parse(build_unit("id", network=True))["Service"]["TimeoutStartSec"] == "infinity"


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
