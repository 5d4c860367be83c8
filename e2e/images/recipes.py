"""The images that can be built: what goes into each of them, as tables."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from e2e.images import guestfiles


@dataclass(frozen=True)
class Recipe:
    """One image. Everything in here goes into its cache key."""

    name: str
    suite: str
    packages: tuple[str, ...]
    files: Mapping[str, str]
    """Guest path to content; root owns each of them, mode 0644."""
    links: Mapping[str, str]
    """Guest path to what the symbolic link points at."""
    units: tuple[str, ...] = ("systemd-networkd.service",)
    """Enabled beyond what their packages enable by themselves."""
    removed: tuple[str, ...] = ()
    """Shell patterns of guest paths that packages leave behind and that each machine has to make for itself."""
    absent: tuple[str, ...] = ()
    """Guest paths whose existence would make the image pointless: the build fails."""
    pockets: tuple[str, ...] = ()
    """Archives beside the suite's own that updates come from."""
    index_may_be_old: bool = False
    """Development suites are also taken from an index past its Valid-Until."""


# What the cloud team's images have, as far as it works without Python. AppArmor is left out: compiling its profiles
# takes a quarter of the first boot where there is no KVM, and nothing a test looks at is confined by them.
_BASE = (
    "apt-utils",
    "bash-completion",
    "bind9-host",
    "ca-certificates",
    "curl",
    "dbus",
    "dosfstools",
    "e2fsprogs",
    "ethtool",
    "fdisk",
    "gdisk",
    "grub-cloud-amd64",
    "init",
    "iproute2",
    "iptables",
    "iputils-ping",
    "less",
    "libnss-myhostname",
    "libpam-systemd",
    "linux-image-cloud-amd64",
    "lsof",
    "man-db",
    "manpages",
    "nano",
    "netbase",
    "openssh-server",
    "pciutils",
    "polkitd",
    "procps",
    "psmisc",
    "screen",
    "socat",
    "sudo",
    "systemd-resolved",
    "systemd-timesyncd",
    "tcpdump",
    "traceroute",
    "tzdata",
    "udev",
    "uuid-runtime",
    "vim-tiny",
    "wget",
    "whiptail",
    "xz-utils",
    "zstd",
)
_WITH_PYTHON = ("apt-listchanges", "cloud-guest-utils", "netplan.io", "python3", "reportbug", "unattended-upgrades")
_WITH_CLOUD_INIT = ("cloud-init", "cloud-initramfs-growroot", "ssh-import-id")

_MADE_BY_CLOUD_INIT = ("etc/ssh/ssh_host_*",)
_UPDATES = ("updates", "security")


# cloud-init writes what belongs to it into that directory. The cloud team's image brings up by itself what nobody has
# configured, which would hide whether rum's network-config works.
_IFUPDOWN: Mapping[str, str] = {"etc/network/interfaces": "source-directory /etc/network/interfaces.d\n"}


def _debian(release: str, suite: str, pockets: tuple[str, ...] = _UPDATES) -> Recipe:
    return Recipe(
        name=f"debian-{release}",
        suite=suite,
        packages=_BASE + _WITH_PYTHON + _WITH_CLOUD_INIT,
        files=guestfiles.common_files(suite, pockets),
        links=guestfiles.LINKS,
        removed=_MADE_BY_CLOUD_INIT,
        pockets=pockets,
    )


def _without_cloud_init(recipe: Recipe) -> Recipe:
    return replace(
        recipe,
        name=f"{recipe.name}-no-cloud-init",
        packages=_BASE + _WITH_PYTHON,
        absent=("usr/bin/cloud-init",),
        removed=(),
        files={**recipe.files, **guestfiles.NETPLAN_DHCP},
    )


def _without_python(recipe: Recipe) -> Recipe:
    return replace(
        recipe,
        name=f"{recipe.name}-no-python",
        packages=_BASE,
        absent=("usr/bin/cloud-init", "usr/bin/python3"),
        removed=(),
        files={**recipe.files, **guestfiles.NETWORKD_DHCP},
    )


def _with_packages(recipe: Recipe, suffix: str, *packages: str) -> Recipe:
    return replace(recipe, name=f"{recipe.name}-{suffix}", packages=(*recipe.packages, *packages))


def _debian_11() -> Recipe:
    """As the cloud team's: ifupdown and dhclient, no netplan; what are packages now was then part of systemd."""
    missing = {"polkitd", "systemd-resolved", "netplan.io"}
    # The index of its security archive names packages that are gone.
    later = _debian("11", "bullseye", pockets=())
    return replace(
        later,
        packages=(
            *(name for name in later.packages if name not in missing),
            "ifupdown",
            "isc-dhcp-client",
            "policykit-1",
        ),
        files={**later.files, **_IFUPDOWN},
        links={},
        units=("networking.service",),
    )


_DEBIAN_12 = _debian("12", "bookworm")
_DEBIAN_13 = _debian("13", "trixie")
_DEBIAN_SID = replace(_debian("sid", "sid", pockets=()), index_may_be_old=True)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        _debian_11(),
        _DEBIAN_12,
        _without_cloud_init(_DEBIAN_12),
        _without_python(_DEBIAN_12),
        # What rum is measured against: its unit starts only where there is a virtio-serial port for it.
        _with_packages(_DEBIAN_12, "bench", "qemu-guest-agent"),
        # For e2e/test_drives.py where there is no network that the guest's package manager could use.
        _with_packages(_DEBIAN_12, "filesystems", "btrfs-progs", "xfsprogs"),
        _DEBIAN_13,
        _DEBIAN_SID,
    )
}
