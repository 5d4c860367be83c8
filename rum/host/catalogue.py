"""The images that rum knows by name. Each publisher's `latest` moves; the checksum list beside it says to what."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CatalogueImage:
    """`<directory>/<file>`, and the checksum list in the same directory."""

    directory: str
    file: str
    checksums: str

    @property
    def url(self) -> str:
        """Where the publisher has the image."""
        return f"{self.directory}/{self.file}"

    @property
    def checksums_url(self) -> str:
        """Where the publisher has the checksums."""
        return f"{self.directory}/{self.checksums}"


def _debian(version: int, codename: str) -> CatalogueImage:
    directory = f"https://cloud.debian.org/images/cloud/{codename}/latest"
    return CatalogueImage(directory, f"debian-{version}-genericcloud-amd64.qcow2", "SHA512SUMS")


def _ubuntu(version: str, codename: str) -> CatalogueImage:
    directory = f"https://cloud-images.ubuntu.com/releases/{codename}/release"
    return CatalogueImage(directory, f"ubuntu-{version}-server-cloudimg-amd64.img", "SHA256SUMS")


CATALOGUE = {
    "debian-12": _debian(12, "bookworm"),
    "debian-13": _debian(13, "trixie"),
    "ubuntu-22.04": _ubuntu("22.04", "jammy"),
    "ubuntu-24.04": _ubuntu("24.04", "noble"),
}
