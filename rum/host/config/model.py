"""rum.toml as the rest of rum sees it: checked, defaults filled in, paths absolute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rum.host.config.identity import VmIdentity
from rum.protocol import ProvisionScript


@dataclass(frozen=True)
class ImageConfig:
    """`[image]`: a catalogue's name, a path or a URL, with the checksums that it must have (lower-case hexadecimal)."""

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
class Interface:
    """`[[network.interfaces]]`: one more NIC on a libvirt network, by DHCP or at this address ("192.168.50.2/24")."""

    network: str
    ip: str | None = None


@dataclass(frozen=True)
class NetworkConfig:
    """`[network]`: mode is "user", "nat" or "none"."""

    mode: str
    hostname: str
    interfaces: tuple[Interface, ...] = ()


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
    """`[[fs.<kind>]]`: a file system on one or several drives, mounted at an absolute path.

    `mode` is how btrfs ("single", "raid0", "raid1", "raid10") or zfs ("stripe", "mirror", "raidz1", "raidz2",
    "raidz3") spreads over its drives, None for the kind's own default; `pool` is the zfs pool's name.
    """

    kind: str
    drives: tuple[str, ...]
    target: str
    mode: str | None = None
    pool: str | None = None


@dataclass(frozen=True)
class Mount:
    """`[[mounts]]`: a directory of the host (absolute) at an absolute path of the guest, by its virtiofs tag."""

    source: Path
    target: str
    tag: str
    readonly: bool = False


@dataclass(frozen=True)
class Port:
    """`[[ports]]`: what connects to `bind`:`host` on the host reaches the guest's loopback at `guest`."""

    host: int
    guest: int
    bind: str = "127.0.0.1"


@dataclass(frozen=True)
class AutoPorts:
    """`[auto_ports]`: whatever listens in the guest from `low` to `high` is forwarded from `bind` on the host."""

    low: int = 1024
    high: int = 65535
    bind: str = "127.0.0.1"


@dataclass(frozen=True)
class Healthcheck:
    """`[provision.healthcheck]`: a command line for the guest's sh; times in seconds, `timeout_s` for all tries."""

    command: str
    interval_s: float
    timeout_s: float
    try_timeout_s: float


@dataclass(frozen=True)
class AdvancedConfig:
    """`[advanced]`; the boot timeout is in seconds, before the accelerator's factor.

    The defaults of `machine` and `firmware` are the architecture's
    (rum.host.vm.architecture); these are those of x86_64.
    """

    libvirt_uri: str | None = None
    accelerator: str = "auto"
    transport: str = "auto"
    machine: str = "q35"
    firmware: str = "bios"
    autologin: bool = False
    boot_timeout_s: int = 300


@dataclass(frozen=True)
class Config:
    """One rum.toml.

    `scripts` are those that the user has written: what `filesystems` come to depends on the VM
    (rum.host.vm.drive_files).
    """

    identity: VmIdentity
    image: ImageConfig
    resources: ResourcesConfig
    network: NetworkConfig
    user: UserConfig
    ssh: SshConfig
    drives: Mapping[str, Drive]
    filesystems: tuple[Filesystem, ...]
    scripts: tuple[ProvisionScript, ...]
    advanced: AdvancedConfig
    mounts: tuple[Mount, ...] = ()
    ports: tuple[Port, ...] = ()
    auto_ports: AutoPorts | None = None
    healthcheck: Healthcheck | None = None

    @property
    def path(self) -> Path:
        """The rum.toml, absolute."""
        return self.identity.path

    @property
    def name(self) -> str:
        """The VM's name."""
        return self.identity.name

    @property
    def domain_name(self) -> str:
        """The libvirt domain's name."""
        return self.identity.domain_name
