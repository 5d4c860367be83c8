"""What can be wrong with libvirt, where it matters what it is."""

from __future__ import annotations

from rum.host.errors import HostError


class CidInUseError(HostError):
    """Another VM on this host has the vsock CID."""


class LostLibvirtError(HostError):
    """The connection to libvirt has ended: its daemon was restarted, or has crashed. The domains live on."""

    code = "libvirt"


class SilentLibvirtError(HostError):
    """libvirt does not answer: its daemon is stopped, or hangs. The domains live on."""

    code = "libvirt"


class SilentQemuError(HostError):
    """A domain's QEMU does not answer libvirt: it is stopped, or hangs."""

    code = "libvirt"


class ForeignDomainError(HostError):
    """There is a domain with the VM's name that is not rum's."""
