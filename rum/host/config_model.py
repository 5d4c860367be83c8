"""rum.toml as the rest of rum sees it: checked, defaults filled in, paths absolute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rum.protocol import ProvisionScript


@dataclass(frozen=True)
class ImageConfig:
    """`[image]`: a catalogue's name, a path or a URL, with at most one checksum (lower-case hexadecimal)."""

    base: str
    sha256: str | None = None
    sha512: str | None = None


@dataclass(frozen=True)
class ResourcesConfig:
    """`[resources]`: memory in MiB, disk in bytes."""

    cpus: int = 2
    memory_mb: int = 2048
    disk: int = 20 << 30


@dataclass(frozen=True)
class NetworkConfig:
    """`[network]`: mode is "user", "nat" or "none"."""

    mode: str
    hostname: str


@dataclass(frozen=True)
class UserConfig:
    """`[user]`: the account that cloud-init makes."""

    name: str = "rum"
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class SshConfig:
    """`[ssh]`: public keys that may log in besides the VM's own."""

    authorized_keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drive:
    """`[drives.<name>]`: an additional disk, its size in bytes."""

    name: str
    size: int


@dataclass(frozen=True)
class Filesystem:
    """`[[fs.<kind>]]`: a file system on a drive, mounted at an absolute path."""

    kind: str
    drive: str
    target: str


@dataclass(frozen=True)
class AdvancedConfig:
    """`[advanced]`; the boot timeout is in seconds, before the accelerator's factor."""

    libvirt_uri: str | None = None
    accelerator: str = "auto"
    transport: str = "auto"
    machine: str = "q35"
    firmware: str = "bios"
    autologin: bool = False
    boot_timeout_s: int = 300


@dataclass(frozen=True)
class Config:
    """One rum.toml. `path` is absolute; `id8` is the first 8 digits of its SHA-256, so a VM belongs to a file."""

    path: Path
    name: str
    id8: str
    image: ImageConfig
    resources: ResourcesConfig
    network: NetworkConfig
    user: UserConfig
    ssh: SshConfig
    drives: Mapping[str, Drive]
    filesystems: tuple[Filesystem, ...]
    scripts: tuple[ProvisionScript, ...]
    advanced: AdvancedConfig

    @property
    def domain_name(self) -> str:
        """The libvirt domain's name."""
        return f"rum-{self.name}-{self.id8}"
