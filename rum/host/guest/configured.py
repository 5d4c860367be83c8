"""What setting up a guest needs to know of its VM, besides how to talk to it."""

from __future__ import annotations

from typing import Protocol

from rum.host.channel.guest import Guest
from rum.host.config.model import Config
from rum.host.guest.settings import GuestSettings
from rum.protocol import ProvisionScript


class ConfiguredGuest(Guest, Protocol):
    """A VM with its rum.toml, which remembers what its guest was told; `rum.host.vm.machine.Machine` is one."""

    @property
    def config(self) -> Config:
        """The VM's rum.toml."""

    def drives_script(self) -> ProvisionScript | None:
        """The generated script for the drives that the VM has, None where there is nothing to do."""

    def settings(self) -> GuestSettings | None:
        """What the guest was last told, None where nobody has noted it."""

    def note_settings(self, settings: GuestSettings) -> None:
        """Remember what the guest has been told."""
