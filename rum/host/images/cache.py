"""The files that images were downloaded to: each is of one URL and one content, and never changes once it is there."""

from __future__ import annotations

import hashlib
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

import msgspec

from rum.host.errors import HostError
from rum.host.events import Emit, Notice
from rum.host.files import entries_of, make_private_dir, write_atomic
from rum.host.images.checksums import Checksum
from rum.host.images.download import download
from rum.host.images.lock import image_lock
from rum.host.paths import image_cache

SUFFIXES = (".qcow2", ".img", ".raw")
UNVERIFIED = "unverified"
ORIGIN_SUFFIX = ".origin.json"


@dataclass(frozen=True)
class Source:
    """What to download. `checksum` None: nobody says what it must be; `name`: the catalogue's, where it has one."""

    location: str
    checksum: Checksum | None
    name: str | None = None


@dataclass(frozen=True)
class Origin:
    """Where a file of the cache comes from; written beside it."""

    url: str
    name: str | None = None


def cache_path(source: Source) -> Path:
    """The file a download is kept in: it says of which URL, and with which content."""
    url = urllib.parse.urlsplit(source.location)
    suffix = next((suffix for suffix in SUFFIXES if url.path.endswith(suffix)), ".img")
    content = source.checksum.digest[:16] if source.checksum else UNVERIFIED
    return image_cache() / f"{_url_key(source.location)}-{content}{suffix}"


def is_verified(path: Path) -> bool:
    """Whether a path can only ever have one content: the cache's own, checked when it was downloaded."""
    return path.parent == image_cache() and not path.stem.endswith(f"-{UNVERIFIED}")


def newest_verified(url: str) -> Path | None:
    """What was last downloaded from a URL with a checksum. Raises HostError."""
    cached = [path for path in entries_of(image_cache()) if is_of_url(path, url) and path.suffix in SUFFIXES]
    found = [path for path in cached if is_verified(path)]
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def is_of_url(path: Path, url: str) -> bool:
    """Whether a file of the cache was downloaded from a URL."""
    return path.name.startswith(f"{_url_key(url)}-")


def _url_key(url: str) -> str:
    return hashlib.sha256(url.encode("utf-8")).hexdigest()[:16]


def cached_download(source: Source, emit: Emit) -> Path:
    """The file of a URL, downloaded unless it is in the cache. Raises HostError."""
    path = cache_path(source)
    make_private_dir(path.parent)
    try:
        # Looked at under the lock: else 'rum image remove' could take it away at this very moment.
        with image_lock(path, source.location, emit):
            if not path.exists():
                _download(source, path, emit)
    except OSError as exc:
        raise HostError(f"the image cache {path.parent} cannot be written: {exc.strerror}") from exc
    return path


def _download(source: Source, path: Path, emit: Emit) -> None:
    if source.checksum is None:
        text = "it cannot be verified: rum.toml has no image.sha256 or image.sha512"
        emit(Notice(f"downloading {source.location}; {text}", warning=True))
    download(source.location, path, source.checksum, emit)
    write_atomic(origin_path(path), msgspec.json.encode(Origin(source.location, source.name)))


def origin_path(path: Path) -> Path:
    """Beside a file of the cache: where it comes from."""
    return path.with_name(f"{path.name}{ORIGIN_SUFFIX}")


def read_origin(path: Path) -> Origin | None:
    """Where a file of the cache comes from; None where nobody wrote it down: an older rum, or one that was killed."""
    try:
        return msgspec.json.decode(origin_path(path).read_bytes(), type=Origin)
    except (OSError, ValueError):
        return None
