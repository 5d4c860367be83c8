"""Files that are whole or absent, whenever the machine dies; directories that nobody else can enter."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from rum.host.errors import HostError

CONTROL = re.compile(r"[\x00-\x1f\x7f\ufffe\uffff]")


def write_atomic(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace `path` by a file with these bytes and this mode, durably. After an OSError `path` is as it was."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode), "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as exc:
        # What fails while it is written, for want of room for instance, does not say where.
        exc.filename = exc.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
    sync_dir(path.parent)


def publish(temporary: Path, path: Path) -> None:
    """Give a file that another program has written its final name, durably. Raises OSError."""
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_dir(path.parent)


def sync_dir(directory: Path) -> None:
    """Make renames and removals in `directory` durable. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private_dir(path: Path) -> None:
    """Make `path` a directory of this user that nobody else can enter.

    Raises HostError where it belongs to somebody else or is no directory: in a shared place such as /tmp another user
    could have made it first.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
            path.chmod(0o700)
            return
    except OSError as exc:
        raise HostError(f"{path} cannot be made a directory: {exc.strerror}") from exc
    raise HostError(
        f"{path} is not a directory of this user", hint=f"look at what it is, then remove it: ls -ld {path}"
    )


def named_path(given: str, directory: Path) -> Path:
    """The absolute path that somebody has written, relative to `directory`, `~` and `~user` being homes.

    Raises ValueError with the end of a sentence where it cannot be one.
    """
    try:
        return (directory / Path(given).expanduser()).resolve()
    except RuntimeError:
        raise ValueError("there is no such home directory, or the path goes round in circles") from None
    except OSError as exc:
        raise ValueError(f"cannot be looked at: {exc.strerror}") from None


def why_unspellable(path: Path) -> str | None:
    """Why libvirt's XML (section 2.2) or JSON cannot name a path, as the end of a sentence; None where both can."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return "is not UTF-8"
    return "has a control character in it" if CONTROL.search(str(path)) else None


def named_for_libvirt(given: str, directory: Path) -> Path:
    """`named_path`, and ValueError for what libvirt could not name as well."""
    path = named_path(given, directory)
    if why := why_unspellable(path):
        raise ValueError(f"leads to a path that {why}")
    return path


def entries_of(directory: Path) -> list[Path]:
    """What a directory holds, by name; nothing where it is none. Raises HostError where that cannot be told."""
    try:
        return sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as exc:
        raise HostError(f"{directory} cannot be read: {exc.strerror}", hint=f"look at it: ls -ld {directory}") from exc


@contextlib.contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn the OSErrors of the block, a full disk above all, into one sentence."""
    try:
        yield
    except OSError as exc:
        where = f" ({exc.filename})" if exc.filename else ""
        hint = room_hint(exc.errno, exc.filename)
        raise HostError(f"{what} cannot be written{where}: {exc.strerror}", hint=hint) from exc


def room_hint(number: int | None, place: str | Path | None) -> str | None:
    """What to do about the error of a disk that is full, or whose quota is used up; None about any other."""
    if number not in (errno.ENOSPC, errno.EDQUOT):
        return None
    return f"make room on the disk of {place}, and run the command again" if place else "make room on this host's disk"
