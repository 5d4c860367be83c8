"""What a VM needs of this host, looked at before anything is made or downloaded."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from rum.host import remedies
from rum.host.channel.transport import TransportChoice, choose_transport
from rum.host.config.model import Config
from rum.host.errors import HostError
from rum.host.images.catalogue import catalogue_image
from rum.host.images.reference import is_known_name
from rum.host.vm.accelerator import Accelerator, AcceleratorChoice, choose_accelerator
from rum.host.vm.architecture import Architecture, host_architecture
from rum.host.vm.libvirt_driver import LibvirtDriver
from rum.host.vm.nics import DEFAULT_NETWORK
from rum.host.vm.virtiofsd import Virtiofsd, require_virtiofsd


def check_host(
    config: Config, driver: LibvirtDriver, image: str
) -> tuple[AcceleratorChoice, TransportChoice, Virtiofsd | None]:
    """What the VM will run by; `image`: what it was, or is to be, made of. Raises HostError for what is missing."""
    accelerator = choose_accelerator(config.advanced.accelerator)
    transport = choose_transport(config.advanced.transport)
    virtiofsd = require_virtiofsd(config.mounts)
    if is_known_name(image, config.path.parent):
        require_bootable(image, catalogue_image(image, host_architecture()).firmware, config.advanced.firmware)
    require_platform(config, driver, accelerator.accelerator)
    require_networks(config, driver)
    return accelerator, transport, virtiofsd


def require_platform(config: Config, driver: LibvirtDriver, accelerator: Accelerator) -> None:
    """Raise HostError unless the QEMU here can run such a machine with such a firmware."""
    architecture, wanted = host_architecture(), config.advanced
    if wanted.firmware not in architecture.firmware:
        text = f"VMs on {architecture.name} boot with {' or '.join(architecture.firmware)}"
        raise HostError(f'advanced.firmware is "{wanted.firmware}", but {text}')
    kind = "kvm" if accelerator is Accelerator.KVM else "qemu"
    capabilities = driver.domain_capabilities(architecture.name, wanted.machine, kind)
    if capabilities is not None and wanted.firmware == "efi":
        require_efi(capabilities, architecture)


def require_bootable(name: str, boots_with: tuple[str, ...], firmware: str) -> None:
    """Raise HostError unless a catalogue's image boots with the firmware."""
    if firmware not in boots_with:
        raise HostError(
            f'advanced.firmware is "{firmware}", but {name} boots with {" or ".join(boots_with)}',
            hint=f'set advanced.firmware = "{boots_with[0]}"',
        )


def require_efi(capabilities: ET.Element, architecture: Architecture) -> None:
    """Raise HostError unless libvirt has found an EFI firmware by its descriptor."""
    if "efi" not in firmwares(capabilities):
        raise HostError(
            f'advanced.firmware is "efi", but libvirt finds no EFI firmware for {architecture.name} here',
            hint=remedies.install("efi"),
            code="missing-program",
        )


def firmwares(capabilities: ET.Element) -> set[str | None]:
    """The kinds of firmware that libvirt has found descriptors of."""
    return {value.text for value in capabilities.iterfind("./os/enum[@name='firmware']/value")}


def require_networks(config: Config, driver: LibvirtDriver) -> None:
    """Raise HostError unless every libvirt network that the VM is to be on runs."""
    if config.network.mode == "nat":
        driver.require_network(DEFAULT_NETWORK, 'network.mode is "nat"')
    for index, interface in enumerate(config.network.interfaces):
        driver.require_network(interface.network, f"network.interfaces[{index}] is on {interface.network}")
