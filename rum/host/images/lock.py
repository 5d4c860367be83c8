"""One process at a time works on a file of the image cache."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from rum.host.errors import HostError
from rum.host.events import Emit, Notice

HANG_S = 300.0
"""A holder whose download has not grown for so long hangs: it gives up on a silent server much earlier."""
POLL_S = 0.1


@contextlib.contextmanager
def image_lock(path: Path, what: str, emit: Emit) -> Iterator[None]:
    """Hold the lock of a cached file, `what` is it of. Raises HostError where another process has it and hangs."""
    descriptor = _open(path)
    try:
        _wait(descriptor, path, what, emit)
        while not _is_current(descriptor, path):
            os.close(descriptor)
            descriptor = _open(path)
            _wait(descriptor, path, what, emit)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def image_lock_if_free(path: Path) -> Iterator[int | None]:
    """Hold the lock of a cached file; yields the process that has it, in which case it is not held, or None."""
    descriptor = _open(path)
    try:
        yield None if _try(descriptor) and _is_current(descriptor, path) else _holder(descriptor)
    finally:
        os.close(descriptor)


def drop_lock(path: Path) -> None:
    """Remove the lock's file; the caller holds it. Whoever waits for it takes a new one. Raises OSError."""
    _lock_path(path).unlink(missing_ok=True)


def _lock_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _open(path: Path) -> int:
    return os.open(_lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_current(descriptor: int, path: Path) -> bool:
    """Whether the lock is on the file that the others see."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(_lock_path(path)))
    except FileNotFoundError:
        return False


def _wait(descriptor: int, path: Path, what: str, emit: Emit) -> None:
    part = path.with_name(f"{path.name}.part")
    seen, since, told = -1, time.monotonic(), False
    while not _try(descriptor):
        size = part.stat().st_size if part.exists() else 0
        if size != seen:
            seen, since = size, time.monotonic()
        if time.monotonic() - since >= HANG_S:
            pid = _holder(descriptor)
            text = f"the rum process {pid} downloads {what}, and nothing has arrived for {HANG_S:.0f} s"
            raise HostError(text, hint=f"look at what it does, or end it: kill {pid}")
        if not told:
            told = True
            emit(Notice(f"waiting for the rum process {_holder(descriptor)}, which downloads {what}"))
        time.sleep(POLL_S)


def _holder(descriptor: int) -> int:
    """The process that has the lock, 0 where it has not yet said so."""
    written = os.pread(descriptor, 20, 0)
    return int(written) if written.isdigit() else 0


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
