"""What the image cache holds, whole or still arriving, and who needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rum.host.errors import HostError
from rum.host.files import entries_of
from rum.host.images.cache import SUFFIXES, is_of_url, read_origin
from rum.host.images.catalogue import CATALOGUE
from rum.host.images.download import PART_SUFFIX, url_of_part
from rum.host.images.usage import Usage, User, find_usage
from rum.host.json_lines.answers import DownloadedImage, Images, KnownImage
from rum.host.paths import image_cache
from rum.host.vm.architecture import Architecture, host_architecture


@dataclass(frozen=True)
class Cached:
    """A file of the cache. `whole` False: a download that was broken off, or still goes on; size in bytes."""

    path: Path
    name: str | None
    url: str | None
    size: int
    modified: datetime
    whole: bool
    users: Sequence[User]

    @property
    def title(self) -> str:
        """What people call it."""
        return self.name or self.url or self.path.name


@dataclass(frozen=True)
class Inventory:
    """The whole cache."""

    directory: Path
    architecture: Architecture
    images: Sequence[Cached]
    usage: Usage

    @property
    def size(self) -> int:
        """Bytes of all that is there."""
        return sum(image.size for image in self.images)

    def matching(self, target: str) -> list[Cached]:
        """What a name, a URL, or a file's name or path means."""
        return [image for image in self.images if target in (image.name, image.url, image.path.name, str(image.path))]


def take_inventory() -> Inventory:
    """Look through the cache and the VMs. Raises HostError."""
    directory, architecture, usage = image_cache(), host_architecture(), find_usage()
    try:
        images = [
            _cached(path.with_suffix("") if path.suffix == PART_SUFFIX else path, path, architecture, usage)
            for path in entries_of(directory)
            if path.suffix in (*SUFFIXES, PART_SUFFIX) and path.is_file()
        ]
    except OSError as exc:
        raise HostError(f"the image cache {directory} cannot be read: {exc.strerror}") from exc
    images.sort(key=lambda image: (image.name is None, image.title, image.modified))
    return Inventory(directory, architecture, images, usage)


def _cached(path: Path, found: Path, architecture: Architecture, usage: Usage) -> Cached:
    origin, status = read_origin(path), found.stat()
    url = origin.url if origin else url_of_part(path)
    name = origin.name if origin and origin.name else _catalogue_name(path, architecture)
    modified = datetime.fromtimestamp(int(status.st_mtime), UTC)
    return Cached(path, name, url, status.st_size, modified, whole=found == path, users=usage.of(path))


def _catalogue_name(path: Path, architecture: Architecture) -> str | None:
    """The name of an image whose origin nobody wrote down, by the URL that its file name stands for."""
    for name, entry in CATALOGUE.items():
        image = entry.get(architecture.name)
        if image and any(is_of_url(path, f"{directory}/{image.file}") for directory in image.directories):
            return name
    return None


def inventory_fields(inventory: Inventory) -> Images:
    """What `rum image list -o json` prints."""
    return {
        "type": "images",
        "architecture": inventory.architecture.name,
        "directory": str(inventory.directory),
        "size": inventory.size,
        "catalogue": _published(inventory.architecture),
        "images": [_image_fields(image) for image in inventory.images],
        "unreadable_vms": [{"name": vm.name, "problem": vm.problem} for vm in inventory.usage.unknown],
    }


def _published(architecture: Architecture) -> list[KnownImage]:
    found = {name: entry[architecture.name] for name, entry in CATALOGUE.items() if architecture.name in entry}
    return [{"name": name, "url": image.url, "firmware": list(image.firmware)} for name, image in found.items()]


def _image_fields(image: Cached) -> DownloadedImage:
    return {
        "name": image.name,
        "url": image.url,
        "path": str(image.path),
        "size": image.size,
        "whole": image.whole,
        "modified": image.modified.isoformat(),
        "used_by": [{"name": user.name, "config": user.config_path} for user in image.users],
    }
