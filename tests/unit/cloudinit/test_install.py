"""The agent's unit and the autologin drop-in, checked by systemd where it is installed."""

from __future__ import annotations

import configparser
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from rum.cloudinit.install import backstop, build_autologin, build_unit, early_start


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
    assert "CPUWeight" not in unit["Service"], "once the guest is up, scripts have no more than anybody else"
    assert unit["Install"]["WantedBy"] == "multi-user.target"


def test_the_way_to_the_host_is_loaded_beside_the_agent_which_does_not_wait_for_it() -> None:
    text = build_unit("id", network=True)
    assert "\nWants=modprobe@vmw_vsock_virtio_transport.service\n" in text
    assert parse(text)["Unit"]["After"] == "local-fs.target"


def test_the_unit_enables_itself_as_systemctl_would() -> None:
    unit = parse(build_unit("id", network=True))
    wants = f"/etc/systemd/system/{unit['Install']['WantedBy']}.wants"
    link = f"/bin/ln -sfn /etc/systemd/system/rum-agent.service {wants}/rum-agent.service"
    assert unit["Service"]["ExecStartPre"] == f"-{link}"


def test_the_unit_is_ready_once_it_says_so_and_reloads_by_a_signal() -> None:
    service = parse(build_unit("id", network=True))["Service"]
    assert service["Type"] == "notify"
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"


def test_the_agent_does_not_give_back_the_memory_of_each_piece_of_output() -> None:
    assert "\nEnvironment=MALLOC_TRIM_THRESHOLD_=1048576\n" in build_unit("id", network=True)


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


def called(lines: list[str | list[str]], tmp_path: Path, *, fails: str) -> list[str]:
    """What systemctl is called for by the script that cloud-init makes of these lines; what fails begins like that."""
    log, program = tmp_path / "log", tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$*" >> {log}\ncase "$*" in {shlex.quote(fails)}*) exit 1;; esac\n')
    program.chmod(0o755)
    script = "#!/bin/sh\n" + "".join(f"{line if isinstance(line, str) else shlex.join(line)}\n" for line in lines)
    environment = {"PATH": f"{tmp_path}:{os.defpath}"}
    subprocess.run(["sh", "-c", script], env=environment, timeout=60, check=True)
    return log.read_text().replace(" rum-agent.service", "").splitlines()


def test_the_agent_is_started_without_a_reload(tmp_path: Path) -> None:
    assert called(early_start(autologin=False), tmp_path, fails="nothing") == ["start --no-block"]


def test_a_systemd_that_does_not_find_the_unit_is_told_to_look(tmp_path: Path) -> None:
    calls = called([*early_start(autologin=False), "true"], tmp_path, fails="start")
    assert calls == ["start --no-block", "daemon-reload", "start --no-block"]


def test_an_agent_that_runs_and_is_enabled_is_left_alone(tmp_path: Path) -> None:
    assert called(backstop(), tmp_path, fails="nothing") == ["is-active --quiet", "is-enabled --quiet"]


@pytest.mark.parametrize("fails", ["is-active", "is-enabled"])
def test_any_other_agent_is_enabled_and_started(tmp_path: Path, fails: str) -> None:
    assert called(backstop(), tmp_path, fails=fails)[-2:] == ["daemon-reload", "enable --now"]
