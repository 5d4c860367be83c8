"""rum.toml as it is written: every key with its type, its default and what it means.

The one definition that checks files, makes the JSON Schema, and fills the tables of docs/config.md. What several keys
have to do with each other is in the modules beside this one; what the rest of rum sees is in `model`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rum.host.config import types
from rum.protocol.scripts import ORDER_MAX

AfterName = Literal["local-fs", "network-online", "cloud-init"]


def one_of(*keys: str) -> dict[str, Any]:
    """JSON Schema for a table that must have exactly one of these keys."""
    return {"oneOf": [{"required": [key]} for key in keys]}


class Table(BaseModel):
    """A table of the file: nothing is converted, nothing unknown is let through."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True)


class Image(Table):
    """The disk image that the VM starts from."""

    base: types.ImageBase
    """The name of an image that rum knows, a path (relative to this file) or an http(s) URL."""
    sha256: types.Sha256 | None = None
    """What the image's SHA-256 must be; for a path or a URL."""
    sha512: types.Sha512 | None = None
    """What the image's SHA-512 must be; for a path or a URL."""


class Resources(Table):
    """What the VM gets of this host."""

    cpus: Annotated[int, Field(ge=1, le=255)] = 2
    """Virtual CPUs."""
    memory_mb: Annotated[int, Field(ge=128, le=16 << 20)] = 2048
    """Memory in MiB."""
    disk: types.Size = "20G"
    """The root disk, grown to this size; it takes only what is written to it."""


class Interface(Table):
    """One more network card."""

    network: types.NetworkName
    """The libvirt network that it is plugged into."""
    ip: types.HostInNetwork | None = None
    """A fixed address with the length of its network's prefix; without it, DHCP."""


class Network(Table):
    """How the guest reaches the network. rum itself needs none."""

    mode: Literal["user", "nat", "none"] = "user"
    """QEMU's user network, libvirt's network `default` (system connection), or no network card at all."""
    hostname: types.Hostname | None = None
    """The guest's host name; without it, the VM's name."""
    interfaces: Annotated[list[Interface], Field(max_length=8)] = []
    """More network cards."""


class User(Table):
    """The guest's account, which may use sudo without a password."""

    name: types.Account = "rum"
    """Its name."""
    groups: list[types.Account] = []
    """Groups that it is a member of besides its own; made where they are missing."""


class Ssh(Table):
    """SSH into the guest."""

    authorized_keys: list[types.PublicKey] = []
    """Public keys that may log in besides the VM's own, which `rum ssh` uses."""


class Mount(Table):
    """A directory of this host, shared with the guest by virtiofs."""

    source: types.HostPath
    """The directory: absolute, `~/...`, relative to this file, or `git` for the repository that holds this file."""
    target: types.GuestPath
    """Where the guest has it."""
    readonly: bool = False
    """Whether the guest may only read it."""
    tag: types.Tag | None = None
    """The name of the virtiofs device; without it, derived from the target."""


class Drive(Table):
    """One more disk, `drives.NAME`, blank at first."""

    size: types.DriveSize
    """Its size; it takes only what is written to it. It can be raised later, never lowered."""


class PlainFilesystem(Table):
    """A file system on one drive: formatted if the drive is blank, never otherwise."""

    drive: types.DriveRef
    """The drive, by its name in `[drives.NAME]`."""
    target: types.GuestPath
    """Where the guest has it."""


class Btrfs(Table):
    """A btrfs on one or several drives: formatted if they are blank, never otherwise."""

    model_config = ConfigDict(json_schema_extra=one_of("drive", "drives"))

    drive: types.DriveRef | None = None
    """The drive, by its name in `[drives.NAME]`."""
    drives: Annotated[list[types.DriveRef], Field(min_length=1, json_schema_extra={"uniqueItems": True})] | None = None
    """The drives, instead of `drive`."""
    target: types.GuestPath
    """Where the guest has it."""
    mode: Literal["single", "raid0", "raid1", "raid10"] | None = None
    """How data is spread over the drives; without it, as mkfs.btrfs does."""


class Zfs(Table):
    """A ZFS pool on one or several drives, its root dataset mounted."""

    model_config = ConfigDict(json_schema_extra=one_of("drive", "drives"))

    drive: types.DriveRef | None = None
    """The drive, by its name in `[drives.NAME]`."""
    drives: Annotated[list[types.DriveRef], Field(min_length=1, json_schema_extra={"uniqueItems": True})] | None = None
    """The drives, instead of `drive`."""
    target: types.GuestPath
    """Where the guest has it."""
    mode: Literal["stripe", "mirror", "raidz1", "raidz2", "raidz3"] = "stripe"
    """How data is spread over the drives."""
    pool: types.PoolName | None = None
    """The pool's name; without it, the first drive's."""


