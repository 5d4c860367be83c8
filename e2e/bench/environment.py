"""What a run was made with: results mean nothing without it."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from collections.abc import Sequence

from e2e.bench.context import Bench
from e2e.project import RUM
from rum.host import Accelerator, choose_accelerator, choose_transport

IN_GUEST = """
uname -r
python3 -c 'import platform; print(platform.python_version())'
nproc
systemctl --version | head -n 1 | cut -d' ' -f 2
"""


def of_host(image: str) -> dict[str, str]:
    """What is known before anything runs."""
    accelerator, transport = choose_accelerator("auto").accelerator, choose_transport("auto")
    found = {
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        "rum": version([str(RUM), "version"]),
        "accelerator": accelerator.value,
        "transport": transport.transport.value,
        "image": os.path.basename(image),
        "host CPUs": str(os.cpu_count()),
        "host kernel": platform.release(),
        "host Python": platform.python_version(),
        "QEMU": version([f"qemu-system-{platform.machine()}", "--version"]),
        "libvirt": version(["virsh", "--version"]),
        "OpenSSH": version(["ssh", "-V"]),
    }
    if transport.program:
        found[transport.program.name] = version([str(transport.program), "--version"])
    return found


def in_short(image: str) -> str:
    """What a figure depends on most, in words."""
    known = of_host(image)
    figures = f"{known['host CPUs']} host CPUs, QEMU {known['QEMU']}, {known['date']}"
    return f"{known['image']}, accelerator {known['accelerator']}, transport {known['transport']}, {figures}"


def of_guest(bench: Bench) -> dict[str, str]:
    """What the shared guest says of itself."""
    done = bench.guest.run(["sh", "-c", IN_GUEST])
    names = ("guest kernel", "guest Python", "guest CPUs", "guest systemd")
    return dict(zip(names, done.text.splitlines(), strict=True))


def version(command: Sequence[str]) -> str:
    """The first version in what a program says of itself, "unknown" where there is none."""
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    found = re.search(r"\d+(\.\d+)+\w*", said.stdout + said.stderr)
    return found[0] if found else "unknown"


def patience() -> int:
    """What deadlines are multiplied by: an emulated CPU gets five times as long, as in rum itself."""
    return 5 if choose_accelerator("auto").accelerator is Accelerator.TCG else 1
