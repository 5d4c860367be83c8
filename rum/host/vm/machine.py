"""The life of one VM: created, started, shut down, destroyed.

Every step can be killed at any point: files are whole or absent, the state file says that the VM exists, and the next
`start` goes on from there. Methods that change the VM take its lock; the caller may hold it for longer.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from rum.host.channel.transport import Endpoint, Transport, UnixEndpoint, VsockEndpoint
from rum.host.config.model import Config
from rum.host.console import diagnose, read_console
from rum.host.errors import HostError
from rum.host.events import Emit, Notice, Phase
from rum.host.guest.changes import applied_later, applied_now, kept_until_destroy
from rum.host.guest.settings import GuestSettings, seeded_settings
from rum.host.paths import VmPaths
from rum.host.ports import forwards
from rum.host.progress import phase
from rum.host.store import LastStart, VmLock, VmState, load_state, save_state
from rum.host.vm import drive_files, vm_files
from rum.host.vm.accelerator import TIMEOUT_FACTOR, Accelerator, choose_accelerator
from rum.host.vm.domain_start import DomainStart, dead_daemon, stop_daemons, transport_works
from rum.host.vm.host_checks import check_host
from rum.host.vm.libvirt_driver import ForeignDomainError, LibvirtDriver, default_uri
from rum.protocol import ProvisionScript

SHUTDOWN_TIMEOUT_S = 30
PRESS_EVERY_S = 10
"""The power button is pressed again: a guest that is still booting does not notice it."""

OFF_TIMEOUT_S = 30.0

DETACH_TIMEOUT_S = 20.0
"""A guest waits 5 s for somebody to take the eject back (PCI Express, attention button) before it lets go."""


@dataclass(frozen=True)
class Started:
    """What `start` did: whether it created the VM, whether it booted it, and by what it runs."""

    created: bool
    booted: bool
    accelerator: str
    transport: str


class Machine:
    """One VM. Its methods raise HostError where this host cannot do it."""

    def __init__(self, config: Config, emit: Emit) -> None:
        self._config = config
        self._emit = emit
        self._paths = VmPaths.of(config.name, config.id8)
        self._lock = VmLock(self._paths.lock)
        self._connected: LibvirtDriver | None = None

    @property
    def config(self) -> Config:
        """The VM's rum.toml."""
        return self._config

    @property
    def paths(self) -> VmPaths:
        """The VM's files on the host."""
        return self._paths

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Keep every other rum off this VM; may be nested. Raises HostError when another one holds it for too long."""
        return self._lock.hold(self._emit)

    def exists(self) -> bool:
        """Whether the VM has been created."""
        return load_state(self._paths.state_file) is not None

    def state(self) -> str:
        """The VM's state: "absent", "stopped", "running", "paused" or "crashed"."""
        if not self.exists():
            return "absent"
        found = self._driver().state(self._config.domain_name)
        return "stopped" if found == "absent" else found

    def is_running(self) -> bool:
        """Whether the VM's processor runs."""
        return self.state() == "running"

    def last_start(self) -> LastStart | None:
        """How the VM was last started, None where it never was."""
        state = load_state(self._paths.state_file)
        return state.started if state else None

    def vm_id(self) -> str:
        """The VM's UUID."""
        return self._require_state().vm_id

    def key(self) -> bytes:
        """The channel's key, 32 bytes."""
        return vm_files.read_key(self._paths)

    def endpoint(self) -> Endpoint:
        """Where the agent can be reached."""
        started = self._require_started()
        if started.transport == Transport.VHOST_VSOCK:
            return VsockEndpoint(started.cid)
        return UnixEndpoint(self._paths.vsock_socket)

    def transport_alive(self) -> bool:
        """Whether the host's half of the channel works."""
        return transport_works(self._paths, self._require_started())

    def timeout_factor(self) -> int:
        """What every guest-side timeout is multiplied by: 1 under KVM, 5 under TCG."""
        started = self.last_start()
        if started:
            return TIMEOUT_FACTOR[Accelerator(started.accelerator)]
        return TIMEOUT_FACTOR[choose_accelerator(self._config.advanced.accelerator).accelerator]

    def console_tail(self, lines: int) -> list[str]:
        """The last lines of the console since the last start, control characters removed."""
        started = self.last_start()
        return read_console(self._paths.console_log, started.console_offset if started else 0)[-lines:]

    def diagnose_boot(self) -> str:
        """A sentence on why a VM that was started has not become ready."""
        if self._driver().is_out_of_space(self._config.domain_name):
            return f"the VM is paused, because the host's disk under {self._paths.state} is full"
        started = self.last_start()
        return diagnose(read_console(self._paths.console_log, started.console_offset if started else 0))

    def drives_script(self) -> ProvisionScript | None:
        """The script that rum generates for the drives that the VM has; None where there is nothing to do."""
        return drive_files.drives_script_for(self._config, self._paths, self._require_state())

    def leaving_drives(self) -> list[str]:
        """The drives that are not in rum.toml any more, but still attached."""
        return drive_files.leaving_drives(self._config, self._paths, self._require_state())

    def describe_drives(self) -> list[str]:
        """Every drive with its size, also those that are detached."""
        return drive_files.describe_drives(self._config, self._paths)

    def detach_drive(self, name: str) -> bool:
        """Take a drive that the guest does not use out of the VM, now or at its next start; whether it is out."""
        with self.lock():
            timeout_s = DETACH_TIMEOUT_S * self.timeout_factor()
            gone = self._driver().detach_disk(self._config.domain_name, self._paths.drive(name), timeout_s)
            with vm_files.disk_errors("the VM's state"):
                save_state(self._paths.state_file, drive_files.with_detached(self._require_state(), name))
            return gone

    def start(self) -> Started:
        """Create the VM unless it exists, and boot it unless it runs."""
        with self.lock(), forwards.prepared(self._config, self._paths, self._emit) as hand_over_ports:
            state = load_state(self._paths.state_file)
            created = state is None or state.started is None
            if state is None or state.started is None:
                state = self._create()
            else:
                drive_files.refuse_shrinking(self._config, self._paths, state)
                self._paths.make_dirs()
                self._tell(kept_until_destroy(self._config, state), warning=True)
            booted = not self._goes_on()
            if booted:
                self._boot(self._require_state(), created=created)
            started = self._require_started()
            hand_over_ports(booted)
            if not booted:
                self._tell(applied_later(self._config, started), warning=True)
                self._tell(drive_files.applied_later(self._config, self._paths, state), warning=True)
            return Started(created, booted, started.accelerator, started.transport)

    def note_answer(self) -> None:
        """Remember that the agent of this VM has answered, which it does once its first boot cannot be undone."""
        with self.lock():
            self._note_settled()

    def settings(self) -> GuestSettings | None:
        """What the guest was last told of rum.toml, None where nobody has noted it."""
        return self._require_state().settings

    def note_settings(self, settings: GuestSettings) -> None:
        """Remember what the guest has been told."""
        with self.lock(), vm_files.disk_errors("the VM's state"):
            save_state(self._paths.state_file, dataclasses.replace(self._require_state(), settings=settings))

    def down(self) -> str:
        """Shut the VM down: "stopped", "forced" where it did not within 30 s, or "not-running"."""
        with self.lock():
            if self.state() not in ("running", "paused"):
                stop_daemons(self._paths)
                return "not-running"
            how = self._turn_off()
            stop_daemons(self._paths)
            return how

    def destroy(self) -> bool:
        """Remove the VM, its disks and its keys; the copies of its runs stay. Returns whether there was one."""
        with self.lock():
            had_domain = self._remove_domain()
            stop_daemons(self._paths)
            return vm_files.remove_files(self._paths) or had_domain

    def _create(self) -> VmState:
        # Whatever this host lacks is said before an image is downloaded.
        check_host(self._config, self._driver(), self._config.image.base)
        uri = self._driver().uri
        self._remove_domain()
        return vm_files.create_vm(self._config, self._paths, uri, self._emit)

    def _tell(self, texts: Iterable[str], *, warning: bool = False) -> None:
        for text in texts:
            self._emit(Notice(text, warning=warning))

    def _goes_on(self) -> bool:
        """Whether the VM runs and can be reached, so that it need not be booted."""
        found = self.state()
        if found not in ("running", "paused"):
            return False
        missing = dead_daemon(self._paths, self._require_started())
        if missing is None:
            if found == "paused":
                self._emit(Notice("the VM was paused, it goes on now"))
                self._driver().resume(self._config.domain_name)
            return True
        # A vhost-user device cannot connect again, so the guest has lost its channel, or its mount, for this boot.
        text = f"the {missing} of the running VM has died; the VM is restarted, nothing else brings it back"
        self._emit(Notice(text, warning=True))
        self._turn_off()
        return False

    def _boot(self, state: VmState, *, created: bool) -> None:
        accelerator, transport, virtiofsd = check_host(self._config, self._driver(), state.image.reference)
        if not created:
            self._emit(Phase("image", "skipped"))
            if state.started:
                self._tell(applied_now(self._config, state.started))
            if not state.settled and self._paths.overlay.exists():
                vm_files.remake_disk(self._config, self._paths, state, self._emit)
                state = dataclasses.replace(state, settings=seeded_settings(self._config))
            vm_files.update_disks(self._config, self._paths, state, self._emit)
            seed_hash = vm_files.update_seed(self._config, self._paths, state, self._emit)
            state = dataclasses.replace(state, seed_hash=seed_hash, config_path=str(self._config.path))
            state = drive_files.with_returned(self._config, state)
        slower = ": everything in the guest takes about five times as long" if accelerator.accelerator == "tcg" else ""
        self._emit(Notice(f"accelerator {accelerator.accelerator} ({accelerator.reason}){slower}"))
        self._emit(Notice(f"transport {transport.transport} ({transport.reason})"))
        with phase(self._emit, "domain") as detail:
            detail.append(self._config.domain_name)
            start = DomainStart(
                self._driver(), self._config, self._paths, accelerator.accelerator, transport, virtiofsd
            )
            start.run(state)
        vm_files.remove_old_seeds(self._paths, state.seed_hash)

    def _turn_off(self) -> str:
        driver, name = self._driver(), self._config.domain_name
        if driver.state(name) == "paused":
            driver.resume(name)
        for _ in range(0, SHUTDOWN_TIMEOUT_S, PRESS_EVERY_S):
            driver.shut_down(name)
            if driver.wait_until_off(name, PRESS_EVERY_S):
                self._note_settled()
                return "stopped"
        self._force_off()
        return "forced"

    def _note_settled(self) -> None:
        state = load_state(self._paths.state_file)
        if state and not state.settled:
            with vm_files.disk_errors("the VM's state"):
                save_state(self._paths.state_file, dataclasses.replace(state, settled=True))

    def _force_off(self) -> None:
        driver, name = self._driver(), self._config.domain_name
        driver.force_off(name)
        if not driver.wait_until_off(name, OFF_TIMEOUT_S):
            raise HostError(f"the domain {name} does not end", hint=f"virsh -c {driver.uri} destroy {name}")

    def _remove_domain(self) -> bool:
        """Remove the domain where there is one; without a VM, an unreachable libvirt means that there is none."""
        try:
            driver = self._driver()
            found = driver.state(self._config.domain_name) != "absent"
        except ForeignDomainError:
            raise
        except HostError:
            if self.exists():
                raise
            return False
        if found:
            self._force_off()
            driver.undefine(self._config.domain_name)
        return found

    def _driver(self) -> LibvirtDriver:
        if self._connected is None or not self._connected.is_alive():
            state = load_state(self._paths.state_file)
            # The VM's own first: a variable that is set today must not hide the domain of yesterday.
            uri = (state.libvirt_uri if state else None) or self._config.advanced.libvirt_uri or default_uri()
            self._connected = LibvirtDriver(uri)
        return self._connected

    def _require_state(self) -> VmState:
        state = load_state(self._paths.state_file)
        if state is None:
            raise HostError(f"there is no VM {self._config.name} of {self._config.path}", hint="run 'rum up'")
        return state

    def _require_started(self) -> LastStart:
        started = self._require_state().started
        if started is None:
            raise HostError(f"the VM {self._config.name} has never been started", hint="run 'rum up'")
        return started
