"""What the dynamic side needs to know of a VM: how to reach its agent, and whether it is still worth waiting for."""

from __future__ import annotations

from typing import Protocol

from rum.host.channel.endpoint import Endpoint
from rum.host.config.identity import VmIdentity
from rum.host.paths import VmPaths
from rum.host.store import LastStart


class Guest(Protocol):
    """A VM as far as talking to it goes; `rum.host.vm.known.KnownVm` is one."""

    @property
    def identity(self) -> VmIdentity:
        """Which VM it is."""

    @property
    def name(self) -> str:
        """What its user calls it."""

    @property
    def boot_timeout_s(self) -> int:
        """Seconds that a boot may take under KVM."""

    @property
    def paths(self) -> VmPaths:
        """Its files on the host."""

    def endpoint(self) -> Endpoint:
        """Where the agent listens."""

    def key(self) -> bytes:
        """The 32 bytes that both sides prove to hold."""

    def vm_id(self) -> str:
        """The UUID that the agent's welcome has to name."""

    def note_answer(self) -> None:
        """Remember that the agent has answered, which it does once its first boot cannot be undone."""

    def last_start(self) -> LastStart | None:
        """How the VM was last started, None where it never was."""

    def exists(self) -> bool:
        """Whether there is such a VM."""

    def state(self) -> str:
        """As `rum status` has it."""

    def is_running(self) -> bool:
        """Whether the VM's processor runs."""

    def is_out_of_space(self) -> bool:
        """Whether the VM is paused because the host's disk is full."""

    def transport_alive(self) -> bool:
        """Whether the host's half of the channel works."""

    def timeout_factor(self) -> int:
        """What every guest-side timeout is multiplied by."""

    def console_tail(self, lines: int) -> list[str]:
        """The last lines of the console, control characters removed."""

    def diagnose_boot(self) -> str:
        """A sentence on what the console says about a boot that does not get anywhere."""
