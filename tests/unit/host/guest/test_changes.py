"""What is said of a rum.toml that has changed since the VM was made or started."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from rum.host.config.load import load_config
from rum.host.config.model import Config, Interface, Mount
from rum.host.guest.changes import applied_later, applied_now, kept_until_destroy
from rum.host.guest.settings import mounts_of, seeded_settings
from rum.host.store import BaseImage, LastStart, VmState

LATER = "it takes effect at the next start (`rum reboot`)"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "rum.toml").write_text('[image]\nbase = "debian-12"\n')
    return load_config(tmp_path / "rum.toml")


def start_of(config: Config) -> LastStart:
    resources, advanced = config.resources, config.advanced
    machine = (resources.cpus, resources.memory_mb, advanced.machine, advanced.firmware)
    rest = {"disk": resources.disk, "network_mode": config.network.mode, "mounts": mounts_of(config)}
    return LastStart("tcg", "vhost-user", 7, 0, *machine, **rest)  # type: ignore[arg-type]


def state_of(config: Config) -> VmState:
    image = BaseImage("debian-12", "/image", "qcow2", 1, 1, 1)
    return VmState("id", "n", "8", "/rum.toml", image, "hash", "qemu:///session", settings=seeded_settings(config))


def changed(config: Config, **changes: dict[str, object]) -> Config:
    """The configuration with other values in some of its tables."""
    tables = {name: dataclasses.replace(getattr(config, name), **values) for name, values in changes.items()}
    return dataclasses.replace(config, **tables)


def test_what_is_as_it_was_is_not_mentioned(config: Config) -> None:
    started = start_of(config)
    assert list(applied_now(config, started)) == list(applied_later(config, started)) == []
    assert list(kept_until_destroy(config, state_of(config))) == []


def test_a_start_names_what_it_changes(config: Config) -> None:
    resources: dict[str, object] = {"memory_mb": 4096, "cpus": 3, "disk": 30 << 30}
    wanted = changed(config, resources=resources, advanced={"accelerator": "kvm"}, network={"mode": "nat"})
    assert list(applied_now(wanted, start_of(config))) == [
        "cpus: 3, was 2",
        "memory: 4096 MiB, was 2048 MiB",
        "accelerator: kvm, was tcg",
        "disk: 30 GiB, was 20 GiB",
        "network: nat, was user",
    ]


def test_another_firmware_is_applied_with_a_warning(config: Config) -> None:
    wanted = changed(config, advanced={"firmware": "efi"})
    assert list(applied_now(wanted, start_of(config))) == [
        "firmware: efi, was bios; a system that was installed for the other may not boot with it"
    ]


def test_a_running_vm_has_it_later(config: Config) -> None:
    wanted = changed(config, resources={"memory_mb": 4096})
    assert list(applied_later(wanted, start_of(config))) == [
        f"memory is now 4096 MiB, the VM runs with 2048 MiB; {LATER}"
    ]


def test_what_an_older_rum_has_not_noted_is_not_mentioned(config: Config) -> None:
    assert list(applied_now(config, LastStart("tcg", "vhost-user", 7, 0))) == []


@pytest.mark.parametrize(
    ("mount", "expected"),
    [
        (Mount(Path("/src"), "/srv", "srv"), []),
        (Mount(Path("/other"), "/srv", "srv"), [f"/other is to be mounted at /srv; {LATER}"]),
        (Mount(Path("/src"), "/opt/x", "new"), [f"/src is to be mounted at /opt/x; {LATER}"]),
        (Mount(Path("/src"), "/srv", "srv", readonly=True), []),
        (Mount(Path("/src"), "/opt/x", "srv"), []),
    ],
)
def test_which_mounts_a_running_vm_cannot_take(config: Config, mount: Mount, expected: list[str]) -> None:
    started = start_of(dataclasses.replace(config, mounts=(Mount(Path("/src"), "/srv", "srv"),)))
    assert list(applied_later(dataclasses.replace(config, mounts=(mount,)), started)) == expected


def test_a_mount_becomes_writable_at_the_next_start(config: Config) -> None:
    mount = Mount(Path("/src"), "/srv", "srv", readonly=True)
    started = start_of(dataclasses.replace(config, mounts=(mount,)))
    wanted = dataclasses.replace(config, mounts=(dataclasses.replace(mount, readonly=False),))
    assert list(applied_later(wanted, started)) == ["/srv is writable from the next start on (`rum reboot`)"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"image": {"base": "debian-13"}}, "image.base is now debian-13, but the VM keeps its disk of debian-12"),
        (
            {"advanced": {"libvirt_uri": "qemu:///system"}},
            "advanced.libvirt_uri is now qemu:///system, but the VM stays at qemu:///session",
        ),
        ({"user": {"name": "dev"}}, "user.name is now dev, but the VM keeps its account rum"),
        ({"network": {"mode": "none"}}, 'network.mode is now none, but the VM is set up for "user"'),
        (
            {"network": {"interfaces": (Interface("lab"),)}},
            "network.interfaces is now lab dhcp, but the VM is set up for none",
        ),
    ],
)
def test_what_only_a_new_vm_takes(config: Config, changes: dict[str, dict[str, object]], expected: str) -> None:
    assert list(kept_until_destroy(changed(config, **changes), state_of(config))) == [f"{expected} until 'rum destroy'"]


def test_from_user_to_nat_the_guest_s_network_stays_the_same(config: Config) -> None:
    assert list(kept_until_destroy(changed(config, network={"mode": "nat"}), state_of(config))) == []
