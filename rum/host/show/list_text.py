"""`rum list` for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rum.host.json_lines.answers import ListedVm
from rum.host.outcome import counted
from rum.host.show.table import aligned
from rum.host.sizes import show_size

HEADER = ("NAME", "ID", "STATE", "PROVISIONED", "UP", "CREATED", "DISK", "RUM.TOML")
UNITS = (("d", 86400), ("h", 3600), ("min", 60))


def list_lines(vms: Sequence[ListedVm]) -> list[str]:
    """A line for each VM, and what all of them take."""
    if not vms:
        return ["there is no VM; `rum up` makes one"]
    total = f"{counted(len(vms), 'VM')}, {show_size(sum(vm['disk_bytes'] for vm in vms))}"
    return [*aligned([HEADER, *map(row, vms)]), total]


def row(vm: ListedVm) -> tuple[str, ...]:
    """The cells of one VM."""
    provisioned = {None: "?", True: "yes", False: "no"}[vm["provisioned"]]
    up = "" if vm["uptime_s"] is None else duration(vm["uptime_s"])
    created = datetime.fromisoformat(vm["created"]).astimezone().strftime("%Y-%m-%d") if vm["created"] else "?"
    gone = "" if vm["config_exists"] else " (gone)"
    config = f"{vm['config']}{gone}" if vm["config"] else "?"
    return (vm["name"], vm["id"], vm["state"], provisioned, up, created, show_size(vm["disk_bytes"]), config)


def duration(seconds: float) -> str:
    """A time that may be long, by its two largest units.

    >>> duration(59), duration(3 * 60), duration(90_000)
    ('59 s', '3 min', '1 d 1 h')
    """
    parts, rest = [], int(seconds)
    for unit, size in UNITS:
        count, rest = divmod(rest, size)
        parts += [f"{count} {unit}"] if count else []
    return " ".join(parts[:2]) or f"{rest} s"
