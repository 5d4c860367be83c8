"""virtiofsd, one process per mount: which there is, how it is started, and that it has died.

Whoever writes in the guest, root or the account, what is written belongs to the user who runs rum; and what belongs to
that user on the host, belongs to the account in the guest. virtiofsd 1.13 and newer translates ids by itself. For older
ones, and for QEMU's own of Debian 12, which also wants to be root, it is a user namespace and rum.host.vm.squash_ids.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rum.host import remedies
from rum.host.config.model import Mount
from rum.host.errors import HostError
from rum.host.guest.settings import MountSetting
from rum.host.paths import VmPaths
from rum.host.vm.daemons import Daemon

PROGRAM = "virtiofsd"
PLACES = ("/usr/libexec/virtiofsd", "/usr/lib/virtiofsd", "/usr/lib/qemu/virtiofsd")
"""Where distributions put what is no command for people; the last one is QEMU's."""

GUEST_ID = 1000
"""Of the first account that cloud-init makes, and of its group."""

SQUASH_IDS = Path(__file__).with_name("squash_ids.py")
ALL_IDS = 2**32 - 1
HELP_TIMEOUT_S = 10.0
READY = "Waiting for vhost-user socket connection"


@dataclass(frozen=True)
class Virtiofsd:
    """A virtiofsd. `rewritten`: the one in Rust, not QEMU's. `translates`: it maps ids by itself."""

    path: Path
    rewritten: bool
    translates: bool
    has_readonly: bool

    def command(self, directory: Path, *, readonly: bool) -> list[str]:
        """The command line that serves this directory on descriptor 3. Raises HostError."""
        # Behind the slash: QEMU's takes no symbolic link for a directory.
        source = f"{directory}/."
        if not self.rewritten:
            return [*namespace(source if readonly else None), str(self.path), "--fd=3", "-f", "-o", f"source={source}"]
        served = [str(self.path), "--fd=3", f"--shared-dir={source}", "--sandbox=namespace"]
        if not self.translates or (readonly and not self.has_readonly):
            return [*namespace(source if readonly else None), *served]
        uids, gids = translated("uid", os.getuid()), translated("gid", os.getgid())
        return [*served, *uids, *gids, *(["--readonly"] if readonly else [])]


def translated(kind: str, own: int) -> list[str]:
    """Options for which this user's id is the account's in the guest, and every id of the guest is this user's."""
    return [f"--translate-{kind}=host:{own}:{GUEST_ID}:1", f"--translate-{kind}=squash-guest:0:{own}:{ALL_IDS}"]


def namespace(readonly: str | None) -> list[str]:
    """What makes the command behind it run in a user namespace of this user alone, who is the guest's account there."""
    unshare = shutil.which("unshare")
    if unshare is None:
        raise HostError(
            "there is no unshare in PATH, so virtiofsd cannot be started",
            hint=remedies.install("unshare"),
            code="missing-program",
        )
    alone = ["--user", f"--map-user={GUEST_ID}", f"--map-group={GUEST_ID}", "--keep-caps"]
    mount = ["--mount"] if readonly else []
    squash = [sys.executable, "-I", "-S", str(SQUASH_IDS)]
    return [unshare, *alone, *mount, "--", *squash, *(["--readonly", readonly] if readonly else []), "--"]


def require_virtiofsd(mounts: Sequence[Mount]) -> Virtiofsd | None:
    """The virtiofsd for these mounts, None where there are none. Raises HostError, also where a source is gone."""
    if not mounts:
        return None
    for mount in mounts:
        if not mount.source.is_dir():
            text = f"there is no directory {mount.source} to mount at {mount.target}"
            raise HostError(text, hint="make it, or change [[mounts]] in rum.toml")
    return find_virtiofsd()


def find_virtiofsd() -> Virtiofsd:
    """This host's virtiofsd. Raises HostError where there is none."""
    for place in (shutil.which(PROGRAM), *PLACES):
        if place and os.access(place, os.X_OK) and Path(place).is_file():
            text = help_of(place)
            return Virtiofsd(Path(place), "--shared-dir" in text, "--translate-uid" in text, "--readonly" in text)
    raise HostError(
        "there is no virtiofsd on this host, which [[mounts]] need",
        hint=remedies.install("virtiofsd"),
        code="missing-program",
    )


def help_of(program: str) -> str:
    """What the program prints for --help. Raises HostError."""
    try:
        done = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=HELP_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise HostError(f"{program} does not say what it can: {exc}", hint=remedies.install("virtiofsd")) from exc
    return done.stdout + done.stderr


def start_daemons(program: Virtiofsd, mounts: Sequence[MountSetting], paths: VmPaths) -> None:
    """Start a virtiofsd for each mount, by its number. Raises HostError."""
    stop_daemons(paths)
    for index, mount in enumerate(mounts):
        paths.mount_link(index).symlink_to(mount.source)
        command = program.command(paths.mount_link(index), readonly=mount.readonly)
        log = paths.mount_log(index)
        log.write_bytes(b"")
        with listening(paths.mount_socket(index)) as listener:
            _daemon(paths, index).start(command, log, functools.partial(is_ready, log), listener)


@contextlib.contextmanager
def listening(path: Path) -> Iterator[int]:
    """The descriptor of a Unix socket that takes a connection from now on."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        yield listener.fileno()


def is_ready(log: Path) -> bool:
    """Whether the daemon has said that QEMU may connect."""
    return READY in log.read_text(encoding="utf-8", errors="replace")


def dead(paths: VmPaths, count: int) -> list[int]:
    """The numbers of the mounts, of so many, whose virtiofsd does not run."""
    return [index for index in range(count) if not _daemon(paths, index).find()]


def stop_daemons(paths: VmPaths) -> None:
    """End every virtiofsd of the VM and remove its socket; there may be none."""
    Daemon(PROGRAM, f"={paths.runtime}/fs").stop()
    for path in paths.runtime.glob("fs*"):
        path.unlink(missing_ok=True)


def _daemon(paths: VmPaths, index: int) -> Daemon:
    return Daemon(PROGRAM, f"={paths.mount_link(index)}/", remedies.allow_user_namespaces())
