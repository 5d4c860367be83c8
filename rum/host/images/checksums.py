"""Checksums of images, and the lists that publishers put beside them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rum.host.errors import HostError

ALGORITHMS = {64: "sha256", 128: "sha512"}

GNU_LINE = re.compile(r"(?P<digest>[0-9a-fA-F]+) [ *](?:\./)?(?P<file>.+)")
"""Of sha256sum(1) and its kin: the algorithm shows in the digest's length."""
BSD_LINE = re.compile(r"SHA(?:256|512) \((?:\./)?(?P<file>.+)\) = (?P<digest>[0-9a-fA-F]+)")
"""Of cksum(1) with --tag, which Fedora and its kin use, some of them inside a PGP-signed text."""


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
    """What a checksum list at `where` says of a file; lines that are no checksums are passed over. Raises HostError."""
    found = list(listed_checksums(text))
    for name, checksum in found:
        if name == file:
            return checksum
    # openSUSE's own list of one file names the build that the file is a link to.
    if len(found) == 1 and where.rpartition("/")[2].startswith(f"{file}."):
        return found[0][1]
    raise HostError(f"{where} has no checksum of {file}")


def listed_checksums(text: str) -> Iterator[tuple[str, Checksum]]:
    """Names and checksums of a list, in its order."""
    for line in text.splitlines():
        found = BSD_LINE.fullmatch(line.strip()) or GNU_LINE.fullmatch(line.strip())
        if found and len(found["digest"]) in ALGORITHMS:
            yield found["file"], Checksum(ALGORITHMS[len(found["digest"])], found["digest"].lower())
