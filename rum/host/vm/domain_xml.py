"""The libvirt domain of a VM as XML. Pure: everything that was looked up on the host comes in with the spec."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rum.host.channel.endpoint import Transport
from rum.host.config.model import NetworkConfig
from rum.host.guest.drives import SERIAL_PREFIX
from rum.host.vm.accelerator import Accelerator
from rum.host.vm.architecture import Architecture
from rum.host.vm.nics import DEFAULT_NETWORK, mac_address

NAMESPACE = "https://rum-vm.invalid/xmlns/domain/1"
"""Of the tag in <metadata> that says the domain is rum's. `.invalid` cannot be anybody's (RFC 2606)."""

QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"

VSOCK_SLOT = "0x1d"
"""libvirt does not know of the vhost-user device and numbers its own from the bottom; 0x1f is taken on q35."""

ET.register_namespace("rum", NAMESPACE)
ET.register_namespace("qemu", QEMU_NAMESPACE)


@dataclass(frozen=True)
class Confinement:
    """How a system libvirtd is to run QEMU: as this user, without the security models that keep it off their files."""

    uid: int
    gid: int
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class DomainSpec:
    """Everything the domain depends on. Memory in MiB.

    `drives`: a drive's name to its qcow2 file; `mounts`: a virtiofs tag to the socket of its virtiofsd; `largest_cpu`:
    an emulated CPU must have all that QEMU can emulate, although that is slow.
    """

    vm_id: str
    name: str
    id8: str
    config_path: Path
    architecture: Architecture
    memory_mb: int
    cpus: int
    machine: str
    firmware: str
    accelerator: Accelerator
    transport: Transport
    cid: int
    vhost_socket: Path
    overlay: Path
    seed: Path
    console_socket: Path
    console_log: Path
    network: NetworkConfig
    drives: Mapping[str, Path] = field(default_factory=dict)
    mounts: Mapping[str, Path] = field(default_factory=dict)
    confinement: Confinement | None = None
    largest_cpu: bool = False


def build_domain_xml(spec: DomainSpec) -> str:
    """The domain's XML. Paths in it are absolute."""
    domain = ET.Element("domain", {"type": "kvm" if spec.accelerator is Accelerator.KVM else "qemu"})
    _text(domain, "name", spec.name)
    _text(domain, "uuid", spec.vm_id)
    metadata = ET.SubElement(domain, "metadata")
    ET.SubElement(metadata, f"{{{NAMESPACE}}}vm", {"id8": spec.id8, "config": str(spec.config_path)})
    _text(domain, "memory", str(spec.memory_mb), unit="MiB")
    _text(domain, "vcpu", str(spec.cpus))
    _add_platform(domain, spec)
    devices = ET.SubElement(domain, "devices")
    _add_disks(devices, spec)
    _add_mounts(devices, spec.mounts)
    _add_network(devices, spec)
    _add_console(devices, spec)
    rng = ET.SubElement(devices, "rng", {"model": "virtio"})
    _text(rng, "backend", "/dev/urandom", model="random")
    ET.SubElement(devices, "memballoon", {"model": "virtio"})
    _add_confinement(domain, spec.confinement)
    _add_vsock(domain, devices, spec)
    return ET.tostring(domain, encoding="unicode")