class Filesystems(Table):
    """File systems on drives, each at its target before any script runs."""

    ext4: list[PlainFilesystem] = []
    """ext4 on one drive."""
    xfs: list[PlainFilesystem] = []
    """XFS on one drive."""
    vfat: list[PlainFilesystem] = []
    """FAT on one drive."""
    btrfs: list[Btrfs] = []
    """btrfs on one or several drives."""
    zfs: list[Zfs] = []
    """ZFS on one or several drives."""


class Port(Table):
    """A port of this host that leads to one of the guest, over vsock: the guest needs no network for it."""

    host: types.PortNumber
    """The port on this host."""
    guest: types.PortNumber
    """The port on the guest's loopback address."""
    bind: types.Bind = "127.0.0.1"
    """The address on this host."""


class AutoPorts(Table):
    """Forward whatever listens in the guest. The table's presence turns it on."""

    range: types.PortRange = "1024-65535"
    """The guest's ports that are followed, first and last."""
    bind: types.Bind = "127.0.0.1"
    """The address on this host."""


class Script(Table):
    """A script; it runs as root, as `sh FILE` or by its own `#!` line."""

    model_config = ConfigDict(json_schema_extra=one_of("script", "file"))

    script: types.ScriptText | None = None
    """The script itself."""
    file: types.ScriptFile | None = None
    """A file that holds the script, relative to this file; instead of `script`."""
    timeout_s: types.Seconds | None = None
    """Seconds after which it is killed and has failed; without it, never."""
    env: dict[types.EnvName, types.EnvValue] = {}
    """Environment variables."""
    after: AfterName | None = None
    """What it waits for; without it, `cloud-init` for system scripts and `network-online` for boot scripts."""


class NamedScript(Script):
    """One more script."""

    name: types.ScriptName
    """Its name in the output, in `rum logs --script` and in RUM_SCRIPT."""
    order: Annotated[int, Field(ge=0, le=ORDER_MAX)]
    """Scripts run by order, then by name; drives is 0, system 100, boot 200."""
    run_on: Literal["system", "boot"]
    """Once, on the first boot, or on every boot."""


class Healthcheck(Table):
    """What `rum up` waits for once every script has passed: a command in the guest that ends with 0."""

    command: types.Command
    """Runs as root, as `sh -c COMMAND`, again and again until it ends with 0."""
    interval_s: types.Seconds = 1
    """Seconds between the end of one try and the next."""
    timeout_s: types.Seconds = 60
    """Seconds for all tries together; after that `rum up` ends with 1."""
    try_timeout_s: types.Seconds = 30
    """Seconds for one try; one that takes longer is killed and has failed."""


class Provision(Table):
    """What runs in the guest."""

    system: Script | None = None
    """Runs once, on the first boot."""
    boot: Script | None = None
    """Runs on every boot, also when nobody is connected."""
    script: list[NamedScript] = []
    """Any number more."""
    healthcheck: Healthcheck | None = None
    """What decides, after them, whether the VM is up."""


class Advanced(Table):
    """What is seldom needed."""

    libvirt_uri: types.Uri | None = None
    """The libvirt connection; without it `$LIBVIRT_DEFAULT_URI`, else `qemu:///session` (root: `qemu:///system`)."""
    accelerator: Literal["auto", "kvm", "tcg"] = "auto"
    """What runs the guest's instructions; `auto` is KVM where it is usable."""
    transport: Literal["auto", "vhost-vsock", "vhost-user"] = "auto"
    """What carries the vsock; `auto` is the kernel's vhost-vsock where it is usable, else vhost-device-vsock."""
    machine: types.Machine | None = None
    """QEMU's machine type; without it `q35`, on aarch64 `virt`."""
    firmware: Literal["bios", "efi"] | None = None
    """What the guest is started by; without it `bios`, on aarch64 `efi`."""
    autologin: bool = False
    """Whether the user is logged in on the serial console."""
    boot_timeout_s: Annotated[int, Field(ge=1, le=86400)] = 300
    """Seconds that the guest may take until its agent answers; five times that without KVM."""


class File(Table):
    """A VM for `rum up`."""

    image: Image
    resources: Resources = Resources()
    network: Network = Network()
    user: User = User()
    ssh: Ssh = Ssh()
    mounts: Annotated[list[Mount], Field(max_length=32)] = []
    """Directories of this host, shared with the guest by virtiofs."""
    drives: Annotated[dict[types.DriveName, Drive], Field(max_length=24)] = {}
    """More disks, by name."""
    fs: Filesystems = Filesystems()
    ports: Annotated[list[Port], Field(max_length=256)] = []
    """Ports of this host that lead to ports of the guest."""
    auto_ports: AutoPorts | None = None
    provision: Provision = Provision()
    advanced: Advanced = Advanced()
