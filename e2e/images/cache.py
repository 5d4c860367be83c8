"""Where built images are kept: found by the hash of everything that went into them, published whole or not at all."""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from e2e.images.errors import ImageError
from e2e.images.recipes import Recipe

_KEY_LENGTH = 16


def directory() -> Path:
    """The cache directory, which may not exist yet."""
    override = os.environ.get("RUM_E2E_IMAGES")
    if override:
        return Path(override).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "rum" / "e2e-images"


def key(recipe: Recipe, sources: Iterable[Path], architecture: str) -> str:
    """Hex digits that change when anything does that the image is made of.

    sources: the files of the code that builds it.
    """
    digest = hashlib.sha256(json.dumps([asdict(recipe), architecture], sort_keys=True).encode())
    for path in sources:
        content = path.read_bytes()
        digest.update(f"\0{path.name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:_KEY_LENGTH]


@contextmanager
def locked(lock: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file; on_wait is called if somebody else does. The kernel lets go of it when its holder dies.

    ImageError: it cannot be created.
    """
    descriptor = _open_lock(lock)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _open_lock(lock: Path) -> int:
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        return os.open(lock, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ImageError(
            f"Cannot write to the image cache {lock.parent} ({error.strerror});"
            " set RUM_E2E_IMAGES to a directory you own."
        ) from error


def publish(finished: Path, final: Path) -> None:
    """Give the finished file its final name; after a power loss it has all of its content or does not exist."""
    _sync(finished)
    finished.replace(final)
    _sync(final.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
