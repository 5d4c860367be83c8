"""How rum starts itself again: for what outlives a command, and for ssh."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

PROGRAM: tuple[str, ...] = (sys.executable, "-P", "-m", "rum.host")
"""This interpreter's rum, whatever the command was called by. -P: nothing in the current directory takes a module's
place."""

KEPT = ("PYTHONPATH", "XDG_STATE_HOME", "XDG_RUNTIME_DIR")
"""Variables that decide which rum, and where a VM's files are."""


def own_command(config: Path, *arguments: str) -> list[str]:
    """The arguments that run this rum on that rum.toml."""
    return [*PROGRAM, "-c", str(config), *arguments]


def own_command_line(config: Path, *arguments: str) -> str:
    """The same as a line for a shell, which also works where this process's variables are not set."""
    kept = [f"{name}={os.environ[name]}" for name in KEPT if os.environ.get(name)]
    return shlex.join([*(("env", *kept) if kept else ()), *own_command(config, *arguments)])
