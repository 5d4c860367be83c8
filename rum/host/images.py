"""Base images: from a name, a path or a URL to a checked local file that an overlay can stand on."""

from __future__ import annotations

import hashlib
import os
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rum.host.catalogue import CATALOGUE
from rum.host.checksums import Checksum, file_digest, find_checksum
from rum.host.config_model import ImageConfig
from rum.host.download import DownloadError, download, fetch_text
from rum.host.errors import HostError
from rum.host.events import Emit, Notice
from rum.host.files import make_private_dir
from rum.host.paths import image_cache
from rum.host.qemu_img import check_qcow2, create_qcow2, image_info
from rum.host.sizes import show_size
from rum.host.store import BaseImage

MIRROR_VARIABLE = "RUM_IMAGE_MIRROR"
CHECKSUM_LISTS = ("SHA512SUMS", "SHA256SUMS")
SUFFIXES = (".qcow2", ".img", ".raw")


@dataclass(frozen=True)
class Source:
    """Where an image comes from: a URL, or a file used in place. `checksum` None: nobody says what it must be."""

    location: str
    checksum: Checksum | None


def is_url(base: str) -> bool:
    """Whether `image.base` is a URL."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", base) is not None


def is_bare_name(base: str) -> bool:
    """Whether `image.base` can only be a catalogue's name."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", base) is not None and not base.endswith(SUFFIXES)


def resolve_image(image: ImageConfig, directory: Path, emit: Emit) -> BaseImage:
    """The base image as a checked local file; a relative path starts at `directory`. Raises HostError."""
    wanted = configured_checksum(image)
    if is_url(image.base):
        path = cached_download(Source(image.base, wanted), emit)
    elif image.base in CATALOGUE and not (directory / image.base).exists():
        path = catalogue_image(image.base, wanted, emit)
    else:
        path = local_file((directory / Path(image.base).expanduser()).resolve(), wanted)
    return inspect_image(image.base, path)


def configured_checksum(image: ImageConfig) -> Checksum | None:
    """The checksum of `[image]`, the stronger where both are given."""
    if image.sha512:
        return Checksum("sha512", image.sha512)
    return Checksum("sha256", image.sha256) if image.sha256 else None


def catalogue_image(name: str, wanted: Checksum | None, emit: Emit) -> Path:
    """The file of a catalogue's image, from its publisher or the mirror. Raises HostError."""
    entry = CATALOGUE[name]
    mirror = os.environ.get(MIRROR_VARIABLE, "")
    if not mirror:
        return published_image(entry.url, wanted, lambda: _listed(entry.checksums_url, entry.file), emit)
    if is_url(mirror):
        url = f"{mirror.rstrip('/')}/{entry.file}"
        return published_image(url, wanted, lambda: _listed_in_mirror(mirror.rstrip("/"), entry.file), emit)
    directory = Path(mirror).expanduser().absolute()
    return local_file(directory / entry.file, wanted or checksum_beside(directory, entry.file))


def published_image(url: str, wanted: Checksum | None, look_up: Callable[[], Checksum], emit: Emit) -> Path:
    """The image that a checksum list speaks of; without a network, the newest that was downloaded before."""
    try:
        return cached_download(Source(url, wanted or look_up()), emit)
    except DownloadError as exc:
        cached = newest_cached(url)
        if wanted or not cached:
            raise
        emit(Notice(f"{exc}; using {cached}, which was downloaded before", warning=True))
        return cached


def _listed(list_url: str, file: str) -> Checksum:
    return find_checksum(fetch_text(list_url), file, list_url)


def _listed_in_mirror(mirror: str, file: str) -> Checksum:
    failed: DownloadError | None = None
    for name in CHECKSUM_LISTS:
        try:
            return _listed(f"{mirror}/{name}", file)
        except DownloadError as exc:
            failed = failed or exc
    raise failed or AssertionError


def checksum_beside(directory: Path, file: str) -> Checksum:
    """What the directory's own checksum list says of a file. Raises HostError."""
    for name in CHECKSUM_LISTS:
        try:
            text = (directory / name).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            continue
        except OSError as exc:
            raise HostError(f"{directory / name} cannot be read: {exc.strerror}") from exc
        return find_checksum(text, file, str(directory / name))
    raise HostError(
        f"{directory} has neither {' nor '.join(CHECKSUM_LISTS)}, so its images cannot be verified",
        hint=f"make one: cd {directory} && sha512sum *.qcow2 > SHA512SUMS",
    )


