"""Device files, and whether this user may open them."""

from __future__ import annotations

import os
from pathlib import Path


def why_not_openable(device: Path) -> str | None:
    """A clause that says why a device cannot be opened for reading and writing, None where it can."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return f"there is no {device}"
    except OSError as exc:
        return f"{device} cannot be opened: {exc.strerror}"
    return None
