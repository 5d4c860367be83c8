"""The host's side: reads rum.toml, drives libvirt, speaks to the guest agent.

The names below are its facade for programs; they are loaded when they are first used, so that a command that needs
none of them does not pay for any.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rum.host.accelerator import Accelerator, choose_accelerator
    from rum.host.catalogue import CATALOGUE
    from rum.host.transport import Transport, choose_transport

__all__ = ["CATALOGUE", "Accelerator", "Transport", "choose_accelerator", "choose_transport"]

_HOMES = {
    "CATALOGUE": "rum.host.catalogue",
    "Accelerator": "rum.host.accelerator",
    "Transport": "rum.host.transport",
    "choose_accelerator": "rum.host.accelerator",
    "choose_transport": "rum.host.transport",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