def local_file(path: Path, wanted: Checksum | None) -> Path:
    """A file that is used where it is, verified where a checksum is known. Raises HostError."""
    if not path.is_file():
        raise HostError(f"there is no image file {path}", hint="check image.base in rum.toml")
    if wanted:
        try:
            found = file_digest(path, wanted.algorithm)
        except OSError as exc:
            raise HostError(f"{path} cannot be read: {exc.strerror}") from exc
        if found != wanted.digest:
            raise HostError(f"{path} has the {wanted.algorithm} {found}, not {wanted.digest}")
    return path


def cache_path(source: Source) -> Path:
    """The file a download is kept in: it says of which URL, and with which content."""
    url = urllib.parse.urlsplit(source.location)
    suffix = next((suffix for suffix in SUFFIXES if url.path.endswith(suffix)), ".img")
    content = source.checksum.digest[:16] if source.checksum else "unverified"
    return image_cache() / f"{_url_key(source.location)}-{content}{suffix}"


def newest_cached(url: str) -> Path | None:
    """What was last downloaded from a URL."""
    found = [path for path in image_cache().glob(f"{_url_key(url)}-*") if path.suffix in SUFFIXES]
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def _url_key(url: str) -> str:
    return hashlib.sha256(url.encode("utf-8")).hexdigest()[:16]


def cached_download(source: Source, emit: Emit) -> Path:
    """The file of a URL, downloaded unless it is in the cache. Raises HostError."""
    path = cache_path(source)
    make_private_dir(path.parent)
    if not path.exists():
        if source.checksum is None:
            text = "it cannot be verified: rum.toml has no image.sha256 or image.sha512"
            emit(Notice(f"downloading {source.location}; {text}", warning=True))
        download(source.location, path, source.checksum, emit)
    return path


def inspect_image(reference: str, path: Path) -> BaseImage:
    """Check that a file is a whole disk image of its own. Raises HostError."""
    try:
        with open(path, "rb") as file:
            start = file.read(1024)
    except OSError as exc:
        raise HostError(f"{path} cannot be read: {exc.strerror}") from exc
    info = image_info(path)
    if info.format == "qcow2":
        if info.backing_file:
            text = f"{path} is not a whole image: it stands on {info.backing_file}"
            raise HostError(text, hint=f"flatten it: qemu-img convert -O qcow2 {path} flat.qcow2")
        check_qcow2(path, info.cluster_size)
    elif info.format != "raw":
        text = f"{path} is a {info.format} image, rum takes qcow2 and raw"
        raise HostError(text, hint=f"convert it: qemu-img convert -O qcow2 {path} image.qcow2")
    elif start[510:512] != b"\x55\xaa" and start[512:520] != b"EFI PART":
        raise HostError(f"{path} is not a disk image: it has no boot sector and no partition table")
    status = path.stat()
    return BaseImage(reference, str(path), info.format, status.st_size, status.st_mtime_ns, info.virtual_size)


def require_unchanged(base: BaseImage) -> None:
    """Raise HostError unless the base image is the file that the overlay was made on."""
    again = "restore it, or start over with 'rum destroy' and 'rum up'"
    try:
        status = os.stat(base.path)
    except OSError as exc:
        text = f"the base image {base.path}, which this VM's disk stands on, is gone: {exc.strerror}"
        raise HostError(text, hint=again) from exc
    if (status.st_size, status.st_mtime_ns) != (base.file_size, base.mtime_ns):
        text = f"the base image {base.path} has changed since this VM's disk was made on it"
        raise HostError(text, hint=again)


def create_overlay(base: BaseImage, overlay: Path, disk_size: int) -> None:
    """Make the root disk: as large as rum.toml says in bytes, never smaller than its base. Raises HostError."""
    create_qcow2(overlay, max(base.virtual_size, disk_size), backing=(Path(base.path), base.format))


def describe_image(base: BaseImage) -> str:
    """One line about an image."""
    return f"{base.reference} ({base.format}, {show_size(base.virtual_size)})"
