"""A VM as its files on this host tell it, without its rum.toml: how it is reached, looked at and ended.

What a command may not need is imported where it is used: `rum exec` reaches an agent that answers without libvirt.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

from rum.host import remedies
from rum.host.channel.endpoint import Endpoint, Transport, UnixEndpoint, VsockEndpoint
from rum.host.config.identity import VmIdentity, unreadable
from rum.host.console import diagnose, read_console
from rum.host.errors import HostError
from rum.host.events import Emit
from rum.host.files import disk_errors
from rum.host.paths import VmPaths
from rum.host.store import LastStart, VmLock, VmState, load_state, read_key, save_state
from rum.host.vm.accelerator import TIMEOUT_FACTOR, Accelerator, choose_accelerator

if TYPE_CHECKING:
    from rum.host.vm.libvirt_driver import LibvirtDriver

DEFAULT_USER = "rum"
"""The account of a VM that was made by a rum that did not note it."""


class KnownVm:
    """One VM. Its methods raise HostError where this host cannot do it."""

    def __init__(self, identity: VmIdentity, emit: Emit) -> None:
        self._identity = identity
        self._emit = emit
        self._paths = VmPaths.of(identity)
        self._lock = VmLock(self._paths.lock)
        self._connected: LibvirtDriver | None = None

    @property
    def identity(self) -> VmIdentity:
        """Which VM it is."""
        return self._identity

    @property
    def name(self) -> str:
        """What its user calls it."""
        return self._identity.name

    @property
    def paths(self) -> VmPaths:
        """The VM's files on the host."""
        return self._paths

    @property
    def emit(self) -> Emit:
        """Takes what is to be told while something goes on."""
        return self._emit

    @property
    def boot_timeout_s(self) -> int:
        """Seconds that a boot may take under KVM, as rum.toml had it at the last start."""
        started = self.last_start()
        return (started or LastStart).boot_timeout_s

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Keep every other rum off this VM; may be nested. Raises HostError when another one holds it for too long."""
        return self._lock.hold(self._emit)

    def exists(self) -> bool:
        """Whether the VM has been created."""
        return self.load_state() is not None

    def state(self) -> str:
        """The VM's state: "absent", "stopped", "running", "paused" or "crashed"."""
        if not self.exists():
            return "absent"
        found = self.driver().state(self._identity.domain_name)
        return "stopped" if found == "absent" else found

    def is_running(self) -> bool:
        """Whether the VM's processor runs."""
        return self.state() == "running"

    def is_out_of_space(self) -> bool:
        """Whether the VM is paused because the host's disk is full."""
        return self.driver().is_out_of_space(self._identity.domain_name)

    def last_start(self) -> LastStart | None:
        """How the VM was last started, None where it never was."""
        state = self.load_state()
        return state.started if state else None

    def vm_id(self) -> str:
        """The VM's UUID."""
        return self.require_state().vm_id

    def user(self) -> str:
        """The account that cloud-init has made in the guest."""
        settings = self.require_state().settings
        return settings.user if settings else DEFAULT_USER

    def key(self) -> bytes:
        """The channel's key, 32 bytes."""
        return read_key(self._paths)

    def endpoint(self) -> Endpoint:
        """Where the agent can be reached."""
        started = self.require_started()
        if started.transport == Transport.VHOST_VSOCK:
            return VsockEndpoint(started.cid)
        return UnixEndpoint(self._paths.vsock_socket)

    def transport_alive(self) -> bool:
        """Whether the host's half of the channel works."""
        from rum.host.vm.helpers import transport_works

        return transport_works(self._paths, self.require_started())

    def timeout_factor(self) -> int:
        """What every guest-side timeout is multiplied by: 1 under KVM, 5 under TCG."""
        started = self.last_start()
        return TIMEOUT_FACTOR[Accelerator(started.accelerator) if started else self._likely_accelerator()]

    def _likely_accelerator(self) -> Accelerator:
        return choose_accelerator("auto").accelerator

    def console_tail(self, lines: int) -> list[str]:
        """The last lines of the console since the last start, control characters removed."""
        started = self.last_start()
        return read_console(self._paths.console_log, started.console_offset if started else 0)[-lines:]

    def diagnose_boot(self) -> str:
        """A sentence on why a VM that was started has not become ready."""
        started = self.last_start()
        return diagnose(read_console(self._paths.console_log, started.console_offset if started else 0))

    def describe_drives(self) -> list[str]:
        """Every drive with its size, also those that are detached."""
        from rum.host.vm.drive_files import describe_drives

        return describe_drives(self._paths, self.load_state())

    def down(self) -> str:
        """Shut the VM down: "stopped", "forced" where it did not within 30 s, or "not-running"."""
        from rum.host.vm.ending import shut_down

        return shut_down(self)

    def destroy(self) -> bool:
        """Remove the VM, its disks and its keys; the copies of its runs stay. Returns whether there was one."""
        from rum.host.vm.ending import remove

        return remove(self)

    def load_state(self) -> VmState | None:
        """What is remembered of the VM, None where it does not exist."""
        return load_state(self._paths.state_file)

    def save_state(self, state: VmState) -> None:
        """Remember this of the VM, whose lock must be held."""
        with disk_errors("the VM's state"):
            save_state(self._paths.state_file, state)

    def note_answer(self) -> None:
        """Remember that the agent has answered, unless another rum works on the VM: the next answer is as good."""
        with contextlib.suppress(HostError):
            if not self.require_state().settled:
                with VmLock(self._paths.lock, timeout_s=0).hold(self._emit):
                    self.note_settled()

    def note_settled(self) -> None:
        """Remember that what the guest's first boot has written is on its disk. The lock must be held."""
        state = self.load_state()
        if state and not state.settled:
            self.save_state(dataclasses.replace(state, settled=True))

    def driver(self) -> LibvirtDriver:
        """The libvirt that has the VM's domain."""
        try:
            from rum.host.vm.libvirt_driver import LibvirtDriver, default_uri
        except ImportError as exc:
            hint = remedies.install_libvirt_module(str(exc))
            raise HostError(f"libvirt's library for Python cannot be loaded: {exc}", hint=hint) from exc
        if self._connected is None or not self._connected.is_alive():
            state = self.load_state()
            # The VM's own first: a variable that is set today must not hide the domain of yesterday.
            uri = (state.libvirt_uri if state else None) or self._wanted_uri() or default_uri()
            self._connected = LibvirtDriver(uri)
        return self._connected

    def _wanted_uri(self) -> str | None:
        return None

    def require_state(self) -> VmState:
        """What is remembered of the VM. Raises HostError where it does not exist."""
        state = self.load_state()
        if state is None:
            raise HostError(f"there is no VM {self.name} of {self._identity.path}", hint="run 'rum up'", code="no-vm")
        return state

    def require_started(self) -> LastStart:
        """How the VM was last started. Raises HostError where it never was."""
        started = self.require_state().started
        if started is None:
            raise HostError(f"the VM {self.name} has never been started", hint="run 'rum up'", code="no-vm")
        return started


def find_vm(config: Path, emit: Emit) -> KnownVm:
    """The VM of the rum.toml at that path, which may be gone by now. Raises ConfigError where there is neither."""
    vm = KnownVm(VmIdentity.of(config), emit)
    try:
        os.stat(vm.identity.path)
    except OSError as exc:
        if not vm.exists():
            raise unreadable(vm.identity.path, exc) from exc
    return vm
