"""What the dynamic side needs to know of a VM: how to reach its agent, and whether it is still worth waiting for."""

from __future__ import annotations

from typing import Protocol

from rum.host.channel.transport import Endpoint
from rum.host.config.load import Config
from rum.host.paths import VmPaths
from rum.protocol import ProvisionScript


class Guest(Protocol):
    """A VM as far as talking to it goes; `rum.host.vm.machine.Machine` is one."""

    @property
    def config(self) -> Config:
        """The VM's rum.toml."""

    @property
    def paths(self) -> VmPaths:
        """Its files on the host."""

    def drives_script(self) -> ProvisionScript | None:
        """The generated script for the drives that the VM has, None where there is nothing to do."""

    def endpoint(self) -> Endpoint:
        """Where the agent listens."""

    def key(self) -> bytes:
        """The 32 bytes that both sides prove to hold."""

    def vm_id(self) -> str:
        """The UUID that the agent's welcome has to name."""

    def is_running(self) -> bool:
        """Whether the VM's processor runs."""

    def transport_alive(self) -> bool:
        """Whether the host's half of the channel works."""

    def timeout_factor(self) -> int:
        """What every guest-side timeout is multiplied by."""

    def console_tail(self, lines: int) -> list[str]:
        """The last lines of the console, control characters removed."""

    def diagnose_boot(self) -> str:
        """A sentence on what the console says about a boot that does not get anywhere."""
