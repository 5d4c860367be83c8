"""Where everything lies and how the agent was started; the only reader of the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from rum.protocol.limits import AGENT_PORT

OPTIONS = {"--listen", "--root", "--key", "--vm-id"}
USAGE = """\
usage: rum-agent [--listen vsock:PORT|unix:PATH] [--root DIR] [--key FILE] [--vm-id ID]

Every path of the guest lies below DIR; the VM's key is in DIR/etc/rum/key unless FILE is given.
"""


class Settings(NamedTuple):
    """Paths of one agent. With another root than "/" every guest path lies below it, which is how tests run it."""

    listen: str = f"vsock:{AGENT_PORT}"
    root: str = "/"
    key_file: str = "/etc/rum/key"
    vm_id: str = ""

    @property
    def in_guest(self) -> bool:
        """Whether this is a real guest, with its own cgroups and boot."""
        return self.root == "/"

    def path(self, guest_path: str) -> str:
        """The guest's absolute path below the root."""
        return os.path.join(self.root, guest_path.lstrip("/"))

    @property
    def state_dir(self) -> str:
        return self.path("/var/lib/rum")

    @property
    def runs_dir(self) -> str:
        return self.path("/var/lib/rum/runs")

    @property
    def scripts_dir(self) -> str:
        return self.path("/var/lib/rum/scripts")

    @property
    def sentinel(self) -> str:
        return self.path("/var/lib/rum/.system-provisioned")

    @property
    def fifo_dir(self) -> str:
        """Pipes of running scripts; on /run, so that a reboot forgets them."""
        return self.path("/run/rum/fifo")

    @property
    def has_systemd(self) -> bool:
        """sd_booted(3)."""
        return os.path.isdir(self.path("/run/systemd/system"))

    def boot_id(self) -> str:
        """The kernel's identity of this boot. Raises OSError."""
        with open(self.path("/proc/sys/kernel/random/boot_id"), encoding="ascii") as file:
            return file.read().strip()

    def uptime_s(self) -> float:
        """Seconds since the machine started; the real one, whatever the root is."""
        with open("/proc/uptime", encoding="ascii") as file:
            return float(file.read().split()[0])


def parse_arguments(argv: Sequence[str]) -> Settings:
    """The settings of a command line. Exits with 2 on a wrong one.

    Not by argparse, which would be a tenth of the agent's start and half a MiB that it keeps.
    """
    if list(argv) == ["--help"]:
        sys.stdout.write(USAGE)
        sys.exit(0)
    given = dict(zip(argv[::2], argv[1::2]))
    if len(argv) % 2 or not given.keys() <= OPTIONS:
        sys.stderr.write(USAGE)
        sys.exit(2)
    usual = Settings()
    root = os.path.abspath(given.get("--root", usual.root))
    key_file = given.get("--key", os.path.join(root, usual.key_file.lstrip("/")))
    return Settings(given.get("--listen", usual.listen), root, key_file, given.get("--vm-id", ""))
