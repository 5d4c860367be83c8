"""Base images: from a name, a path or a URL to a checked local file that an overlay can stand on."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rum.host.config.model import ImageConfig
from rum.host.errors import HostError
from rum.host.events import Emit, Notice
from rum.host.files import named_for_libvirt
from rum.host.images.cache import Source, cached_download, is_verified, newest_verified, origin_path
from rum.host.images.catalogue import CatalogueImage, catalogue_image
from rum.host.images.checksums import Checksum, file_digest, find_checksum
from rum.host.images.download import fetch_text
from rum.host.images.http_get import DownloadError, NotPublishedError
from rum.host.images.lock import image_lock_if_free
from rum.host.images.reference import image_file, is_known_name, is_url, require_downloadable
from rum.host.images.usage import find_usage
from rum.host.paths import image_cache
from rum.host.qemu_img import check_qcow2, create_qcow2, image_info
from rum.host.sizes import show_size
from rum.host.store import BaseImage
from rum.host.vm.architecture import host_architecture

MIRROR_VARIABLE = "RUM_IMAGE_MIRROR"
CHECKSUM_LISTS = ("SHA512SUMS", "SHA256SUMS")
"""What a mirror may have; the list that the publisher has is looked for as well."""


def resolve_image(image: ImageConfig, directory: Path, emit: Emit) -> BaseImage:
    """The base image as a checked local file; a relative path starts at `directory`. Raises HostError."""
    wanted = configured_checksum(image)
    if is_url(image.base):
        path = cached_download(Source(image.base, wanted), emit)
    elif is_known_name(image.base, directory):
        path = named_image(image.base, wanted, emit)
    else:
        path = local_file(image_file(image.base, directory), wanted)
    if image.sha256 and image.sha512:
        require_checksum(path, Checksum("sha256", image.sha256))
    try:
        return inspect_image(image.base, path)
    except HostError as exc:
        if exc.code == "image" and discard_unverified(path):
            exc.hint = "it was thrown away; run the command again, and if it stays so, see what is at that URL"
        raise


def discard_unverified(path: Path) -> bool:
    """Take a file of the cache that nobody could verify out of it, unless a VM stands on it; whether that was done."""
    if path.parent != image_cache() or is_verified(path) or find_usage().of(path):
        return False
    with contextlib.suppress(OSError), image_lock_if_free(path) as holder:
        if holder is None:
            for file in (path, origin_path(path)):
                file.unlink(missing_ok=True)
            return True
    return False


def configured_checksum(image: ImageConfig) -> Checksum | None:
    """The checksum of `[image]` that a file is known by, the stronger where both are given."""
    if image.sha512:
        return Checksum("sha512", image.sha512)
    return Checksum("sha256", image.sha256) if image.sha256 else None


def named_image(name: str, wanted: Checksum | None, emit: Emit) -> Path:
    """The file of a catalogue's image, from its publisher or the mirror. Raises HostError."""
    found = published(name)
    if found is not None:
        return found.fetch(wanted, emit)
    image = catalogue_image(name, host_architecture())
    directory = mirror_directory()
    return local_file(directory / image.file, wanted or checksum_beside(directory, image.file, lists_of(image)))


def published(name: str) -> Published | None:
    """Where a catalogue's image is downloaded from, None where the mirror is a directory. Raises HostError."""
    image = catalogue_image(name, host_architecture())
    mirror = os.environ.get(MIRROR_VARIABLE, "")
    if not mirror:
        return Published(name, image.file, image.directories, (image.checksums,))
    if not is_url(mirror):
        return None
    with mirror_errors(mirror):
        require_downloadable(mirror)
    return Published(name, image.file, (mirror.rstrip("/"),), lists_of(image))


def mirror_directory() -> Path:
    """The mirror where it is a directory. Raises HostError."""
    mirror = os.environ[MIRROR_VARIABLE]
    with mirror_errors(mirror):
        return named_for_libvirt(mirror, Path.cwd())


@contextlib.contextmanager
def mirror_errors(mirror: str) -> Iterator[None]:
    """Says of which variable a ValueError of the block is. Raises HostError."""
    try:
        yield
    except ValueError as exc:
        text = f"{MIRROR_VARIABLE} is {mirror!r}: {exc}"
        raise HostError(text, hint="set it to a directory or to a URL with images, or unset it") from exc


def lists_of(image: CatalogueImage) -> tuple[str, ...]:
    """The names that a mirror's checksum list may have."""
    return tuple(dict.fromkeys((*CHECKSUM_LISTS, image.checksums)))