def _add_platform(domain: ET.Element, spec: DomainSpec) -> None:
    _add_boot(domain, spec)
    features = ET.SubElement(domain, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(features, "apic" if spec.architecture.name == "x86_64" else "gic")
    _add_cpu(domain, spec)
    # Shared memory is what vhost-user needs; it costs nothing otherwise.
    backing = ET.SubElement(domain, "memoryBacking")
    ET.SubElement(backing, "source", {"type": "memfd"})
    ET.SubElement(backing, "access", {"mode": "shared"})
    _text(domain, "on_poweroff", "destroy")
    _text(domain, "on_reboot", "restart")
    _text(domain, "on_crash", "destroy")


def _add_boot(domain: ET.Element, spec: DomainSpec) -> None:
    efi = spec.firmware == "efi"
    os_element = ET.SubElement(domain, "os", {"firmware": "efi"} if efi else {})
    _text(os_element, "type", "hvm", arch=spec.architecture.name, machine=spec.machine)
    if efi:
        # Else libvirt may pick the firmware that starts nothing without Microsoft's signature.
        firmware = ET.SubElement(os_element, "firmware")
        ET.SubElement(firmware, "feature", {"enabled": "no", "name": "secure-boot"})
    ET.SubElement(os_element, "boot", {"dev": "hd"})


def _add_cpu(domain: ET.Element, spec: DomainSpec) -> None:
    if spec.accelerator is Accelerator.KVM:
        ET.SubElement(domain, "cpu", {"mode": "host-passthrough"})
    elif spec.largest_cpu:
        cpu = ET.SubElement(domain, "cpu", {"mode": "maximum"})
        for name in spec.architecture.largest_without:
            ET.SubElement(cpu, "feature", {"policy": "disable", "name": name})
    else:
        cpu = ET.SubElement(domain, "cpu", {"mode": "custom", "match": "exact"})
        _text(cpu, "model", spec.architecture.tcg_cpu, fallback="forbid")
        for name in spec.architecture.tcg_features:
            ET.SubElement(cpu, "feature", {"policy": "require", "name": name})


def _add_disks(devices: ET.Element, spec: DomainSpec) -> None:
    _add_qcow2(devices, "vda", spec.overlay)
    seed = _add_disk(devices, "vdb", spec.seed, {"type": "raw"})
    ET.SubElement(seed, "readonly")
    # No drive can have this one.
    _text(seed, "serial", "rum_seed")
    for index, name in enumerate(sorted(spec.drives)):
        drive = _add_qcow2(devices, _disk_name(index + 2), spec.drives[name])
        _text(drive, "serial", f"{SERIAL_PREFIX}{name}")


def _add_qcow2(devices: ET.Element, target: str, path: Path) -> ET.Element:
    return _add_disk(devices, target, path, {"type": "qcow2", "cache": "writeback", "discard": "unmap"})


def _add_disk(devices: ET.Element, target: str, path: Path, driver: dict[str, str]) -> ET.Element:
    disk = ET.SubElement(devices, "disk", {"type": "file", "device": "disk"})
    ET.SubElement(disk, "driver", {"name": "qemu", **driver})
    ET.SubElement(disk, "source", {"file": str(path)})
    ET.SubElement(disk, "target", {"dev": target, "bus": "virtio"})
    return disk


def _add_mounts(devices: ET.Element, mounts: Mapping[str, Path]) -> None:
    for tag, socket in mounts.items():
        # libvirt before 10.0 starts no virtiofsd for an ordinary user, but it takes one that runs.
        filesystem = ET.SubElement(devices, "filesystem", {"type": "mount"})
        ET.SubElement(filesystem, "driver", {"type": "virtiofs", "queue": "1024"})
        ET.SubElement(filesystem, "source", {"socket": str(socket)})
        ET.SubElement(filesystem, "target", {"dir": tag})


def _disk_name(index: int) -> str:
    """vda to vdz, then vdaa: the names that libvirt wants, which say nothing about those in the guest."""
    name = ""
    index += 1
    while index:
        index, digit = divmod(index - 1, 26)
        name = chr(ord("a") + digit) + name
    return f"vd{name}"


def _add_network(devices: ET.Element, spec: DomainSpec) -> None:
    if spec.network.mode != "none":
        kind = "user" if spec.network.mode == "user" else "network"
        _add_interface(devices, kind, DEFAULT_NETWORK, mac_address(spec.vm_id))
    for index, interface in enumerate(spec.network.interfaces, start=1):
        _add_interface(devices, "network", interface.network, mac_address(spec.vm_id, index))


def _add_interface(devices: ET.Element, kind: str, network: str, mac: str) -> None:
    interface = ET.SubElement(devices, "interface", {"type": kind})
    if kind == "network":
        ET.SubElement(interface, "source", {"network": network})
    ET.SubElement(interface, "mac", {"address": mac})
    ET.SubElement(interface, "model", {"type": "virtio"})


def _add_console(devices: ET.Element, spec: DomainSpec) -> None:
    serial = ET.SubElement(devices, "serial", {"type": "unix"})
    ET.SubElement(serial, "source", {"mode": "bind", "path": str(spec.console_socket)})
    ET.SubElement(serial, "log", {"file": str(spec.console_log), "append": "on"})
    ET.SubElement(serial, "target", {"port": "0"})


def _add_confinement(domain: ET.Element, confinement: Confinement | None) -> None:
    if confinement is None:
        return
    label = ET.SubElement(domain, "seclabel", {"type": "static", "model": "dac", "relabel": "no"})
    _text(label, "label", f"+{confinement.uid}:+{confinement.gid}")
    for model in confinement.models:
        ET.SubElement(domain, "seclabel", {"type": "none", "model": model})


def _add_vsock(domain: ET.Element, devices: ET.Element, spec: DomainSpec) -> None:
    if spec.transport is Transport.VHOST_VSOCK:
        vsock = ET.SubElement(devices, "vsock", {"model": "virtio"})
        ET.SubElement(vsock, "cid", {"auto": "no", "address": str(spec.cid)})
        return
    bus = "pci.0" if spec.machine == "pc" or "i440fx" in spec.machine else "pcie.0"
    # QEMU takes a doubled comma for one inside a value.
    socket = str(spec.vhost_socket).replace(",", ",,")
    command_line = ET.SubElement(domain, f"{{{QEMU_NAMESPACE}}}commandline")
    for argument in (
        "-chardev",
        f"socket,id=rumvsock,path={socket}",
        "-device",
        f"vhost-user-vsock-pci,chardev=rumvsock,bus={bus},addr={VSOCK_SLOT}",
    ):
        ET.SubElement(command_line, f"{{{QEMU_NAMESPACE}}}arg", {"value": argument})


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element
