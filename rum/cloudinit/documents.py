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

CLOUD_INIT_MODULES = (
    "write-files",
    "bootcmd",
    "growpart",
    "resizefs",
    "set_hostname",
    "update_hostname",
    "users-groups",
    "ssh",
)
"""write-files comes before bootcmd, so that bootcmd finds the agent: it starts before the network does."""


class Mount(NamedTuple):
    """A virtiofs share: its tag, where it is mounted, and whether the guest may only read it."""

    tag: str
    target: str
    readonly: bool


@dataclass(frozen=True)
class SeedSpec:
    """What the seed depends on. `agent` is the zipapp, `key` the channel's 32 bytes.

    `network_mode` is "user", "nat" or "none"; `macs` are the MAC addresses of the interfaces that use DHCP.
    """

    vm_id: str
    hostname: str
    user_name: str
    groups: tuple[str, ...]
    authorized_keys: tuple[str, ...]
    agent: bytes
    key: bytes
    autologin: bool
    network_mode: str
    macs: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()


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
    """network-config, version 2: plain DHCP, which alone costs no wait in any wait-online service."""
    if spec.network_mode == "none":
        return {"config": "disabled"}
    ethernets = {f"rum{index}": {"match": {"macaddress": mac}, "dhcp4": True} for index, mac in enumerate(spec.macs)}
    return {"version": 2, "ethernets": ethernets}


def build_user_data(spec: SeedSpec) -> dict[str, object]:
    """user-data: the account, the agent and its start; no provisioning, which is the agent's."""
    modules = list(CLOUD_INIT_MODULES)
    mounts: dict[str, object] = {}
    if spec.mounts:
        modules.append("mounts")
        mounts["mounts"] = [_fstab_entry(mount) for mount in spec.mounts]
    return {
        "users": [_user(spec)],
        "write_files": _write_files(spec),
        **mounts,
        "ssh_genkeytypes": ["ed25519"],
        "cloud_init_modules": modules,
        "bootcmd": [install.SETTLE, install.DAEMON_RELOAD, install.START_EARLY],
        "runcmd": [*(["mkdir", "-p", mount.target] for mount in spec.mounts), install.DAEMON_RELOAD, install.ENABLE],
    }


def _user(spec: SeedSpec) -> dict[str, object]:
    groups = {"groups": list(spec.groups)} if spec.groups else {}
    return {
        "name": spec.user_name,
        "shell": "/bin/bash",
        "sudo": "ALL=(ALL) NOPASSWD:ALL",
        "lock_passwd": True,
        **groups,
        "ssh_authorized_keys": list(spec.authorized_keys),
    }


def _write_files(spec: SeedSpec) -> list[dict[str, object]]:
    unit = install.build_unit(spec.vm_id, network=spec.network_mode != "none")
    # Packed, because cloud-init's YAML parser reads every character in Python. No time stamp: the bytes must be stable.
    packed = base64.b64encode(gzip.compress(spec.agent, mtime=0)).decode("ascii")
    files: list[dict[str, object]] = [
        {"path": install.AGENT_PATH, "permissions": "0755", "encoding": "gz+b64", "content": packed},
        {"path": install.UNIT_PATH, "permissions": "0644", "content": unit},
        {"path": install.KEY_PATH, "permissions": "0600", "content": f"{spec.key.hex()}\n"},
    ]
    if spec.autologin:
        content = install.build_autologin(spec.user_name)
        files.append({"path": install.AUTOLOGIN_PATH, "permissions": "0644", "content": content})
    return files


def _fstab_entry(mount: Mount) -> list[str]:
    options = "ro,nofail" if mount.readonly else "defaults,nofail"
    return [mount.tag, mount.target, "virtiofs", options, "0", "0"]


def _encode(document: dict[str, object]) -> bytes:
    # YAML knows no surrogate pairs, so non-ASCII text is written as it is.
    return json.dumps(document, ensure_ascii=False).encode("utf-8") + b"\n"
