"""Names that a half-typed command line may go on with, for the rum.toml that it names or, without one, that is here.

A key press must not wait: nothing here asks a VM or a network. Raises whatever a file can be wrong by.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from rum.host.config.identity import VmIdentity, find_config
from rum.host.images.cache import SUFFIXES, read_origin
from rum.host.images.catalogue import CATALOGUE
from rum.host.paths import VmPaths, image_cache
from rum.host.runs.records import RunCopies


def script_names(given: Path | None) -> list[str]:
    """The scripts of rum.toml, in its order; it need not be right otherwise."""
    document: dict[str, Any] = tomllib.loads((given or find_config()).read_text(encoding="utf-8"))
    provision = document.get("provision", {})
    unnamed = [name for name in ("system", "boot") if name in provision]
    drives = ["drives"] if document.get("drives") or document.get("fs") else []
    return [*drives, *unnamed, *(str(script["name"]) for script in provision.get("script", []))]


def run_ids(given: Path | None) -> list[str]:
    """The runs of which there are copies on this host, the latest first."""
    paths = VmPaths.of(VmIdentity.of(given or find_config()))
    return RunCopies(paths.runs).ids()[::-1]


def known_images(_given: Path | None) -> list[str]:
    """The images that have a name."""
    return sorted(CATALOGUE)


def downloaded_images(_given: Path | None) -> list[str]:
    """The images that are in the cache, by what people call them."""
    origins = [(path, read_origin(path)) for path in image_cache().iterdir() if path.suffix in SUFFIXES]
    return sorted({origin.name or origin.url if origin else path.name for path, origin in origins})
