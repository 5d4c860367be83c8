"""Where everything of rum lies on the host."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from rum.host.config.identity import VmIdentity
from rum.host.errors import HostError
from rum.host.files import make_private_dir

SUN_PATH_MAX = 107
"""Bytes in the address of a Unix socket, without its closing NUL (unix(7))."""


def state_home() -> Path:
    """`$XDG_STATE_HOME/rum`: what VMs need to go on. Raises HostError."""
    return _of_user(platformdirs.user_state_path, "XDG_STATE_HOME")


def image_cache() -> Path:
    """`$XDG_CACHE_HOME/rum/images`: base images that can be downloaded again. Raises HostError."""
    return _of_user(platformdirs.user_cache_path, "XDG_CACHE_HOME") / "images"


def _of_user(path_of: Callable[[str], Path], variable: str) -> Path:
    try:
        return path_of("rum")
    except RuntimeError as exc:
        user = os.getuid()
        text = f"this user has no home directory: HOME is not set, and there is no account with the id {user}"
        raise HostError(text, hint=f"set HOME or {variable}") from exc


def session_runtime_dir() -> Path | None:
    """The login session's runtime directory, also for a process that was started without its variable (cron, su)."""
    named = _absolute("XDG_RUNTIME_DIR")
    if named:
        return named
    default = Path(f"/run/user/{os.getuid()}")
    return default if os.access(default, os.W_OK) else None


def runtime_home() -> Path:
    """`$XDG_RUNTIME_DIR/rum`, or a directory of this user below `$TMPDIR` or `/tmp`: sockets.

    Not below what `tempfile` finds: that is another directory once the disk is full, and a running VM would be lost.
    """
    session = session_runtime_dir()
    return session / "rum" if session else (_absolute("TMPDIR") or Path("/tmp")) / f"rum-{os.getuid()}"


def _absolute(variable: str) -> Path | None:
    """A directory that the environment names; a relative path counts as none (XDG Base Directory Specification)."""
    named = os.environ.get(variable, "")
    return Path(named) if os.path.isabs(named) else None


@dataclass(frozen=True)
class VmPaths:
    """The files of one VM. `name` is its name with the id: `<name>-<id8>`."""

    name: str
    state: Path
    runtime: Path
    lock: Path

    @classmethod
    def of(cls, vm: VmIdentity) -> VmPaths:
        """The paths of a VM."""
        home, name = state_home(), vm.full_name
        return cls(name, home / "vms" / name, runtime_home() / vm.id8, home / "locks" / name)

    @property
    def state_file(self) -> Path:
        """What rum remembers about the VM (rum.host.store)."""
        return self.state / "state.json"

    @property
    def overlay(self) -> Path:
        """The root disk: what the guest changed on top of the base image."""
        return self.state / "overlay.qcow2"

    @property
    def overlay_set_aside(self) -> Path:
        """The root disk of a first boot that was begun anew."""
        return self.state / "overlay-set-aside.qcow2"

    @property
    def key(self) -> Path:
        """The channel's key, 64 hexadecimal digits."""
        return self.state / "key"

    @property
    def ssh_key(self) -> Path:
        """The private SSH key of this VM; the public half is beside it."""
        return self.state / "ssh_ed25519"

    @property
    def ssh_public_key(self) -> Path:
        """The public half of the SSH key."""
        return self.state / "ssh_ed25519.pub"

    @property
    def console_log(self) -> Path:
        """The serial console, of all boots."""
        return self.state / "console.log"

    @property
    def vhost_log(self) -> Path:
        """What vhost-device-vsock printed since it was last started."""
        return self.state / "vhost-device-vsock.log"

    @property
    def ports_file(self) -> Path:
        """What is forwarded now; there is none once nothing is (rum.host.ports.forwards)."""
        return self.state / "ports.json"

    @property
    def forwards_log(self) -> Path:
        """What the process that forwards the ports has said since it was last started."""
        return self.state / "forwards.log"

    @property
    def known_hosts(self) -> Path:
        """The guest's SSH host keys, as ssh wants them (sshd(8))."""
        return self.state / "known_hosts"

    @property
    def runs(self) -> Path:
        """Copies of the runs' records; they outlive the VM."""
        return self.state / "runs"

    @property
    def last_console(self) -> Path:
        """The end of the console's log of the VM that was destroyed last."""
        return self.runs / "console.log"

    @property
    def console_socket(self) -> Path:
        """The serial console, to read and write."""
        return self.runtime / "console.sock"

    @property
    def console_lock(self) -> Path:
        """Held by the `rum console` that is attached."""
        return self.runtime / "console.lock"

    @property
    def vhost_socket(self) -> Path:
        """Between QEMU and vhost-device-vsock."""
        return self.runtime / "vh.sock"

    @property
    def vsock_socket(self) -> Path:
        """Where the host reaches the guest's vsock ports through vhost-device-vsock."""
        return self.runtime / "vm.vsock"

    def mount_socket(self, index: int) -> Path:
        """Between QEMU and the virtiofsd of the mount with this number."""
        return self.runtime / f"fs{index}.sock"

    def mount_link(self, index: int) -> Path:
        """A symbolic link to the mount's source: its virtiofsd is known by it, and its name needs no quoting."""
        return self.runtime / f"fs{index}.dir"

    def mount_log(self, index: int) -> Path:
        """What the mount's virtiofsd printed since it was last started."""
        return self.state / f"virtiofsd-{index}.log"

    def seed(self, seed_hash: str) -> Path:
        """The seed ISO with these contents."""
        return self.state / f"seed-{seed_hash}.iso"

    def drive(self, name: str) -> Path:
        """The disk of `[drives.<name>]`."""
        return self.state / f"drive-{name}.qcow2"

    def drive_names(self) -> list[str]:
        """The names of the drives that have a disk, in or out of rum.toml."""
        return sorted(path.name[len("drive-") : -len(".qcow2")] for path in self.state.glob("drive-*.qcow2"))

    def require_short_sockets(self) -> None:
        """Raise HostError for a runtime path that is too long for a socket."""
        for socket in (self.console_socket, self.vhost_socket, self.vsock_socket, self.mount_socket(99)):
            if len(os.fsencode(socket)) > SUN_PATH_MAX:
                raise HostError(
                    f"the socket path {socket} is longer than the {SUN_PATH_MAX} bytes that Linux allows",
                    hint="set XDG_RUNTIME_DIR to a directory with a shorter path",
                )

    def make_dirs(self) -> None:
        """Make the state and runtime directories. Raises HostError, also for a runtime path too long for a socket."""
        self.require_short_sockets()
        for directory in (state_home(), self.state.parent, self.state, self.runtime.parent, self.runtime):
            make_private_dir(directory)
