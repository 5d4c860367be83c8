"""What rum.toml says now and the VM does not have yet, as sentences: nothing that is changed is silently ignored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rum.host.config.model import Config
from rum.host.guest.settings import GuestSettings, mounts_of, seeded_settings
from rum.host.sizes import show_size
from rum.host.store import LastStart, VmState


def kept_until_destroy(config: Config, state: VmState) -> Iterator[str]:
    """What a VM keeps from its creation."""
    wanted_uri = config.advanced.libvirt_uri
    if config.image.base != state.image.reference:
        yield kept("image.base", config.image.base, f"keeps its disk of {state.image.reference}")
    if wanted_uri and wanted_uri != state.libvirt_uri:
        yield kept("advanced.libvirt_uri", wanted_uri, f"stays at {state.libvirt_uri}")
    if state.settings:
        yield from kept_by_the_guest(seeded_settings(config), state.settings)


def kept_by_the_guest(wanted: GuestSettings, had: GuestSettings) -> Iterator[str]:
    """What cloud-init has set up once and for all."""
    if wanted.user != had.user:
        yield kept("user.name", wanted.user, f"keeps its account {had.user}")
    if "none" in (wanted.network_mode, had.network_mode) and wanted.network_mode != had.network_mode:
        yield kept("network.mode", wanted.network_mode, f'is set up for "{had.network_mode}"')
    if wanted.interfaces != had.interfaces:
        now, before = (", ".join(listed) or "none" for listed in (wanted.interfaces, had.interfaces))
        yield kept("network.interfaces", now, f"is set up for {before}")


def kept(key: str, value: str, what: str) -> str:
    """The sentence for a key that only a new VM takes."""
    return f"{key} is now {value}, but the VM {what} until 'rum destroy'"


@dataclass(frozen=True)
class Difference:
    """A key of rum.toml whose value the domain was not started with."""

    key: str
    wanted: str
    had: str


def differences(config: Config, started: LastStart) -> Iterator[Difference]:
    """What the next start changes. What is chosen by "auto" is no change."""
    resources, advanced, network_mode = config.resources, config.advanced, config.network.mode
    values: tuple[tuple[str, object, object, str], ...] = (
        ("cpus", resources.cpus, started.cpus, ""),
        ("memory", resources.memory_mb, started.memory_mb, " MiB"),
        ("machine", advanced.machine, started.machine, ""),
        ("firmware", advanced.firmware, started.firmware, ""),
        ("accelerator", advanced.accelerator, started.accelerator, ""),
        ("transport", advanced.transport, started.transport, ""),
    )
    for key, wanted, had, unit in values:
        if wanted not in (had, "auto") and had is not None:
            yield Difference(key, f"{wanted}{unit}", f"{had}{unit}")
    # One that has become smaller stays as it is, which is said where disks grow.
    if started.disk is not None and resources.disk > started.disk:
        yield Difference("disk", show_size(resources.disk), show_size(started.disk))
    # Where one of them is "none", the guest does not follow.
    if network_mode != started.network_mode and "none" not in (network_mode, started.network_mode or "none"):
        yield Difference("network", network_mode, str(started.network_mode))


def applied_now(config: Config, started: LastStart) -> Iterator[str]:
    """What a start is about to change."""
    for difference in differences(config, started):
        risky = difference.key in ("machine", "firmware")
        warning = "; a system that was installed for the other may not boot with it" if risky else ""
        yield f"{difference.key}: {difference.wanted}, was {difference.had}{warning}"


def applied_later(config: Config, started: LastStart) -> Iterator[str]:
    """What a running VM gets at its next start."""
    when = "it takes effect at the next start (`rum reboot`)"
    for difference in differences(config, started):
        yield f"{difference.key} is now {difference.wanted}, the VM runs with {difference.had}; {when}"
    had = {mount.tag: mount for mount in started.mounts}
    for mount in mounts_of(config):
        before = had.get(mount.tag)
        if before is None or before.source != mount.source:
            yield f"{mount.source} is to be mounted at {mount.target}; {when}"
        elif before.readonly and not mount.readonly:
            yield f"{mount.target} is writable from the next start on (`rum reboot`)"
