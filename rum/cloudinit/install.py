"""How the agent gets into the guest and is started there."""

from __future__ import annotations

import os

AGENT_PATH = "/usr/local/bin/rum-agent"
KEY_PATH = "/etc/rum/key"
UNIT = "rum-agent.service"
UNIT_PATH = f"/etc/systemd/system/{UNIT}"
WANTED_BY = "/etc/systemd/system/multi-user.target"

VSOCK_DRIVER = "vmw_vsock_virtio_transport"
"""Loaded beside the agent: until udev comes to it, an agent that listens cannot be reached. Where it is no module, or
not there, nothing happens (systemd's modprobe@.service)."""

DAEMON_RELOAD = ["systemctl", "daemon-reload"]
START_EARLY = ["systemctl", "start", "--no-block", UNIT]
ENABLE = ["systemctl", "enable", "--now", UNIT]

START_WITHOUT_RELOAD = f"systemctl start --no-block {UNIT} && exit"
"""systemd finds a new unit by itself; a reload runs all of its generators, which is seconds on an emulated CPU."""
LEAVE_ENABLED = f"systemctl is-active --quiet {UNIT} && systemctl is-enabled --quiet {UNIT} && exit"
"""The early start has enabled it, too; doing that again would be two more reloads."""


def early_start(*, autologin: bool) -> list[str | list[str]]:
    """Lines of `bootcmd`. The drop-in for a console that systemd already knows counts from a reload on."""
    at_once: list[str | list[str]] = [] if autologin else [START_WITHOUT_RELOAD]
    return [*at_once, DAEMON_RELOAD, START_EARLY]


def backstop() -> list[str | list[str]]:
    """Lines of `runcmd`."""
    return [LEAVE_ENABLED, DAEMON_RELOAD, ENABLE]


def build_unit(vm_id: str, *, network: bool) -> str:
    """The agent's systemd unit, for systemd 247 and newer."""
    # The agent waits for nothing but its disk, yet scripts may wait for network-online.target, which is only reached
    # in a boot where somebody wants it.
    wants = "Wants=network-online.target\n" if network else ""
    # cloud-init enables the unit at the end of the first boot, and a power cut may keep it from ever coming so far.
    enable = f"ExecStartPre=-/bin/ln -sfn {UNIT_PATH} {WANTED_BY}.wants/{UNIT}"
    # mallopt(3): else the agent gives memory back after each piece of output, whose cost is then mostly page faults.
    keep_memory = "Environment=MALLOC_TRIM_THRESHOLD_=1048576"
    # While the guest boots, cloud-init and udev want the same processor; who asks for the agent waits for it.
    # On a starved host the start takes minutes; an agent that is killed over it would begin anew, for ever.
    return f"""\
[Unit]
Description=rum guest agent
DefaultDependencies=no
After=local-fs.target
{wants}Wants=modprobe@{VSOCK_DRIVER}.service
Conflicts=shutdown.target
Before=shutdown.target
StartLimitIntervalSec=0

[Service]
Type=notify
TimeoutStartSec=infinity
{enable}
ExecStart=/usr/bin/python3 -I -S -X utf8 {AGENT_PATH} --vm-id {vm_id}
ExecReload=/bin/kill -HUP $MAINPID
Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
{keep_memory}
Restart=always
RestartSec=1
KillMode=process
Delegate=yes
StartupCPUWeight=1000
OOMPolicy=continue
OOMScoreAdjust=-500
TimeoutStopSec=20
UMask=0077
StandardOutput=journal
StandardError=journal+console

[Install]
WantedBy={os.path.basename(WANTED_BY)}
"""


def autologin_path(serial_device: str) -> str:
    """Where the drop-in for a serial console goes."""
    return f"/etc/systemd/system/serial-getty@{serial_device}.service.d/autologin.conf"


def build_autologin(user_name: str) -> str:
    """The drop-in that logs the user in on the serial console."""
    # %I and not "-": the units of systemd before 250 do not connect the terminal to stdin.
    return f"""\
[Service]
ExecStart=
ExecStart=-/sbin/agetty --autologin {user_name} --noclear --keep-baud 115200,57600,38400,9600 %I $TERM
"""
