"""The VM of a rum.toml: created, started, kept up to date with it.

Every step can be killed at any point: files are whole or absent, the state file says that the VM exists, and the next
`start` goes on from there. Methods that change the VM take its lock; the caller may hold it for longer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from rum.host.config.model import Config
from rum.host.events import Emit, Notice, Phase
from rum.host.guest.changes import applied_later, applied_now, kept_until_destroy
from rum.host.guest.settings import GuestSettings, seeded_settings
from rum.host.images.resolve import require_unchanged
from rum.host.images.restore import restore_base
from rum.host.ports import forwards
from rum.host.progress import phase
from rum.host.store import VmState
from rum.host.vm import drive_files, vm_files
from rum.host.vm.accelerator import Accelerator, choose_accelerator
from rum.host.vm.domain_start import DomainStart
from rum.host.vm.ending import remove_domain, turn_off
from rum.host.vm.helpers import dead_daemon
from rum.host.vm.host_checks import check_host
from rum.host.vm.known import KnownVm
from rum.protocol import ProvisionScript

DETACH_TIMEOUT_S = 20.0
"""A guest waits 5 s for somebody to take the eject back (PCI Express, attention button) before it lets go."""


@dataclass(frozen=True)
class Started:
    """What `start` did: whether it created the VM, whether it booted it, and by what it runs."""

    created: bool
    booted: bool
    accelerator: str
    transport: str


class Machine(KnownVm):
    """One VM with its rum.toml. Its methods raise HostError where this host cannot do it."""

    def __init__(self, config: Config, emit: Emit) -> None:
        super().__init__(config.identity, emit)
        self._config = config

    @property
    def config(self) -> Config:
        """The VM's rum.toml."""
        return self._config

    @property
    def boot_timeout_s(self) -> int:
        """`advanced.boot_timeout_s`."""
        return self._config.advanced.boot_timeout_s

    def drives_script(self) -> ProvisionScript | None:
        """The script that rum generates for the drives that the VM has; None where there is nothing to do."""
        return drive_files.drives_script_for(self._config, self._paths, self.require_state())

    def leaving_drives(self) -> list[str]:
        """The drives that are not in rum.toml any more, but still attached."""
        return drive_files.leaving_drives(self._config, self._paths, self.require_state())

    def detach_drive(self, name: str) -> bool:
        """Take a drive that the guest does not use out of the VM, now or at its next start; whether it is out."""
        with self.lock():
            timeout_s = DETACH_TIMEOUT_S * self.timeout_factor()
            gone = self.driver().detach_disk(self._config.domain_name, self._paths.drive(name), timeout_s)
            self.save_state(drive_files.with_detached(self.require_state(), name))
            return gone

    def start(self) -> Started:
        """Create the VM unless it exists, and boot it unless it runs."""
        with self.lock(), forwards.prepared(self._config, self._paths, self._emit) as hand_over_ports:
            state = self.load_state()
            created = state is None or state.started is None
            if state is None or state.started is None:
                state = self._create()
            else:
                drive_files.refuse_shrinking(self._config, self._paths, state)
                self._paths.make_dirs()
                self._tell(kept_until_destroy(self._config, state), warning=True)
            booted = not self._goes_on()
            if booted:
                self._boot(self.require_state(), created=created)
            started = self.require_started()
            hand_over_ports(booted)
            if not booted:
                self._tell(applied_later(self._config, started), warning=True)
                self._tell(drive_files.applied_later(self._config, self._paths, state), warning=True)
            return Started(created, booted, started.accelerator, started.transport)

    def require_startable(self) -> None:
        """Raise what a start would raise before it changes anything, ConfigError included.

        To be called before the VM is shut down only to be started again.
        """
        with self.lock(), forwards.prepared(self._config, self._paths, self._emit):
            state = self.require_state()
            drive_files.refuse_shrinking(self._config, self._paths, state)
            restore_base(state.image, self._config.image, self._emit)
            require_unchanged(state.image)
            check_host(self._config, self.driver(), state.image.reference)

    def settings(self) -> GuestSettings | None:
        """What the guest was last told of rum.toml, None where nobody has noted it."""
        return self.require_state().settings

    def note_settings(self, settings: GuestSettings) -> None:
        """Remember what the guest has been told."""
        with self.lock():
            self.save_state(dataclasses.replace(self.require_state(), settings=settings))

    def _create(self) -> VmState:
        # Whatever this host lacks is said before an image is downloaded.
        check_host(self._config, self.driver(), self._config.image.base)
        uri = self.driver().uri
        remove_domain(self)
        return vm_files.create_vm(self._config, self._paths, uri, self._emit)

    def _tell(self, texts: Iterable[str], *, warning: bool = False) -> None:
        for text in texts:
            self._emit(Notice(text, warning=warning))

    def _goes_on(self) -> bool:
        """Whether the VM runs and can be reached, so that it need not be booted."""
        found = self.state()
        if found not in ("running", "paused"):
            return False
        missing = dead_daemon(self._paths, self.require_started())
        if missing is None:
            if found == "paused":
                why = ", because the host's disk was full" if self.is_out_of_space() else ""
                self._emit(Notice(f"the VM was paused{why}; it goes on now"))
                self.driver().resume(self._config.domain_name)
            return True
        # A vhost-user device cannot connect again, so the guest has lost its channel, or its mount, for this boot.
        text = f"the {missing} of the running VM has died; the VM is restarted, nothing else brings it back"
        self._emit(Notice(text, warning=True))
        turn_off(self)
        return False

    def _boot(self, state: VmState, *, created: bool) -> None:
        accelerator, transport, virtiofsd = check_host(self._config, self.driver(), state.image.reference)
        if not created:
            if not restore_base(state.image, self._config.image, self._emit):
                self._emit(Phase("image", "skipped"))
            if state.started:
                self._tell(applied_now(self._config, state.started))
            if not state.settled and vm_files.can_be_remade(self._paths):
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
            start = DomainStart(self.driver(), self._config, self._paths, accelerator.accelerator, transport, virtiofsd)
            start.run(state)
        vm_files.remove_old_seeds(self._paths, state.seed_hash)

    def _likely_accelerator(self) -> Accelerator:
        return choose_accelerator(self._config.advanced.accelerator).accelerator

    def _wanted_uri(self) -> str | None:
        return self._config.advanced.libvirt_uri
