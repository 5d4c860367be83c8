"""The seed's files. JSON is YAML, and has no quoting rules to get wrong."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from rum.cloudinit import install

INIT_MODULES = (
    "write-files",
    "bootcmd",
    "growpart",
    "resizefs",
    "set_hostname",
    "update_hostname",
    "update_etc_hosts",
    "users-groups",
    "ssh",
)
"""write-files comes before bootcmd, so that bootcmd finds the agent: it starts before the network does."""

CONFIG_MODULES = ("locale", "set-passwords", "apt-configure", "runcmd")
"""What an image's own configuration may ask for, and runcmd.

Left out is what does nothing unasked, and grub-dpkg: it takes seconds, the Debian cloud images' GRUB does not look at
what it sets, and cloud-init itself came to call it "no longer required" (canonical/cloud-init, pull request 5292).
"""

FINAL_MODULES = (
    "scripts-vendor",
    "scripts-per-once",
    "scripts-per-boot",
    "scripts-per-instance",
    "scripts-user",
    "final-message",
)
"""An image's own scripts, runcmd's, and the mark that cloud-init has finished.

Left out are keys-to-console and ssh-authkey-fingerprints, the slowest of the first boot: rum asks the agent for keys.
"""

LATER_ROUTE_METRIC = 2000
"""Of what a further interface is told by DHCP: the default route stays with the first, whose metric is 100 by netplan
and 1024 by systemd-networkd."""


class Nic(NamedTuple):
    """An interface by its MAC address; by DHCP, or with this address and prefix length ("192.168.50.2/24")."""

    mac: str
    address: str | None = None


@dataclass(frozen=True)
class SeedSpec:
    """What the seed depends on. `agent` is the zipapp, `key` the channel's 32 bytes, `serial_device` below /dev."""

    vm_id: str
    hostname: str
    user_name: str
    groups: tuple[str, ...]
    authorized_keys: tuple[str, ...]
    agent: bytes
    key: bytes
    autologin: bool
    nics: tuple[Nic, ...] = ()
    serial_device: str = "ttyS0"


def build_seed(spec: SeedSpec) -> dict[str, bytes]:
    """The files of the seed by name."""
    return {
        "meta-data": _encode(build_meta_data(spec)),
        "network-config": _encode(build_network_config(spec)),
        "user-data": b"#cloud-config\n" + _encode(build_user_data(spec)),
    }


def seed_hash(files: Mapping[str, bytes]) -> str:
    """16 hexadecimal digits over the names and bytes of the seed's files."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name} {len(files[name])}\n".encode())
        digest.update(files[name])
    return digest.hexdigest()[:16]


def build_meta_data(spec: SeedSpec) -> dict[str, object]:
    """meta-data; `dsmode: local` makes cloud-init do its work before the network is up."""
    return {"instance-id": spec.vm_id, "local-hostname": spec.hostname, "dsmode": "local"}


def build_network_config(spec: SeedSpec) -> dict[str, object]:
    """network-config, version 2. Each interface gets the name of its entry.

    For cloud-init before 22.2 that is its name in any case, but with netplan (LP: #1855945): it would bring up none.

    The first interface is waited for, which costs nothing: it is there and configured. A further one that asks for an
    address and gets none must not hold the boot up; only such a one is optional, for where all are, wait-online waits
    until its time is up.
    """
    if not spec.nics:
        return {"config": "disabled"}
    return {"version": 2, "ethernets": {_name(index): _ethernet(nic, index) for index, nic in enumerate(spec.nics)}}


def _name(index: int) -> str:
    return f"rum{index}"


def _ethernet(nic: Nic, index: int) -> dict[str, object]:
    found: dict[str, object] = {"match": {"macaddress": nic.mac}, "set-name": _name(index)}
    if nic.address:
        return {**found, "addresses": [nic.address]}
    if index == 0:
        return {**found, "dhcp4": True}
    return {**found, "dhcp4": True, "dhcp4-overrides": {"route-metric": LATER_ROUTE_METRIC}, "optional": True}


def build_user_data(spec: SeedSpec) -> dict[str, object]:
    """user-data: the account, the agent and its start; no provisioning, which is the agent's."""
    # Made before the account and its groups, its own group gets the account's number, which is the owner of mounts.
    groups = {"groups": [spec.user_name]} if spec.groups else {}
    return {
        **groups,
        "users": [_user(spec)],
        "write_files": _write_files(spec),
        "ssh_genkeytypes": ["ed25519"],
        "cloud_init_modules": list(INIT_MODULES),
        "cloud_config_modules": list(CONFIG_MODULES),
        "cloud_final_modules": list(FINAL_MODULES),
        "bootcmd": install.early_start(autologin=spec.autologin),
        "runcmd": install.backstop(),
    }


def _user(spec: SeedSpec) -> dict[str, object]:
    groups = {"primary_group": spec.user_name, "groups": list(spec.groups)} if spec.groups else {}
    return {
        "name": spec.user_name,
        "shell": "/bin/bash",
        "sudo": "ALL=(ALL) NOPASSWD:ALL",
        "lock_passwd": True,
        **groups,
        "ssh_authorized_keys": list(spec.authorized_keys),
    }


def _write_files(spec: SeedSpec) -> list[dict[str, object]]:
    unit = install.build_unit(spec.vm_id, network=bool(spec.nics))
    # Packed, because cloud-init's YAML parser reads every character in Python. No time stamp: the bytes must be stable.
    packed = base64.b64encode(gzip.compress(spec.agent, mtime=0)).decode("ascii")
    files: list[dict[str, object]] = [
        {"path": install.AGENT_PATH, "permissions": "0755", "encoding": "gz+b64", "content": packed},
        {"path": install.UNIT_PATH, "permissions": "0644", "content": unit},
        {"path": install.KEY_PATH, "permissions": "0600", "content": f"{spec.key.hex()}\n"},
    ]
    if spec.autologin:
        content = install.build_autologin(spec.user_name)
        path = install.autologin_path(spec.serial_device)
        files.append({"path": path, "permissions": "0644", "content": content})
    return files


def _encode(document: dict[str, object]) -> bytes:
    # YAML knows no surrogate pairs, so non-ASCII text is written as it is.
    return json.dumps(document, ensure_ascii=False).encode("utf-8") + b"\n"
