"""Root disks of first boots: nothing on them but their image."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import NamedTuple

SIZE = "4G"


class Base(NamedTuple):
    """An image that disks lie upon, and its format by QEMU's name."""

    file: str
    format: str


def base_of(overlay: Path) -> Base:
    """What a disk lies upon. Raises CalledProcessError."""
    asked = ["qemu-img", "info", "--force-share", "--output", "json", str(overlay)]
    info = json.loads(subprocess.run(asked, capture_output=True, check=True, timeout=60).stdout)
    return Base(info["full-backing-filename"], info["backing-filename-format"])


def make_disk(base: Base, overlay: Path) -> None:
    """A disk as the image has it, in place of the one that may be there. Raises CalledProcessError."""
    overlay.unlink(missing_ok=True)
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", base.format, "-b", base.file, str(overlay), SIZE]
    subprocess.run(command, capture_output=True, check=True, timeout=60)
