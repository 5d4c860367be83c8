"""What rum remembers about a VM (state.json), its key, and the lock that keeps two commands off it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from rum.host.errors import HostError
from rum.host.events import Emit, Notice
from rum.host.files import disk_errors, make_private_dir, write_atomic
from rum.host.guest.settings import GuestSettings, MountSetting
from rum.host.paths import VmPaths
from rum.protocol import parse_key

LOCK_TIMEOUT_S = 600.0
"""A command holds the lock for as long as a big image takes to download; after that something is stuck."""


@dataclass(frozen=True)
class BaseImage:
    """The file under an overlay as it was when the overlay was made: it must never change again.

    `reference` is `image.base` of rum.toml; sizes in bytes, `mtime_ns` in nanoseconds since the epoch.
    """

    reference: str
    path: str
    format: str
    file_size: int
    mtime_ns: int
    virtual_size: int


@dataclass(frozen=True)
class LastStart:
    """How the domain was last started; `console_offset` is the size of the console's log before that.

    What is None was not noted by the rum that started it. Memory in MiB, the disk in bytes, the timeout in seconds.
    """

    accelerator: str
    transport: str
    cid: int
    console_offset: int
    cpus: int | None = None
    memory_mb: int | None = None
    machine: str | None = None
    firmware: str | None = None
    disk: int | None = None
    network_mode: str | None = None
    mounts: tuple[MountSetting, ...] = ()
    boot_timeout_s: int = 300


@dataclass(frozen=True)
class VmState:
    """One VM. It exists once this file does; `started` is None until its domain was first started.

    `settled`: what the guest's first boot has written is on its disk. The agent sees to that before it answers, an
    orderly shutdown does, too. `settings`: what the guest was last told of rum.toml, None where an older rum has not
    noted it. `detached`: drives that have a file, but that neither rum.toml nor the guest names.
    """

    vm_id: str
    name: str
    id8: str
    config_path: str
    image: BaseImage
    seed_hash: str
    libvirt_uri: str
    started: LastStart | None = None
    settled: bool = True
    settings: GuestSettings | None = None
    detached: tuple[str, ...] = ()


# Made here because `rum list` reads states in threads: of two that need a type for the first time one may find it half
# made, and msgspec 0.22 dies of that.
_DECODER = msgspec.json.Decoder(VmState)


def load_state(path: Path) -> VmState | None:
    """The VM's state, None where there is no VM. Raises HostError for a file that rum has not written."""
    try:
        return _DECODER.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:
        raise HostError(
            f"{path} cannot be read as the state of a VM: {exc}",
            hint=f"if the VM is not needed any more, remove its directory: rm -r {path.parent}",
        ) from exc


def save_state(path: Path, state: VmState) -> None:
    """Write the VM's state, durably. Raises OSError."""
    write_atomic(path, msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n")


def read_key(paths: VmPaths) -> bytes:
    """The channel's key. Raises HostError."""
    try:
        return parse_key(paths.key.read_text(encoding="ascii"))
    except (OSError, ValueError) as exc:
        text = f"the VM's key {paths.key} cannot be read: {exc}"
        raise HostError(text, hint="restore it, or start over with 'rum destroy' and 'rum up'") from exc


class VmLock:
    """At most one process works on a VM. The holder may take it again; it is free once every `hold` has ended."""

    def __init__(self, path: Path, timeout_s: float = LOCK_TIMEOUT_S) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._depth = 0

    @contextlib.contextmanager
    def hold(self, emit: Emit) -> Iterator[None]:
        """Hold the lock for the block; says who has it while it waits. Raises HostError when that takes too long."""
        if self._depth:
            with self._counted():
                yield
            return
        make_private_dir(self._path.parent)
        with disk_errors("the VM's lock"):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._wait(descriptor, emit)
            # Only for those who wait: on a full disk a VM must still be destroyed.
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            with self._counted():
                yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def _wait(self, descriptor: int, emit: Emit) -> None:
        deadline = time.monotonic() + self._timeout_s
        holder = ""
        while not _try_lock(descriptor):
            found = os.pread(descriptor, 32, 0).decode("ascii", "replace") or "unknown"
            if time.monotonic() >= deadline:
                raise HostError(
                    f"the rum process {found} still works on this VM after {self._timeout_s:.0f} s",
                    hint=f"look at what it does, or end it: kill {found}",
                    code="locked",
                )
            if found != holder:
                holder = found
                emit(Notice(f"waiting for the rum process {holder}, which works on this VM"))
            time.sleep(0.1)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(path: Path) -> bool:
    """Whether some process holds the lock of a VM. Raises HostError."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise HostError(f"{path} cannot be read: {exc.strerror}") from exc
    try:
        return not _try_lock(descriptor)
    finally:
        os.close(descriptor)
