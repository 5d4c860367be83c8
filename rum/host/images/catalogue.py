"""The images that rum knows by name: where each publisher has them, and the checksum list that vouches for them.

Nearly every publisher has a name that moves (`latest`), and a list beside it that says to what. So rum asks the list
first, and an image that has moved on is a new file in the cache: no VM's base ever changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rum.host.errors import HostError
from rum.host.vm.architecture import Architecture

BIOS_OR_EFI = ("bios", "efi")


@dataclass(frozen=True)
class CatalogueImage:
    """An image for one architecture: `<directory>/<file>`, and its checksum list in the same directory."""

    directory: str
    file: str
    checksums: str
    firmware: tuple[str, ...]
    """What it boots with."""
    largest_cpu: bool = False
    """Whether an emulated CPU must have all that QEMU can emulate: the C library of RHEL 10 wants x86-64-v3."""
    archive: str | None = None
    """The directory that the publisher moves it to once the release is out of support."""

    @property
    def url(self) -> str:
        """Where the publisher has the image."""
        return f"{self.directory}/{self.file}"

    @property
    def checksums_url(self) -> str:
        """Where the publisher has the checksums."""
        return f"{self.directory}/{self.checksums}"

    @property
    def directories(self) -> tuple[str, ...]:
        """Where to look, in this order."""
        return (self.directory, self.archive) if self.archive else (self.directory,)


Entry = Mapping[str, CatalogueImage]
"""One name's images by architecture."""

DEBIAN_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}
FIRMWARE = {"x86_64": BIOS_OR_EFI, "aarch64": ("efi",)}


def _debian(version: int, codename: str) -> Entry:
    directory = f"https://cloud.debian.org/images/cloud/{codename}/latest"
    return {
        arch: CatalogueImage(
            directory, f"debian-{version}-genericcloud-{name}.qcow2", "SHA512SUMS", firmware=FIRMWARE[arch]
        )
        for arch, name in DEBIAN_NAMES.items()
    }


def _ubuntu(version: str, codename: str) -> Entry:
    directory = f"https://cloud-images.ubuntu.com/releases/{codename}/release"
    return {
        arch: CatalogueImage(
            directory, f"ubuntu-{version}-server-cloudimg-{name}.img", "SHA256SUMS", firmware=FIRMWARE[arch]
        )
        for arch, name in DEBIAN_NAMES.items()
    }


def _fedora(version: int, compose: str) -> Entry:
    # The compose number is part of every name and never moves: a release is composed once. Its checksums are taken
    # from the CHECKSUM file all the same, so that there is one rule for where a checksum comes from. Not from
    # download.fedoraproject.org, which sends each request to another mirror: no download could be resumed.
    def image(arch: str) -> CatalogueImage:
        below = f"linux/releases/{version}/Cloud/{arch}/images"
        return CatalogueImage(
            f"https://dl.fedoraproject.org/pub/fedora/{below}",
            f"Fedora-Cloud-Base-Generic-{version}-{compose}.{arch}.qcow2",
            f"Fedora-Cloud-{version}-{compose}-{arch}-CHECKSUM",
            firmware=FIRMWARE[arch],
            archive=f"https://dl.fedoraproject.org/pub/archive/fedora/{below}",
        )

    return {arch: image(arch) for arch in FIRMWARE}


def _centos_stream(version: int) -> Entry:
    def image(arch: str) -> CatalogueImage:
        file = f"CentOS-Stream-GenericCloud-{version}-latest.{arch}.qcow2"
        directory = f"https://cloud.centos.org/centos/{version}-stream/{arch}/images"
        return CatalogueImage(
            directory,
            file,
            f"{file}.SHA256SUM",
            firmware=FIRMWARE[arch],
            largest_cpu=version >= 10 and arch == "x86_64",
        )

    return {arch: image(arch) for arch in FIRMWARE}


def _almalinux(version: int) -> Entry:
    def image(arch: str) -> CatalogueImage:
        directory = f"https://repo.almalinux.org/almalinux/{version}/cloud/{arch}/images"
        file = f"AlmaLinux-{version}-GenericCloud-latest.{arch}.qcow2"
        return CatalogueImage(
            directory, file, "CHECKSUM", firmware=FIRMWARE[arch], largest_cpu=version >= 10 and arch == "x86_64"
        )

    return {arch: image(arch) for arch in FIRMWARE}


def _rocky(version: int) -> Entry:
    def image(arch: str) -> CatalogueImage:
        directory = f"https://dl.rockylinux.org/pub/rocky/{version}/images/{arch}"
        file = f"Rocky-{version}-GenericCloud-Base.latest.{arch}.qcow2"
        return CatalogueImage(
            directory, file, "CHECKSUM", firmware=FIRMWARE[arch], largest_cpu=version >= 10 and arch == "x86_64"
        )

    return {arch: image(arch) for arch in FIRMWARE}


def _opensuse_leap(version: str) -> Entry:
    def image(arch: str) -> CatalogueImage:
        directory = f"https://download.opensuse.org/distribution/leap/{version}/appliances"
        file = f"Leap-{version}-Minimal-VM.{arch}-Cloud.qcow2"
        return CatalogueImage(directory, file, f"{file}.sha256", firmware=FIRMWARE[arch])

    return {arch: image(arch) for arch in FIRMWARE}


def _archlinux() -> Entry:
    directory, file = "https://geo.mirror.pkgbuild.com/images/latest", "Arch-Linux-x86_64-cloudimg.qcow2"
    return {"x86_64": CatalogueImage(directory, file, f"{file}.SHA256", firmware=BIOS_OR_EFI)}


# What is not here has a Python older than the agent's 3.9: RHEL 8 and its kin, openSUSE Leap 15.
CATALOGUE: Mapping[str, Entry] = {
    "almalinux-9": _almalinux(9),
    "almalinux-10": _almalinux(10),
    "archlinux": _archlinux(),
    "centos-stream-9": _centos_stream(9),
    "centos-stream-10": _centos_stream(10),
    "debian-11": _debian(11, "bullseye"),
    "debian-12": _debian(12, "bookworm"),
    "debian-13": _debian(13, "trixie"),
    "fedora-43": _fedora(43, "1.6"),
    "fedora-44": _fedora(44, "1.7"),
    "opensuse-leap-16.0": _opensuse_leap("16.0"),
    "rocky-9": _rocky(9),
    "rocky-10": _rocky(10),
    "ubuntu-22.04": _ubuntu("22.04", "jammy"),
    "ubuntu-24.04": _ubuntu("24.04", "noble"),
    "ubuntu-26.04": _ubuntu("26.04", "resolute"),
}


def catalogue_image(name: str, architecture: Architecture) -> CatalogueImage:
    """The image of a name for an architecture. Raises HostError where its publisher has none."""
    entry = CATALOGUE[name]
    if architecture.name not in entry:
        raise HostError(
            f"{name} is published for {' and '.join(entry)} only, and a VM on this host is {architecture.name}",
            hint="take another image, or set image.base to a path or URL of one for this architecture",
        )
    return entry[architecture.name]


def needs_largest_cpu(name: str, architecture: Architecture) -> bool:
    """Whether what `image.base` names needs all that QEMU can emulate; nobody knows of paths and URLs."""
    image = CATALOGUE.get(name, {}).get(architecture.name)
    return image is not None and image.largest_cpu
