"""Later boots and their ends: when the agent listens, by the guest's own clock, and what `rum down` takes."""

from __future__ import annotations

import os
import select
import subprocess
import time
from dataclasses import dataclass, field

from e2e.bench.context import Bench
from e2e.bench.experiment import Experiment, Measured, Row, Series, excess_at_most
from e2e.bench.first_boot import CONFIG, shut_down
from e2e.project import Project

ROUNDS = 2
"""Of two boots each."""

OFF_S = 60
"""How long a shutdown may take under KVM."""

SETTLED = "systemctl is-system-running --wait || true"
"""A guest that is still booting does not heed its power button."""

MOMENTS = "systemctl show --value -p ActiveEnterTimestampMonotonic local-fs.target rum-agent.service"
"""In microseconds since the kernel's start (systemctl(1)); the agent is active once it listens."""


@dataclass
class Samples:
    """In seconds; moments of the guest's since its kernel's start."""

    local_fs: list[float] = field(default_factory=list)
    listening: list[float] = field(default_factory=list)
    down: list[float] = field(default_factory=list)
    acpi: list[float] = field(default_factory=list)

    def booted(self, project: Project) -> None:
        """Note a boot."""
        local_fs, listening = (int(word) / 1e6 for word in project.guest(MOMENTS).split())
        self.local_fs.append(local_fs)
        self.listening.append(listening)

    def measured(self) -> Measured:
        """Series by the names that the rows know."""
        return {
            "listening": Series.of("agent listens", "s", self.listening),
            "local-fs": Series.of("local-fs.target", "s", self.local_fs),
            "down": Series.of("rum down", "s", self.down),
            "acpi": Series.of("ACPI power-off", "s", self.acpi),
        }


def measure(bench: Bench) -> Measured:
    """One VM that is shut down and booted again and again, by turns with and without rum."""
    samples = Samples()
    with bench.project("later-boot", CONFIG) as project:
        bench.note("a first boot, for those that come after it")
        project.up()
        for _ in range(bench.many(ROUNDS)):
            for ending in (samples.acpi, samples.down):
                project.guest(SETTLED)
                ending.append(power_off(project) if ending is samples.acpi else shut_down(project))
                bench.note("a later boot")
                project.up()
                samples.booted(project)
    return samples.measured()


def power_off(project: Project) -> float:
    """Seconds from the press of the guest's power button to its end. Raises AssertionError, CalledProcessError."""
    descriptor = os.pidfd_open(project.qemu())
    try:
        begun = time.monotonic()
        press = ["virsh", "shutdown", "--mode", "acpi", f"rum-{project.state_dir.name}"]
        subprocess.run(press, env=project.environment, capture_output=True, check=True, timeout=60)
        limit_s = OFF_S * project.patience
        assert select.select([descriptor], [], [], limit_s)[0], f"the guest was not off within {limit_s} s"
        return time.monotonic() - begun
    finally:
        os.close(descriptor)


EXPERIMENT = Experiment(
    "later-boot",
    measure,
    (
        Row(
            "later boot: the agent answers",
            "`local-fs.target` reached, by the guest's own clock",
            excess_at_most(1),
            "listening",
            "local-fs",
            reason="Python and the agent's modules are loaded while cloud-init and udev want the same processor; one"
            " that is not emulated, or a second one, would do",
            under_kvm=excess_at_most(0.3),
        ),
        Row("`rum down`", "the guest's own power-off by ACPI", excess_at_most(1), "down", "acpi"),
    ),
    within_s=1200,
    alone=True,
)
