"""The base image of a VM that exists: a download that somebody has removed is fetched again, if it is the same file."""

from __future__ import annotations

import os
from pathlib import Path

from rum.host.config.model import ImageConfig
from rum.host.errors import HostError
from rum.host.events import Emit, Notice
from rum.host.images.cache import Source, cache_path, cached_download, is_verified
from rum.host.images.checksums import Checksum
from rum.host.images.reference import is_url
from rum.host.images.resolve import configured_checksum, describe_image, published, require_unchanged
from rum.host.progress import phase
from rum.host.store import BaseImage


def restore_base(base: BaseImage, image: ImageConfig, emit: Emit) -> bool:
    """Whether the base was gone and has been downloaded again, checked to be the file that a VM's disk stands on.

    False where it is there, or nothing says that a download would be that file. Raises HostError where one that would
    be cannot be had.
    """
    path = Path(base.path)
    if os.path.exists(path) or not is_verified(path):
        return False
    # rum.toml may name another image by now.
    wanted = configured_checksum(image) if image.base == base.reference else None
    with phase(emit, "image") as detail:
        emit(Notice(f"the base image {path} of this VM is gone; it is looked for where it came from", warning=True))
        _fetch(base, path, wanted, emit)
        require_unchanged(base)
        detail.append(describe_image(base))
    return True


def _fetch(base: BaseImage, path: Path, wanted: Checksum | None, emit: Emit) -> None:
    try:
        source = _source(base, path, wanted, emit)
        if source is not None:
            cached_download(source, emit)
    except HostError as exc:
        text = f"the base image {path}, which this VM's disk stands on, is gone, and cannot be downloaded again: {exc}"
        hint = exc.hint or "run `rum up` again later, or start over with 'rum destroy' and 'rum up'"
        raise HostError(text, hint=hint, code=exc.code) from exc


def _source(base: BaseImage, path: Path, wanted: Checksum | None, emit: Emit) -> Source | None:
    """Where the file that was kept at this path can be had. Raises HostError."""
    if is_url(base.reference):
        candidates = iter([Source(base.reference, wanted)] if wanted else ())
    else:
        found = published(base.reference)
        candidates = found.sources(wanted, emit) if found else iter(())
    # The cache's name of a file says of which URL it is, and with which checksum.
    return next((source for source in candidates if cache_path(source) == path), None)
