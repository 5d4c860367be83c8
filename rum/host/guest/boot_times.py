"""Where a guest's boot went: what systemd and cloud-init have noted of it, for the end of `rum up -v`."""

from __future__ import annotations

import contextlib
import datetime
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from rum.host.captured import run_captured
from rum.host.channel.guest import Guest
from rum.host.channel.reach import reach_agent
from rum.host.errors import GuestError
from rum.host.events import Emit, GuestBoot, Stage
from rum.host.exec import ExecRequest

PROGRAM = Path(__file__).with_name("boot_times.sh")

UNITS = {
    "local-fs.target": "local-fs.target",
    "rum-agent.service": "rum-agent",
    "cloud-init-local.service": "cloud-init-local",
    "cloud-init.service": "cloud-init",
    "cloud-init-network.service": "cloud-init",
    "network-online.target": "network-online.target",
    "ssh.service": "ssh",
    "sshd.service": "ssh",
    "cloud-config.service": "cloud-config",
    "cloud-final.service": "cloud-final",
}
"""What a first boot is made of, by unit, and what it is called; cloud-init.service has a new name since 24.3."""

BEGUN = "InactiveExitTimestampMonotonic"
DONE = "ActiveEnterTimestampMonotonic"

# handlers.py of cloud-init; the log's own prefix differs from release to release.
MODULE_EVENT = re.compile(
    r"^(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) - .*?\b(?P<what>start|finish): "
    r"(?P<stage>[a-z-]+/(?:config-)?(?P<name>[A-Za-z0-9_-]{1,64})): "
)
FIRST_OF_A_BOOT = "init-local/check-cache"

SLOWEST = 5
"""Modules that are worth a word."""

TIMEOUT_S = 30.0
"""For figures that nobody needs."""

TIMESTAMP_MAX_US = 10**15
"""Some thirty years of uptime: what is more is no timestamp."""


def tell_boot_times(guest: Guest, emit: Emit) -> None:
    """Emit what the guest knows of its boot; where it cannot be had, nothing."""
    argv = ["sh", "-c", PROGRAM.read_text(encoding="utf-8"), "rum-boot-times", *UNITS]
    request = ExecRequest(argv, timeout_s=TIMEOUT_S * guest.timeout_factor())
    with contextlib.suppress(GuestError), reach_agent(guest, emit) as connection:
        found = parse(run_captured(connection, request).text)
        if found.stages:
            emit(found)


def parse(text: str) -> GuestBoot:
    """The figures in what PROGRAM prints; what is none is left out."""
    # An alias is told of like the unit itself.
    stages = sorted({*manager_stages(text), *unit_stages(text)}, key=lambda stage: stage.start_ms)
    return GuestBoot(tuple(stages), tuple(slowest_modules(text)))


def manager_stages(text: str) -> Iterator[Stage]:
    """What comes before every unit, and the end of the boot; a property of systemd(1)'s manager object each."""
    known = properties(text)
    userspace, initrd, finish = (known.get(f"{name}TimestampMonotonic") for name in ("Userspace", "InitRD", "Finish"))
    if userspace:
        yield Stage("kernel", 0, initrd or userspace)
        if initrd:
            yield Stage("initrd", initrd, userspace - initrd)
    if finish:
        yield Stage("boot finished", finish, None)


def unit_stages(text: str) -> Iterator[Stage]:
    """The units that were reached, each with how long it took; a target is a moment."""
    for block in text.split("\n\n"):
        found = re.search(r"^Id=(.*)$", block, re.MULTILINE)
        name = UNITS.get(found[1]) if found else None
        times = properties(block)
        if name and (done := times.get(DONE)):
            begun = times.get(BEGUN) or done
            yield Stage(name, done, None) if name.endswith(".target") else Stage(name, begun, max(0, done - begun))


def properties(text: str) -> Mapping[str, int]:
    """The timestamps in lines of systemctl(1), in milliseconds; those that were never reached are 0 there."""
    found = re.findall(r"^(\w+TimestampMonotonic)=([0-9]{1,16})$", text, re.MULTILINE)
    return {name: int(us) // 1000 for name, us in found if 0 < int(us) <= TIMESTAMP_MAX_US}


def slowest_modules(text: str) -> list[tuple[str, int]]:
    """cloud-init's slowest modules of this boot, each with its milliseconds, the slowest first."""
    begun: dict[str, datetime.datetime] = {}
    took: dict[str, int] = {}
    for event in filter(None, map(MODULE_EVENT.match, text.splitlines())):
        if event["what"] == "start" and event["stage"] == FIRST_OF_A_BOOT:
            begun, took = {}, {}
        time = moment(event["time"])
        if time is None or "/config-" not in event["stage"]:
            continue
        if event["what"] == "start":
            begun[event["stage"]] = time
        elif event["stage"] in begun:
            took[event["name"]] = max(0, round((time - begun[event["stage"]]).total_seconds() * 1000))
    return sorted(took.items(), key=lambda module: -module[1])[:SLOWEST]


def moment(text: str) -> datetime.datetime | None:
    """A time of cloud-init's log, which is the guest's local one: good for differences alone."""
    try:
        return datetime.datetime.strptime(text, "%Y-%m-%d %H:%M:%S,%f")  # noqa: DTZ007 - see above
    except ValueError:
        return None
