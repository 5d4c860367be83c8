"""The log that libvirt keeps of a domain's QEMU."""

from __future__ import annotations

from pathlib import Path

import platformdirs

from rum.host.vm.libvirt_driver import is_system


def qemu_log_tail(uri: str, name: str, lines: int) -> list[str]:
    """The last lines of the log that libvirt keeps of a domain's QEMU, none where it cannot be read."""
    directory = Path("/var/log") if is_system(uri) else platformdirs.user_cache_path()
    log = directory / "libvirt/qemu" / ("" if is_system(uri) else "log") / f"{name}.log"
    try:
        return log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    except OSError:
        return []