@dataclass(frozen=True)
class Published:
    """An image as its publisher, or a mirror, has it: in one of the directories, beside one of the checksum lists."""

    name: str
    file: str
    directories: tuple[str, ...]
    lists: tuple[str, ...]

    def fetch(self, wanted: Checksum | None, emit: Emit) -> Path:
        """The image's file; without a network, the newest that was downloaded before. Raises HostError."""
        try:
            return self._download(wanted, emit)
        except DownloadError as exc:
            cached = [path for directory in self.directories if (path := newest_verified(f"{directory}/{self.file}"))]
            if wanted or not cached:
                raise
            emit(Notice(f"{exc}; using {cached[0]}, which was downloaded before", warning=True))
            return cached[0]

    def _download(self, wanted: Checksum | None, emit: Emit) -> Path:
        missing: NotPublishedError | None = None
        for directory, name in itertools.product(self.directories, self.lists):
            try:
                return cached_download(self._source(directory, name, wanted, emit), emit)
            except NotPublishedError as exc:
                missing = missing or exc
        raise missing or AssertionError

    def sources(self, wanted: Checksum | None, emit: Emit) -> Iterator[Source]:
        """Every file under this name that is published now. Raises HostError."""
        for directory, name in itertools.product(self.directories, self.lists):
            with contextlib.suppress(NotPublishedError):
                yield self._source(directory, name, wanted, emit)

    def _source(self, directory: str, name: str, wanted: Checksum | None, emit: Emit) -> Source:
        checksum = wanted or self._listed(f"{directory}/{name}", emit)
        return Source(f"{directory}/{self.file}", checksum, self.name)

    def _listed(self, url: str, emit: Emit) -> Checksum:
        return find_checksum(fetch_text(url, emit), self.file, url)


def checksum_beside(directory: Path, file: str, lists: Sequence[str] = CHECKSUM_LISTS) -> Checksum:
    """What the directory's own checksum list says of a file. Raises HostError."""
    for name in lists:
        try:
            text = (directory / name).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            continue
        except OSError as exc:
            raise HostError(f"{directory / name} cannot be read: {exc.strerror}") from exc
        return find_checksum(text, file, str(directory / name))
    raise HostError(
        f"{directory} has neither {' nor '.join(lists)}, so its images cannot be verified",
        hint=f"make one: cd {directory} && sha512sum *.qcow2 > SHA512SUMS",
    )


def local_file(path: Path, wanted: Checksum | None) -> Path:
    """A file that is used where it is, verified where a checksum is known. Raises HostError."""
    if not os.path.isfile(path):
        raise HostError(f"there is no image file {path}", hint="check image.base in rum.toml", code="image")
    if wanted:
        require_checksum(path, wanted)
    return path


def require_checksum(path: Path, wanted: Checksum) -> None:
    """Raise HostError unless a file has the checksum."""
    try:
        found = file_digest(path, wanted.algorithm)
    except OSError as exc:
        raise HostError(f"{path} cannot be read: {exc.strerror}") from exc
    if found != wanted.digest:
        raise HostError(f"{path} has the {wanted.algorithm} {found}, not {wanted.digest}", code="checksum")


def inspect_image(reference: str, path: Path) -> BaseImage:
    """Check that a file is a whole disk image of its own. Raises HostError."""
    try:
        with open(path, "rb") as file:
            start = file.read(1024)
    except OSError as exc:
        raise HostError(f"{path} cannot be read: {exc.strerror}") from exc
    info = image_info(path)
    if info.format == "qcow2":
        # Either may be any file of whoever runs rum, which the guest would then read.
        if other := info.backing_file or info.data_file:
            text = f"{path} is not a whole image: {'it stands on' if info.backing_file else 'its data is in'} {other}"
            raise HostError(text, hint=f"flatten it: qemu-img convert -O qcow2 {path} flat.qcow2", code="image")
        check_qcow2(path, info.cluster_size)
    elif info.format != "raw":
        text = f"{path} is a {info.format} image, rum takes qcow2 and raw"
        raise HostError(text, hint=f"convert it: qemu-img convert -O qcow2 {path} image.qcow2", code="image")
    elif start[510:512] != b"\x55\xaa" and start[512:520] != b"EFI PART":
        raise HostError(f"{path} is not a disk image: it has no boot sector and no partition table", code="image")
    status = path.stat()
    return BaseImage(reference, str(path), info.format, status.st_size, status.st_mtime_ns, info.virtual_size)


def require_unchanged(base: BaseImage) -> None:
    """Raise HostError unless the base image is the file that the overlay was made on."""
    again = "restore it, or start over with 'rum destroy' and 'rum up'"
    if is_verified(Path(base.path)):
        with_checksum = " --sha256 or --sha512 HEX" if is_url(base.reference) else ""
        pull = f"rum image pull {base.reference}{with_checksum}"
        again = f"get it again, if it is still published: {pull}; or start over with 'rum destroy' and 'rum up'"
    try:
        status = os.stat(base.path)
    except OSError as exc:
        text = f"the base image {base.path}, which this VM's disk stands on, is gone: {exc.strerror}"
        raise HostError(text, hint=again, code="image") from exc
    same_time = status.st_mtime_ns == base.mtime_ns or is_verified(Path(base.path))
    if status.st_size != base.file_size or not same_time:
        text = f"the base image {base.path} has changed since this VM's disk was made on it"
        raise HostError(text, hint=again, code="image")


def create_overlay(base: BaseImage, overlay: Path, disk_size: int) -> None:
    """Make the root disk: as large as rum.toml says in bytes, never smaller than its base. Raises HostError."""
    create_qcow2(overlay, max(base.virtual_size, disk_size), backing=(Path(base.path), base.format))


def describe_image(base: BaseImage) -> str:
    """One line about an image."""
    return f"{base.reference} ({base.format}, {show_size(base.virtual_size)})"
