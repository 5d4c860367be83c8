"""What `image.base` may be: a name of the catalogue, a URL, or the path of a file."""

from __future__ import annotations

import os
import re
import urllib.parse
from pathlib import Path

from rum.host.errors import HostError
from rum.host.files import named_for_libvirt
from rum.host.images.cache import SUFFIXES
from rum.host.images.catalogue import CATALOGUE


def is_url(base: str) -> bool:
    """Whether it is a URL."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", base) is not None


def is_bare_name(base: str) -> bool:
    """Whether it can only be a catalogue's name."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", base) is not None and not base.endswith(SUFFIXES)


def is_known_name(base: str, directory: Path) -> bool:
    """Whether it is a name of the catalogue, and not that of a file in `directory`."""
    return base in CATALOGUE and not os.path.isfile(directory / base)


def require_sound(base: str, directory: Path) -> None:
    """Raise ValueError with the end of a sentence for a URL or a path, from `directory`, that cannot be one."""
    if is_url(base):
        require_downloadable(base)
    elif not is_known_name(base, directory):
        named_for_libvirt(base, directory)


def require_downloadable(url: str) -> None:
    """Raise ValueError with the end of a sentence unless it is a URL of a web server."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("a URL must begin with http:// or https://")
    try:
        host = urllib.parse.urlsplit(url.encode().decode()).hostname
    except ValueError:
        raise ValueError("is no URL: what comes after :// must be a host's name or address") from None
    if not host:
        raise ValueError("is no URL: it names no host")


def image_file(base: str, directory: Path) -> Path:
    """The file that a path names, whether it is there or not. Raises HostError."""
    try:
        return named_for_libvirt(base, directory)
    except ValueError as exc:
        raise HostError(f"{base}: {exc}", hint="check image.base in rum.toml", code="image") from exc
