"""The host's side: reads rum.toml, drives libvirt, speaks to the guest agent.

The names below are its facade for programs; they are loaded when they are first used, so that a command that needs
none of them does not pay for any.
"""

from __future__ import annotations

# As type checkers know it: typing takes as long to be loaded as Python itself, and `rum version` needs nothing of it.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from rum.host.api import GuestVm, open_guest
    from rum.host.captured import Completed
    from rum.host.channel.endpoint import Transport
    from rum.host.channel.transport import choose_transport
    from rum.host.errors import ConfigError, GuestError, HostError, RumError
    from rum.host.images.catalogue import CATALOGUE
    from rum.host.vm.accelerator import Accelerator, choose_accelerator

__all__ = [
    "CATALOGUE",
    "Accelerator",
    "Completed",
    "ConfigError",
    "GuestError",
    "GuestVm",
    "HostError",
    "RumError",
    "Transport",
    "choose_accelerator",
    "choose_transport",
    "open_guest",
]

_HOMES = {
    "CATALOGUE": "rum.host.images.catalogue",
    "Accelerator": "rum.host.vm.accelerator",
    "Completed": "rum.host.captured",
    "ConfigError": "rum.host.errors",
    "GuestError": "rum.host.errors",
    "GuestVm": "rum.host.api",
    "HostError": "rum.host.errors",
    "RumError": "rum.host.errors",
    "Transport": "rum.host.channel.endpoint",
    "choose_accelerator": "rum.host.vm.accelerator",
    "choose_transport": "rum.host.channel.transport",
    "open_guest": "rum.host.api",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
