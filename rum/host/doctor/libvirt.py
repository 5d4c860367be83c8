"""What libvirt says: that it is there, and what the QEMU behind it can do."""

from __future__ import annotations

import dataclasses

from rum.host import remedies
from rum.host.doctor.finding import Finding, Host, Status
from rum.host.vm.architecture import default_architecture


def libvirt(host: Host) -> Finding:
    """The Python module, the client library and the daemon, at the URI that would be used."""
    said = host.libvirt
    if "late" in said:
        text = f"libvirt has not answered within {host.libvirt_timeout_s:.0f} s"
        return Finding(Status.MISSING, text, "look at its daemon: ps -e | grep -E 'libvirtd|virtqemud'")
    if "import" in said:
        text = f"Python cannot import libvirt: {said['import']}"
        needs = ("libvirt",) if ".so" in said["import"] else ("libvirt-headers", "libvirt")
        return Finding(Status.MISSING, text, remedies.install_libvirt_module(said["import"]), needs)
    if "problem" in said:
        found = finding(said["problem"])
        installed = remedies.has_libvirt_daemon() or not remedies.is_local(said.get("uri", ""))
        return found if installed else dataclasses.replace(found, needs=("libvirt", "qemu"))
    return Finding(Status.OK, f"libvirt {said['version']} at {said['uri']}, which answered within {said['seconds']} s")


def libvirt_qemu(host: Host) -> Finding | None:
    """Whether libvirt, too, finds a QEMU that can run the VM."""
    wrong = host.libvirt.get("qemu") or host.libvirt.get("platform")
    return finding(wrong) if wrong else None


def efi(host: Host) -> Finding | None:
    """A firmware that libvirt has a descriptor of; what is wrong with that of rum.toml `libvirt_qemu` has said."""
    found = host.libvirt.get("efi")
    if found is None:
        return None
    if found:
        return Finding(Status.OK, "libvirt has found one")
    only = "bios" not in default_architecture().firmware
    text = f"libvirt finds no EFI firmware for {default_architecture().name}"
    return Finding(Status.MISSING if only else Status.OPTIONAL, text, remedies.install("efi"))


def networks(host: Host) -> Finding | None:
    """The libvirt networks that rum.toml names."""
    wrong = host.libvirt.get("networks")
    if wrong:
        return finding(wrong)
    if host.config is None or "networks" not in host.libvirt:
        return None
    wanted = host.config.network
    return Finding(Status.OK, "they run") if wanted.interfaces or wanted.mode == "nat" else None


def finding(problem: list[str | None]) -> Finding:
    """What the process that asks libvirt has reported."""
    return Finding(Status.MISSING, problem[0] or "", problem[1])
