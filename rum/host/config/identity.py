"""Which VM a rum.toml stands for: known from its path alone, whatever is in it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rum.host.errors import ConfigError
from rum.host.files import why_unspellable

FILE_NAME = "rum.toml"


@dataclass(frozen=True)
class VmIdentity:
    """`path` of the rum.toml is absolute; `id8` is the first 8 digits of its SHA-256, so a VM belongs to a file."""

    path: Path
    name: str
    id8: str

    @classmethod
    def of(cls, path: Path) -> VmIdentity:
        """The VM of the rum.toml at a path, which need not be there any more. Raises ConfigError."""
        with here():
            # Not Path.resolve(), which raises where a symbolic link leads back to itself.
            path = Path(os.path.realpath(path))
        require_text(path)
        id8 = hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()[:8]
        return cls(path, vm_name(path), id8)

    @property
    def full_name(self) -> str:
        """The name that no other VM has."""
        return f"{self.name}-{self.id8}"

    @property
    def domain_name(self) -> str:
        """The libvirt domain's name."""
        return f"rum-{self.full_name}"


def unreadable(path: Path, error: OSError) -> ConfigError:
    """What is said of a file that is not there or cannot be looked at."""
    if isinstance(error, FileNotFoundError):
        return ConfigError(f"there is no file {path}", hint="check the path after --config")
    return ConfigError(f"{path} cannot be read: {error.strerror}")


def vm_name(path: Path) -> str:
    """The VM's name: from `dev.rum.toml` or `dev.toml` dev, from `rum.toml` the directory's name."""
    stem = path.name.removesuffix(".toml").removesuffix(".rum")
    if stem in ("", "rum"):
        stem = path.parent.name
    sanitised = re.sub(r"[^a-z0-9]+", "-", stem.lower(), flags=re.ASCII).strip("-")
    return sanitised[:32].strip("-") or "vm"


@contextlib.contextmanager
def here() -> Iterator[None]:
    """For what makes a path absolute. Raises ConfigError where the current directory was removed."""
    try:
        yield
    except FileNotFoundError:
        raise ConfigError("the current directory does not exist any more", hint="go to another one") from None


def require_text(path: Path) -> None:
    """Raise ConfigError for a path with which libvirt's XML or JSON could not name the VM's files."""
    if why := why_unspellable(path):
        raise ConfigError(f"the path {str(path)!r} {why}", hint="rename the directory or the file, or take another one")


def find_config(start: Path = Path()) -> Path:
    """The rum.toml in `start`, by default here, or the nearest directory above it. Raises ConfigError."""
    with here():
        start = start.absolute()
    for directory in (start, *start.parents):
        if os.path.isfile(directory / FILE_NAME):
            return directory / FILE_NAME
    raise ConfigError(
        f"there is no {FILE_NAME} in {start} or in a directory above it",
        hint="`rum init` writes one; or name one with --config",
    )
