"""Checksums of images, and the lists that publishers put beside them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from rum.host.errors import HostError

ALGORITHMS = {64: "sha256", 128: "sha512"}


@dataclass(frozen=True)
class Checksum:
    """`algorithm` is hashlib's name, `digest` lower-case hexadecimal."""

    algorithm: str
    digest: str


def file_digest(path: Path, algorithm: str) -> str:
    """The file's checksum. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def find_checksum(text: str, file: str, where: str) -> Checksum:
    """What a list in the form of sha256sum(1) says of a file. Raises HostError."""
    for line in text.splitlines():
        found = re.fullmatch(r"([0-9a-fA-F]+) [ *](?:\./)?(.+)", line.strip())
        if found and found[2] == file and len(found[1]) in ALGORITHMS:
            return Checksum(ALGORITHMS[len(found[1])], found[1].lower())
    raise HostError(f"{where} has no checksum of {file}")
