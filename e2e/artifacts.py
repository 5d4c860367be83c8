"""What is kept of VMs whose test has failed, for whoever was not there: consoles, logs and run records."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "RUM_E2E_ARTIFACTS"
"""Names the directory; nothing is kept where it is not set."""

KEPT = ("*.log", "runs")
"""Of a VM's directory. Never its keys, its disks, its seed or its state, which holds the environment of scripts."""


def destination(project: Path) -> Path | None:
    """Where the evidence of a project goes, None where nobody wants it."""
    directory = os.environ.get(VARIABLE)
    # Two workers of pytest-xdist have projects of the same name.
    return Path(directory, os.environ.get("PYTEST_XDIST_WORKER", "main"), project.name) if directory else None


def keep(state: Path, into: Path) -> list[Path]:
    """Copy the evidence of every VM, also of those that are gone, below an XDG_STATE_HOME; what was copied.

    Raises OSError.
    """
    return [copy_of(path, into / path.parent.name) for path in sorted(evidence(state))]


def evidence(state: Path) -> Iterator[Path]:
    """Each file and directory that is worth keeping."""
    for pattern in KEPT:
        yield from state.glob(f"rum/vms/*/{pattern}")


def copy_of(path: Path, into: Path) -> Path:
    """The copy of a file, or of a directory with all that is in it."""
    into.mkdir(parents=True, exist_ok=True)
    target = into / path.name
    if path.is_dir():
        shutil.copytree(path, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(path, target)
    return target
