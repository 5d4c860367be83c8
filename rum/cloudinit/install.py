"""How the agent gets into the guest and is started there."""

from __future__ import annotations

AGENT_PATH = "/usr/local/bin/rum-agent"
KEY_PATH = "/etc/rum/key"
UNIT = "rum-agent.service"
UNIT_PATH = f"/etc/systemd/system/{UNIT}"
AUTOLOGIN_PATH = "/etc/systemd/system/serial-getty@ttyS0.service.d/autologin.conf"

STATE_DIR = "/var/lib/rum"
"""The agent's own; it makes it as soon as it starts."""

# cloud-init notes that it has written a file before it writes it, and never syncs: what a power loss in the first boot
# leaves empty, be it the agent, its key or the network's configuration, it would never write again. So nothing is
# started before everything is on the disk, and a first boot that did not get so far is done once more from its
# beginning. Nothing of value is lost by that: without the agent nothing has run yet.
SETTLE = [
    "sh",
    "-c",
    f"""\
[ -e {STATE_DIR} ] && exit 0
cd /var/lib/cloud/data
if [ "$(cat instance-id)" = "$(cat previous-instance-id)" ]; then
  cloud-init clean && systemctl reboot --force && sleep 60
fi
[ {KEY_PATH} -nt /run/systemd/notify ] || cloud-init single --name write-files --frequency always
sync
""",
]
"""A command for every boot, before the agent is started."""

DAEMON_RELOAD = ["systemctl", "daemon-reload"]
START_EARLY = ["systemctl", "start", "--no-block", UNIT]
ENABLE = ["systemctl", "enable", "--now", UNIT]


def build_unit(vm_id: str, *, network: bool) -> str:
    """The agent's systemd unit, for systemd 247 and newer."""
    # The agent waits for nothing but its disk, yet scripts may wait for network-online.target, which is only reached
    # in a boot where somebody wants it.
    wants = "Wants=network-online.target\n" if network else ""
    return f"""\
[Unit]
Description=rum guest agent
DefaultDependencies=no
After=local-fs.target
{wants}Conflicts=shutdown.target
Before=shutdown.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=/usr/bin/python3 -I -S {AGENT_PATH} --vm-id {vm_id}
Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
Restart=always
RestartSec=1
KillMode=process
Delegate=yes
OOMPolicy=continue
OOMScoreAdjust=-500
TimeoutStopSec=20
UMask=0077
StandardOutput=journal
StandardError=journal+console

[Install]
WantedBy=multi-user.target
"""


def build_autologin(user_name: str) -> str:
    """The drop-in that logs the user in on the serial console."""
    # %I and not "-": the units of systemd before 250 do not connect the terminal to stdin.
    return f"""\
[Service]
ExecStart=
ExecStart=-/sbin/agetty --autologin {user_name} --noclear --keep-baud 115200,57600,38400,9600 %I $TERM
"""
