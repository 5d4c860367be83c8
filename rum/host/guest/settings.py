"""What of rum.toml lives in the guest or in its domain, as it was last applied: plain data for state.json."""

from __future__ import annotations

from dataclasses import dataclass

from rum.host.config.model import Config


@dataclass(frozen=True)
class MountSetting:
    """A mount as the guest has it."""

    source: str
    target: str
    tag: str
    readonly: bool


@dataclass(frozen=True)
class GuestSettings:
    """What the guest was last told. `keys`: those of `ssh.authorized_keys`; the VM's own is always there.

    `network_mode` and `interfaces` ("network address") are what its network-config was written for.
    """

    user: str
    groups: tuple[str, ...]
    keys: tuple[str, ...]
    hostname: str
    autologin: bool
    network_mode: str
    interfaces: tuple[str, ...] = ()
    mounts: tuple[MountSetting, ...] = ()


def mounts_of(config: Config) -> tuple[MountSetting, ...]:
    """The mounts, parents before what is mounted below them."""
    return tuple(MountSetting(str(mount.source), mount.target, mount.tag, mount.readonly) for mount in config.mounts)


def seeded_settings(config: Config) -> GuestSettings:
    """What cloud-init applies on the first boot: everything but the mounts."""
    return GuestSettings(
        user=config.user.name,
        groups=config.user.groups,
        keys=config.ssh.authorized_keys,
        hostname=config.network.hostname,
        autologin=config.advanced.autologin,
        network_mode=config.network.mode,
        interfaces=tuple(f"{interface.network} {interface.ip or 'dhcp'}" for interface in config.network.interfaces),
    )
