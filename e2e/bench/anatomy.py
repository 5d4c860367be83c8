"""Where the time of a first boot goes: what the guest noted by its own clock, counted from its domain's start."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from e2e.bench.experiment import Measured, Series, number
from e2e.project import Project

BEGIN = "<!-- Between these two lines nox -s bench writes where the time of a first boot goes. -->"
END = "<!-- The end of where the time of a first boot goes. -->"

KERNEL = "the kernel begins"

MOMENTS = {
    "`local-fs.target`": ("local-fs.target", "ActiveEnterTimestampMonotonic"),
    "cloud-init begins": ("cloud-init-local.service", "InactiveExitTimestampMonotonic"),
    "the agent is started": ("rum-agent.service", "InactiveExitTimestampMonotonic"),
    "the agent listens": ("rum-agent.service", "ActiveEnterTimestampMonotonic"),
    "cloud-init's stage before the network is done": ("cloud-init-local.service", "ActiveEnterTimestampMonotonic"),
    "`network-online.target`": ("network-online.target", "ActiveEnterTimestampMonotonic"),
    "sshd is up": ("ssh.service", "ActiveEnterTimestampMonotonic"),
    "cloud-init's stage after it is done": ("cloud-init.service", "ActiveEnterTimestampMonotonic"),
    "`multi-user.target`": ("multi-user.target", "ActiveEnterTimestampMonotonic"),
    "cloud-init has finished": ("cloud-final.service", "ActiveEnterTimestampMonotonic"),
}
"""systemd's units, and which of their time stamps, in microseconds (org.freedesktop.systemd1(5))."""

KINDS = {"early": "rum", "by-runcmd": "agent by `runcmd`"}
"""Of boots, by the names of their series."""

Moments = Mapping[str, float]


def moments(project: Project, begun: float) -> Moments:
    """Seconds from the domain's start, which was at `begun` by the monotonic clock; what never was is left out."""
    kernel_began = kernel_s(project) - begun
    reached = time_stamps(
        project.guest("\n".join(f"systemctl show --value -p {stamp} {unit}" for unit, stamp in MOMENTS.values()))
    )
    return {KERNEL: kernel_began, **{label: kernel_began + at for label, at in reached.items()}}


def kernel_s(project: Project) -> float:
    """When the guest's clock began, by the monotonic clock of this host; as exact as a command is quick."""
    before = time.monotonic()
    uptime = float(project.guest("cut -d ' ' -f 1 /proc/uptime"))
    return (before + time.monotonic()) / 2 - uptime


def time_stamps(shown: str) -> Moments:
    """Seconds since the kernel's start, of a line for each of MOMENTS, in microseconds; 0 is never, and left out."""
    stamps = zip(MOMENTS, map(int, shown.split()), strict=True)
    return {label: stamp / 1e6 for label, stamp in stamps if stamp}


def series(kind: str, boots: Sequence[Moments]) -> Measured:
    """A series for each moment that all of the boots have."""
    labels = [label for label in (KERNEL, *MOMENTS) if all(label in boot for boot in boots)]
    return {f"{kind}: {label}": Series.of(label, "s", [boot[label] for boot in boots]) for label in labels}


def table(measured: Measured) -> str:
    """The moments of each kind of boot, in the order in which rum's has them."""
    columns = {kind: of_kind(measured, kind) for kind in KINDS}
    first = next(iter(columns.values()))
    labels = sorted(first, key=lambda label: first[label].median)
    lines = [f"| {label} | {' | '.join(cell(column, label) for column in columns.values())} |" for label in labels]
    return "\n".join([f"| since the domain's start | {' | '.join(KINDS.values())} |", "|---|---|---|", *lines])


def cell(column: Mapping[str, Series], label: str) -> str:
    """A moment of one kind of boot, empty where it was not reached."""
    return f"{number(column[label].median)} s" if label in column else ""


def of_kind(measured: Measured, kind: str) -> dict[str, Series]:
    """The series of a kind of boot by the moments' labels."""
    return {name.removeprefix(f"{kind}: "): one for name, one in measured.items() if name.startswith(f"{kind}: ")}
