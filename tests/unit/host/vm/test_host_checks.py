"""What a host must have, and the sentence where it does not."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from rum.host import remedies
from rum.host.config.load import load_config
from rum.host.config.model import Config, Interface
from rum.host.errors import HostError
from rum.host.images.catalogue import CATALOGUE
from rum.host.vm import host_checks
from rum.host.vm.architecture import ARCHITECTURES
from rum.host.vm.host_checks import check_host, require_bootable, require_efi
from rum.host.vm.libvirt_driver import LibvirtDriver

URI = "test:///default"
FIRMWARES = "<domainCapabilities><os supported='yes'><enum name='firmware'>{}</enum></os></domainCapabilities>"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "rum.toml").write_text(
        '[image]\nbase = "debian-12"\n[advanced]\naccelerator = "tcg"\ntransport = "vhost-user"\n'
    )
    return load_config(tmp_path / "rum.toml")


def failure(config: Config) -> HostError:
    with pytest.raises(HostError) as caught, LibvirtDriver(URI) as driver:
        check_host(config, driver, config.image.base)
    return caught.value


def test_a_host_that_has_everything(config: Config) -> None:
    with LibvirtDriver(URI) as driver:
        accelerator, transport, _ = check_host(config, driver, config.image.base)
    assert (accelerator.accelerator, transport.transport) == ("tcg", "vhost-user")


def test_nat_and_interfaces_need_networks(config: Config) -> None:
    nat = dataclasses.replace(config, network=dataclasses.replace(config.network, mode="nat"))
    assert str(failure(nat)) == f'network.mode is "nat", but {URI} has no networks of its own'
    more = dataclasses.replace(config.network, interfaces=(Interface("lab", "192.168.50.2/24"),))
    error = failure(dataclasses.replace(config, network=more))
    assert str(error) == f"network.interfaces[0] is on lab, but {URI} has no networks of its own"
    assert 'advanced.libvirt_uri = "qemu:///system"' in (error.hint or "")


def test_an_architecture_without_a_bios_says_so(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_checks, "host_architecture", lambda: ARCHITECTURES["aarch64"])
    by_path = dataclasses.replace(config, image=dataclasses.replace(config.image, base="x.qcow2"))
    wanted = dataclasses.replace(by_path.advanced, firmware="bios")
    error = failure(dataclasses.replace(by_path, advanced=wanted))
    assert str(error) == 'advanced.firmware is "bios", but VMs on aarch64 boot with efi'


def test_an_image_that_does_not_boot_with_the_firmware_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CATALOGUE["debian-12"]["aarch64"].firmware == ("efi",)
    with pytest.raises(HostError) as caught:
        require_bootable("debian-12", ("efi",), "bios")
    assert str(caught.value) == 'advanced.firmware is "bios", but debian-12 boots with efi'
    assert caught.value.hint == 'set advanced.firmware = "efi"'


def test_an_image_without_an_entry_for_this_architecture_says_so(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_checks, "host_architecture", lambda: ARCHITECTURES["aarch64"])
    arch = dataclasses.replace(config, image=dataclasses.replace(config.image, base="archlinux"))
    assert str(failure(arch)).startswith("archlinux is published for x86_64 only")


@pytest.mark.parametrize("values", ["", "<value>bios</value>"])
def test_a_missing_efi_firmware_is_named_with_its_package(values: str) -> None:
    with pytest.raises(HostError) as caught:
        require_efi(ET.fromstring(FIRMWARES.format(values)), ARCHITECTURES["x86_64"])
    assert str(caught.value) == 'advanced.firmware is "efi", but libvirt finds no EFI firmware for x86_64 here'
    assert caught.value.hint == remedies.install("efi")


def test_an_efi_firmware_that_libvirt_has_found_is_enough() -> None:
    require_efi(ET.fromstring(FIRMWARES.format("<value>efi</value>")), ARCHITECTURES["x86_64"])
