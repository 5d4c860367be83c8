"""What an examination finds."""

from __future__ import annotations

import enum
import functools
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rum.host.config.model import Config
from rum.host.errors import HostError

PROGRAM_TIMEOUT_S = 5.0
"""For a program that is asked what it is."""

LIBVIRT_TIMEOUT_S = 10.0
"""A session's daemon is started by whoever asks for it, which takes a second, or more on a host that is busy."""


class Status(enum.StrEnum):
    """What a finding means for `rum up`, worst first."""

    MISSING = "missing"
    """It cannot work."""
    SLOWER = "slower"
    """It works, and could be faster."""
    OPTIONAL = "optional"
    """It works; something that not every VM has does not."""
    OK = "ok"


@dataclass(frozen=True)
class Finding:
    """What one check found. `fix`: what to do, where there is something to do.

    `needs`: what of rum.host.remedies.PACKAGES is missing, so that all of it can be installed at once.
    """

    status: Status
    found: str
    fix: str | None = None
    needs: tuple[str, ...] = ()


@dataclass
class Host:
    """What is examined: this host, and, where there is a rum.toml, whether it can run that VM."""

    config: Config | None = None
    trouble: Finding | None = None
    """Why there is no configuration, where there should be one."""
    libvirt_timeout_s: float = field(default=LIBVIRT_TIMEOUT_S)

    @functools.cached_property
    def libvirt(self) -> dict[str, Any]:
        """What rum.host.doctor.libvirt_probe has found out, `late` where it has not in time.

        A process of its own: a call into libvirt cannot be given a deadline.
        """
        path = [str(self.config.path)] if self.config else []
        command = [sys.executable, "-P", "-m", "rum.host.doctor.libvirt_probe", *path]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=self.libvirt_timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            return {"late": True}
        try:
            found: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
            said = "".join(f": {line}" for line in last)
            return {"problem": [f"the process that asks libvirt ended with {done.returncode}{said}", None]}
        return found


Look = Callable[[Host], Finding | None]
"""A check; None where the host, or rum.toml, makes it pointless."""


def first_line(program: str, *arguments: str) -> str | None:
    """The first line that a program prints, None where it says nothing in time."""
    try:
        done = subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROGRAM_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0] if lines and done.returncode == 0 else None


def needed(error: HostError, status: Status = Status.MISSING, *needs: str) -> Finding:
    """The finding that an error of `rum up` comes to."""
    return Finding(status, str(error), error.hint, needs)


def existing_parent(path: Path) -> Path:
    """The path, or the directory in which it will be made."""
    return next(parent for parent in (path, *path.parents) if parent.exists())
