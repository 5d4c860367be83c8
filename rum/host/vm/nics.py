"""The network cards of a VM: in which order, on which networks, with which MAC and IP addresses."""

from __future__ import annotations

import hashlib

from rum.cloudinit import Nic
from rum.host.config.model import NetworkConfig

DEFAULT_NETWORK = "default"
"""libvirt's own NAT network, by its name in libvirt-daemon-config-network."""


def mac_address(vm_id: str, index: int = 0) -> str:
    """A MAC address under QEMU's prefix that hangs on the VM and the interface's number only."""
    digest = hashlib.sha256(f"{vm_id} nic {index}".encode()).digest()
    return "52:54:00:" + ":".join(f"{octet:02x}" for octet in digest[:3])


def seed_nics(network: NetworkConfig, vm_id: str) -> tuple[Nic, ...]:
    """The cards as the guest configures them."""
    first = () if network.mode == "none" else (Nic(mac_address(vm_id)),)
    others = (Nic(mac_address(vm_id, index), found.ip) for index, found in enumerate(network.interfaces, start=1))
    return (*first, *others)
