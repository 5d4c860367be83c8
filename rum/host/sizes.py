"""Disk sizes as rum.toml writes them: a whole number and a binary unit."""

from __future__ import annotations

import re

UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
SIZE_MAX = 64 << 40
"""More than any host's file system takes; a typo of three zeros is found before qemu-img finds it."""

ALLOWED = 'a size such as "512M", "20G" or "1T", at most "64T"'


def parse_size(text: str) -> int | None:
    """The bytes a size stands for, None for anything else."""
    found = re.fullmatch(r"([1-9][0-9]{0,12})([KMGT])", text, re.ASCII)
    if found is None:
        return None
    size = int(found[1]) * UNITS[found[2]]
    return size if size <= SIZE_MAX else None


def show_size(size: int) -> str:
    """Bytes for people: "512 MiB", "1.5 GiB"."""
    for unit in ("T", "G", "M", "K"):
        if size >= UNITS[unit]:
            value = size / UNITS[unit]
            return f"{value:.0f} {unit}iB" if value >= 1000 else f"{value:.3g} {unit}iB"
    return f"{size} byte{'' if size == 1 else 's'}"


def exact_size(size: int) -> str:
    """Bytes for people who are to write them down: "20500 MiB"."""
    unit = next((unit for unit in ("T", "G", "M", "K") if size % UNITS[unit] == 0), None)
    return f"{size // UNITS[unit]} {unit}iB" if unit else f"{size} bytes"
