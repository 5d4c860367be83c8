"""A VM's domain and the daemons that it needs: started together, in order, and ended together."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from dataclasses import dataclass

from rum.host.channel.endpoint import Transport
from rum.host.channel.transport import TransportChoice, cid_candidates
from rum.host.config.model import Config
from rum.host.errors import HostError
from rum.host.files import disk_errors
from rum.host.guest.settings import mounts_of
from rum.host.images.catalogue import needs_largest_cpu
from rum.host.interrupts import deferred_signals
from rum.host.paths import VmPaths
from rum.host.store import LastStart, VmState, save_state
from rum.host.vm import vhost_user, virtiofsd
from rum.host.vm.accelerator import Accelerator
from rum.host.vm.architecture import host_architecture
from rum.host.vm.domain_xml import DomainSpec, build_domain_xml
from rum.host.vm.drive_files import attached_drives
from rum.host.vm.helpers import stop_daemons
from rum.host.vm.libvirt_driver import LibvirtDriver
from rum.host.vm.libvirt_errors import CidInUseError
from rum.host.vm.qemu_log import qemu_log_tail
from rum.host.vm.virtiofsd import Virtiofsd

CID_ATTEMPTS = 16
TAIL_LINES = 20


@dataclass(frozen=True)
class DomainStart:
    """What a start needs to know. Its methods raise HostError."""

    driver: LibvirtDriver
    config: Config
    paths: VmPaths
    accelerator: Accelerator
    transport: TransportChoice
    virtiofsd: Virtiofsd | None

    def run(self, state: VmState) -> None:
        """Start the domain; where that fails, the daemons have ended and the state file is as it was.

        A Ctrl+C meanwhile counts at the end: else a domain that has just been started would lose its daemons.
        """
        with deferred_signals():
            self._run(state)

    def _run(self, state: VmState) -> None:
        console = self.paths.console_log
        offset = console.stat().st_size if console.exists() else 0
        self.paths.console_socket.unlink(missing_ok=True)
        for cid in itertools.islice(cid_candidates(state.vm_id), CID_ATTEMPTS):
            started = self._record(cid, offset)
            with disk_errors("the VM's state"):
                # Written before the start: a domain that runs is never without its record.
                save_state(self.paths.state_file, dataclasses.replace(state, started=started))
            with contextlib.suppress(CidInUseError):
                try:
                    self._once(state, started)
                except BaseException:
                    stop_daemons(self.paths)
                    # A full disk must not hide what has gone wrong; libvirt knows that the domain does not run.
                    with contextlib.suppress(OSError):
                        save_state(self.paths.state_file, state)
                    raise
                return
        raise HostError(f"{CID_ATTEMPTS} vsock CIDs were tried and all are taken")

    def _record(self, cid: int, console_offset: int) -> LastStart:
        resources, advanced = self.config.resources, self.config.advanced
        return LastStart(
            self.accelerator.value,
            self.transport.transport.value,
            cid,
            console_offset,
            cpus=resources.cpus,
            memory_mb=resources.memory_mb,
            machine=advanced.machine,
            firmware=advanced.firmware,
            disk=resources.disk,
            network_mode=self.config.network.mode,
            mounts=mounts_of(self.config),
            boot_timeout_s=advanced.boot_timeout_s,
        )

    def _once(self, state: VmState, started: LastStart) -> None:
        name = self.config.domain_name
        self.driver.define(name, build_domain_xml(self._spec(state, started)))
        if self.transport.program:
            vhost_user.start_daemon(self.transport.program, started.cid, self.paths)
        if self.virtiofsd:
            virtiofsd.start_daemons(self.virtiofsd, started.mounts, self.paths)
        self.driver.start(name)
        if self.driver.state(name) not in ("running", "paused"):
            tail = qemu_log_tail(self.driver.uri, name, TAIL_LINES)
            hint = "these are the last lines of its log; `rum doctor` looks at what it needs"
            raise HostError("QEMU ended as soon as it was started", hint=hint, tail=tail)

    def _spec(self, state: VmState, started: LastStart) -> DomainSpec:
        config, paths = self.config, self.paths
        return DomainSpec(
            vm_id=state.vm_id,
            name=config.domain_name,
            id8=config.identity.id8,
            config_path=config.path,
            architecture=host_architecture(),
            memory_mb=config.resources.memory_mb,
            cpus=config.resources.cpus,
            machine=config.advanced.machine,
            firmware=config.advanced.firmware,
            accelerator=Accelerator(started.accelerator),
            transport=Transport(started.transport),
            cid=started.cid,
            vhost_socket=paths.vhost_socket,
            overlay=paths.overlay,
            seed=paths.seed(state.seed_hash),
            console_socket=paths.console_socket,
            console_log=paths.console_log,
            network=config.network,
            drives={name: paths.drive(name) for name in attached_drives(paths, state)},
            mounts={mount.tag: paths.mount_socket(index) for index, mount in enumerate(started.mounts)},
            confinement=self.driver.confinement(),
            largest_cpu=needs_largest_cpu(state.image.reference, host_architecture()),
        )
