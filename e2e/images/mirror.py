"""For a host that cannot download official images: a built one in the place of the official one."""

import hashlib
import os
import urllib.error
import urllib.request
from pathlib import Path

from e2e.images.host import MACHINE
from rum.host import CATALOGUE

_PATIENCE_S = 10


def is_reachable(name: str) -> bool:
    """Whether the publisher of a catalogue's image answers here."""
    question = urllib.request.Request(CATALOGUE[name][MACHINE].url, method="HEAD")
    try:
        with urllib.request.urlopen(question, timeout=_PATIENCE_S):
            return True
    except (urllib.error.URLError, OSError):
        return False


def make(name: str, built: Path) -> Path:
    """A directory for RUM_IMAGE_MIRROR that has the built image under the official one's file name. Raises OSError."""
    entry = CATALOGUE[name][MACHINE]
    directory = built.with_suffix(".mirror")
    directory.mkdir(exist_ok=True)
    link = directory / entry.file
    if not link.exists():
        os.link(built, link)
    with built.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").hexdigest()
    (directory / "SHA512SUMS").write_text(f"{digest}  {entry.file}\n")
    return directory
