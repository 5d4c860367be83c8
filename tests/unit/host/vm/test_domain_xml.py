"""The domain's XML, and libvirt's own schema for it."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from rum.host.channel.endpoint import Transport
from rum.host.config.model import Interface, NetworkConfig
from rum.host.vm.accelerator import Accelerator
from rum.host.vm.architecture import ARCHITECTURES
from rum.host.vm.domain_xml import NAMESPACE, QEMU_NAMESPACE, Confinement, DomainSpec, build_domain_xml
from rum.host.vm.nics import mac_address

SPEC = DomainSpec(
    vm_id="0b8cbb2c-7a4c-4d8a-9f52-3f0f5a1f2f11",
    name="rum-dev-01234567",
    id8="01234567",
    config_path=Path("/srv/a & b/rum.toml"),
    architecture=ARCHITECTURES["x86_64"],
    memory_mb=1024,
    cpus=2,
    machine="q35",
    firmware="bios",
    accelerator=Accelerator.KVM,
    transport=Transport.VHOST_VSOCK,
    cid=70000,
    vhost_socket=Path("/run/user/1000/rum/01234567/vh.sock"),
    overlay=Path("/state/overlay.qcow2"),
    seed=Path("/state/seed-0.iso"),
    console_socket=Path("/run/user/1000/rum/01234567/console.sock"),
    console_log=Path("/state/console.log"),
    network=NetworkConfig("user", "dev"),
    drives={"spare": Path("/state/drive-spare.qcow2"), "data": Path("/state/drive-data.qcow2")},
)


def domain(**changes: object) -> ET.Element:
    return ET.fromstring(build_domain_xml(dataclasses.replace(SPEC, **changes)))  # type: ignore[arg-type]


def text(root: ET.Element, path: str) -> str | None:
    found = root.find(path)
    assert found is not None, path
    return found.text


def attributes(root: ET.Element, path: str) -> dict[str, str]:
    found = root.find(path)
    assert found is not None, path
    return found.attrib


VARIANTS: list[dict[str, object]] = [
    {},
    {"transport": Transport.VHOST_USER},
    {"accelerator": Accelerator.TCG, "network": NetworkConfig("none", "dev"), "firmware": "efi"},
    {"architecture": ARCHITECTURES["aarch64"], "accelerator": Accelerator.TCG, "machine": "virt", "firmware": "efi"},
    {
        "network": NetworkConfig("nat", "dev", (Interface("lab"), Interface("lab", "10.0.0.2/24"))),
        "confinement": Confinement(0, 0, ("apparmor",)),
        "drives": {},
    },
]


@pytest.mark.parametrize("changes", VARIANTS)
def test_libvirt_s_schema_accepts_it(tmp_path: Path, changes: dict[str, object]) -> None:
    path = tmp_path / "domain.xml"
    path.write_text(build_domain_xml(dataclasses.replace(SPEC, **changes)))  # type: ignore[arg-type]
    done = subprocess.run(["virt-xml-validate", str(path), "domain"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_domain_is_tagged_and_has_the_vm_s_uuid() -> None:
    root = domain()
    assert (text(root, "name"), text(root, "uuid")) == (SPEC.name, SPEC.vm_id)
    assert attributes(root, f"metadata/{{{NAMESPACE}}}vm") == {"id8": "01234567", "config": "/srv/a & b/rum.toml"}


def test_resources_are_those_of_the_configuration() -> None:
    root = domain()
    assert (text(root, "memory"), attributes(root, "memory"), text(root, "vcpu")) == ("1024", {"unit": "MiB"}, "2")


def test_kvm_has_the_host_s_cpu() -> None:
    root = domain()
    assert (root.get("type"), attributes(root, "cpu")) == ("kvm", {"mode": "host-passthrough"})


def test_an_emulated_cpu_is_one_of_x86_64_v2() -> None:
    root = domain(accelerator=Accelerator.TCG)
    assert (root.get("type"), text(root, "cpu/model")) == ("qemu", "qemu64")
    assert {feature.attrib["name"] for feature in root.findall("cpu/feature")} >= {"popcnt", "sse4.2", "ssse3"}


def test_an_emulated_cpu_can_be_the_largest() -> None:
    root = domain(accelerator=Accelerator.TCG, largest_cpu=True)
    assert attributes(root, "cpu") == {"mode": "maximum"}
    assert attributes(root, "cpu/feature") == {"policy": "disable", "name": "erms"}


def test_another_architecture_has_its_own_machine() -> None:
    changes = {"architecture": ARCHITECTURES["aarch64"], "accelerator": Accelerator.TCG, "machine": "virt"}
    root = domain(**changes)
    assert attributes(root, "os/type") == {"arch": "aarch64", "machine": "virt"}
    assert text(root, "cpu/model") == "cortex-a72"
    assert [feature.tag for feature in root.findall("features/*")] == ["acpi", "gic"]


def test_memory_is_shared() -> None:
    root = domain()
    assert attributes(root, "memoryBacking/source") == {"type": "memfd"}
    assert attributes(root, "memoryBacking/access") == {"mode": "shared"}


def test_disks_are_the_overlay_the_seed_and_the_drives_by_serial() -> None:
    disks = domain().findall("devices/disk")
    found = [
        (attributes(disk, "source")["file"], attributes(disk, "driver")["type"], disk.findtext("serial"))
        for disk in disks
    ]
    assert found == [
        ("/state/overlay.qcow2", "qcow2", None),
        ("/state/seed-0.iso", "raw", "rum_seed"),
        ("/state/drive-data.qcow2", "qcow2", "rum-data"),
        ("/state/drive-spare.qcow2", "qcow2", "rum-spare"),
    ]
    assert [attributes(disk, "target")["dev"] for disk in disks] == ["vda", "vdb", "vdc", "vdd"]
    assert [disk.find("readonly") is not None for disk in disks] == [False, True, False, False]


def test_many_drives_have_distinct_names() -> None:
    drives = {f"d{index}": Path(f"/state/drive-d{index}.qcow2") for index in range(60)}
    names = [disk.attrib["dev"] for disk in domain(drives=drives).findall("devices/disk/target")]
    assert len(set(names)) == 62
    assert all(re.fullmatch("vd[a-z]{1,2}", name) for name in names)


def test_the_kernel_s_vsock_has_the_cid() -> None:
    root = domain()
    assert attributes(root, "devices/vsock/cid") == {"auto": "no", "address": "70000"}
    assert root.find(f"{{{QEMU_NAMESPACE}}}commandline") is None


def test_vhost_user_goes_by_the_command_line_with_an_address_of_its_own() -> None:
    root = domain(transport=Transport.VHOST_USER, vhost_socket=Path("/run/a,b/vh.sock"))
    arguments = [argument.attrib["value"] for argument in root.iter(f"{{{QEMU_NAMESPACE}}}arg")]
    assert arguments == [
        "-chardev",
        "socket,id=rumvsock,path=/run/a,,b/vh.sock",
        "-device",
        "vhost-user-vsock-pci,chardev=rumvsock,bus=pcie.0,addr=0x1d",
    ]
    assert root.find("devices/vsock") is None


@pytest.mark.parametrize("machine", ["pc", "pc-i440fx-7.2"])
def test_the_bus_has_another_name_on_the_old_machine(machine: str) -> None:
    assert "bus=pci.0," in build_domain_xml(dataclasses.replace(SPEC, machine=machine, transport=Transport.VHOST_USER))


@pytest.mark.parametrize(("mode", "kind"), [("user", "user"), ("nat", "network")])
def test_the_interface(mode: str, kind: str) -> None:
    root = domain(network=NetworkConfig(mode, "dev"))
    assert attributes(root, "devices/interface") == {"type": kind}
    assert attributes(root, "devices/interface/mac") == {"address": mac_address(SPEC.vm_id)}
    assert attributes(root, "devices/interface/model") == {"type": "virtio"}


@pytest.mark.parametrize(("mode", "networks"), [("nat", ["default", "lab", "wan"]), ("none", ["lab", "wan"])])
def test_further_interfaces_keep_their_addresses_whatever_the_first_is(mode: str, networks: list[str]) -> None:
    further = (Interface("lab"), Interface("wan", "10.0.0.2/24"))
    found = domain(network=NetworkConfig(mode, "dev", further)).findall("devices/interface")
    assert [attributes(interface, "source")["network"] for interface in found] == networks
    addresses = [mac_address(SPEC.vm_id, index) for index in (0, 1, 2)]
    assert [attributes(interface, "mac")["address"] for interface in found] == addresses[-len(networks) :]


def test_no_network_is_no_interface() -> None:
    assert domain(network=NetworkConfig("none", "dev")).find("devices/interface") is None


def test_a_mac_address_is_qemu_s_and_hangs_on_vm_and_index() -> None:
    addresses = {mac_address(vm_id, index) for vm_id in ("a", "b") for index in (0, 1)}
    assert len(addresses) == 4
    assert all(re.fullmatch("52:54:00(:[0-9a-f]{2}){3}", address) for address in addresses)


def test_the_console_can_be_attached_to_and_is_kept() -> None:
    root = domain()
    assert attributes(root, "devices/serial/source") == {"mode": "bind", "path": str(SPEC.console_socket)}
    assert attributes(root, "devices/serial/log") == {"file": "/state/console.log", "append": "on"}


def test_firmware() -> None:
    assert attributes(domain(), "os") == {}
    efi = domain(firmware="efi")
    assert attributes(efi, "os") == {"firmware": "efi"}
    assert attributes(efi, "os/firmware/feature") == {"enabled": "no", "name": "secure-boot"}


def test_a_system_libvirtd_runs_qemu_as_this_user_unconfined() -> None:
    root = domain(confinement=Confinement(1000, 100, ("apparmor",)))
    labels = [(label.attrib, label.findtext("label")) for label in root.findall("seclabel")]
    assert labels == [
        ({"type": "static", "model": "dac", "relabel": "no"}, "+1000:+100"),
        ({"type": "none", "model": "apparmor"}, None),
    ]
