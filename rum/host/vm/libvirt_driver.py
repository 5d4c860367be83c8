"""The only importer of libvirt. Its errors become one sentence here, and no domain without rum's tag is touched."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import libvirt

from rum.host import remedies
from rum.host.deadlines import Deadline, OvertimeError, pause, within
from rum.host.errors import HostError
from rum.host.paths import session_runtime_dir
from rum.host.vm.domain_xml import NAMESPACE, Confinement
from rum.host.vm.libvirt_calls import CLOSE_TIMEOUT_S, answered, reconnecting
from rum.host.vm.libvirt_errors import CidInUseError, ForeignDomainError, LostLibvirtError, SilentQemuError

POLL_S = 0.2

RECONNECT_S = 10.0
"""A daemon that is killed closes its connections before the socket that it listens at."""

ANSWER_TIMEOUT_S = 10.0
"""QEMU's monitor answers in milliseconds, on a host that is very busy in a second or two."""

STATES = {
    libvirt.VIR_DOMAIN_RUNNING: "running",
    libvirt.VIR_DOMAIN_BLOCKED: "running",
    libvirt.VIR_DOMAIN_SHUTDOWN: "running",
    libvirt.VIR_DOMAIN_PAUSED: "paused",
    libvirt.VIR_DOMAIN_PMSUSPENDED: "paused",
    libvirt.VIR_DOMAIN_CRASHED: "crashed",
}

CRASH_REASONS = (libvirt.VIR_DOMAIN_SHUTOFF_CRASHED, libvirt.VIR_DOMAIN_SHUTOFF_FAILED)

UNDEFINE_FLAGS = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE,
    libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA,
    libvirt.VIR_DOMAIN_UNDEFINE_NVRAM,
    libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA,
)

MACHINE_HINT = "check advanced.machine; 'qemu-system-{} -machine help' lists what there is"
SESSION_HINT = (
    'only the system\'s libvirtd has networks: set advanced.libvirt_uri = "qemu:///system", or do without '
    '(network.mode = "user")'
)


def default_uri() -> str:
    """The libvirt URI where rum.toml names none."""
    return os.environ.get("LIBVIRT_DEFAULT_URI") or ("qemu:///system" if os.geteuid() == 0 else "qemu:///session")


def is_system(uri: str) -> bool:
    """Whether the URI means the machine's own libvirtd, which runs QEMU as another user unless told otherwise."""
    return re.match(r"qemu(\+unix)?:///system", uri) is not None


class LibvirtDriver:
    """One connection. Raises HostError where libvirt cannot be reached; a context manager that closes it."""

    def __init__(self, uri: str) -> None:
        if not uri.isprintable():
            # Those of rum.toml have been looked at.
            raise HostError(
                f"LIBVIRT_DEFAULT_URI is no URI of libvirt: {uri!a}", hint="mend it, or do without it", code="libvirt"
            )
        self.uri = uri
        libvirt.registerErrorHandler(_ignore, None)
        session = session_runtime_dir()
        if session and os.environ.get("XDG_RUNTIME_DIR") != str(session):
            # Else libvirt takes another directory, and with it another daemon that does not know this user's VMs.
            os.environ["XDG_RUNTIME_DIR"] = str(session)
        self.connect()

    def reconnect(self) -> None:
        """Connect anew, to a daemon that may just be being restarted. Raises HostError."""
        deadline = Deadline(RECONNECT_S)
        while not deadline.expired:
            with contextlib.suppress(HostError):
                self.connect()
                return
            pause(POLL_S, deadline)
        self.connect()

    @answered
    def connect(self) -> None:
        """Connect. Raises HostError."""
        self._was_open = False
        with self._translated():
            self._connection = libvirt.open(self.uri)
        self._was_open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(libvirt.libvirtError, OvertimeError):
            within(CLOSE_TIMEOUT_S, self._connection.close, libvirt.libvirtError)

    def is_alive(self) -> bool:
        """Whether the connection still works: a session's libvirtd may be restarted at any time."""
        try:
            return bool(self._connection.isAlive())
        except libvirt.libvirtError:
            return False

    @answered
    def version(self) -> str:
        """libvirt's version: the daemon's, which is not always the client library's."""
        with self._translated():
            number = self._connection.getLibVersion()
        # virConnectGetLibVersion: 1,000,000 * major + 1,000 * minor + release
        return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"

    @reconnecting
    def state(self, name: str) -> str:
        """The domain's state: "running", "paused", "crashed", "stopped", or "absent"."""
        domain = self._find(name)
        state = reason = None
        # It may be removed at this very moment.
        with self._translated(libvirt.VIR_ERR_NO_DOMAIN):
            state, reason = domain.state() if domain else (None, None)
        if state is None:
            return "absent"
        if state == libvirt.VIR_DOMAIN_SHUTOFF and reason in CRASH_REASONS:
            return "crashed"
        return STATES.get(state, "stopped")

    @reconnecting
    def is_out_of_space(self, name: str) -> bool:
        """Whether QEMU has paused the domain because a disk image could not grow."""
        domain = self._find(name)
        with self._translated():
            return domain is not None and tuple(domain.state()) == (
                libvirt.VIR_DOMAIN_PAUSED,
                libvirt.VIR_DOMAIN_PAUSED_IOERROR,
            )

    @reconnecting
    def define(self, name: str, xml: str) -> None:
        """Define the domain, or change its definition for the next start. Raises HostError."""
        self._find(name)
        with self._translated():
            self._connection.defineXML(xml)

    @answered
    def start(self, name: str) -> None:
        """Start the domain. Raises CidInUseError, or HostError with what QEMU said."""
        domain = self._require(name)
        with self._translated():
            domain.create()

    @reconnecting
    def resume(self, name: str) -> None:
        """Let a paused domain go on, or wake one that sleeps. Raises SilentQemuError, HostError."""
        domain = self._require(name)
        with self._translated():
            asleep = domain.state()[0] == libvirt.VIR_DOMAIN_PMSUSPENDED
            self._answered(name, domain.pMWakeup if asleep else domain.resume)

    @reconnecting
    def shut_down(self, name: str) -> None:
        """Press the domain's power button; nothing happens where it has just gone off.

        Raises SilentQemuError, HostError.
        """
        domain = self._require(name)
        try:
            with self._translated():
                self._answered(name, domain.shutdown)
        except SilentQemuError:
            raise
        except HostError:
            # Each hypervisor has an error of its own for a domain that is not running; one that is paused has nobody
            # who would notice its power button.
            if self.state(name) == "running":
                raise

    @reconnecting
    def force_off(self, name: str) -> None:
        """End the domain's QEMU; nothing happens where it does not run. Raises HostError."""
        domain = self._require(name)
        with self._translated(libvirt.VIR_ERR_OPERATION_INVALID):
            domain.destroy()

    def detach_disk(self, name: str, source: Path, timeout_s: float) -> bool:
        """Take a disk out of the domain, its definition included. Raises HostError.

        Returns whether a running domain is without it; a guest that does not let go within the time keeps it.
        """
        domain = self._require(name)
        self._detach_disk(domain, source, libvirt.VIR_DOMAIN_XML_INACTIVE, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
        asked = self._detach_disk(domain, source, 0, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        return self.wait(lambda: self._disk_xml(domain, source, 0) is None, timeout_s if asked else 0)

    @answered
    def _detach_disk(self, domain: libvirt.virDomain, source: Path, inactive: int, affect: int) -> bool:
        """Whether libvirt has passed the wish on; where the domain is off it does not, its test driver never does."""
        disk = self._disk_xml(domain, source, inactive)
        asked = False
        if disk is not None:
            with self._translated(libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_SUPPORT):
                domain.detachDeviceFlags(disk, affect)
                asked = True
        return asked

    @answered
    def _disk_xml(self, domain: libvirt.virDomain, source: Path, flags: int) -> str | None:
        """The definition of the domain's disk with this file."""
        with self._translated():
            disks = ET.fromstring(domain.XMLDesc(flags)).iterfind("./devices/disk")
        return next((ET.tostring(disk, "unicode") for disk in disks if is_on(disk, source)), None)

    def undefine(self, name: str) -> None:
        """Remove the domain's definition and all that libvirt keeps for it. Raises HostError."""
        domain = self._find(name)
        if domain is None:
            return
        flags = sum(UNDEFINE_FLAGS)
        for flag in reversed((0, *UNDEFINE_FLAGS)):
            # Drivers refuse flags that they are too old for; the rest still has to be said.
            with self._translated(libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_NO_SUPPORT):
                domain.undefineFlags(flags)
            if self._find(name) is None:
                return
            flags -= flag
        raise HostError(f"libvirt has not removed the domain {name}", hint=f"virsh -c {self.uri} undefine {name}")

    def wait_until_off(self, name: str, timeout_s: float) -> bool:
        """Wait for the domain to be off, at most so many seconds. Returns whether it is."""
        return self.wait(lambda: self.state(name) in ("stopped", "crashed", "absent"), timeout_s)

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Ask again and again, at most for so many seconds. Returns whether the condition came true."""
        deadline = Deadline(timeout_s)
        while not condition():
            if deadline.expired:
                return False
            pause(POLL_S, deadline)
        return True

    @answered
    def domain_capabilities(self, architecture: str, machine: str, kind: str) -> ET.Element | None:
        """What the QEMU here offers such a domain, None where the driver does not say; `kind`: "kvm" or "qemu".

        Raises HostError where there is no QEMU for the architecture, or none that has the machine.
        """
        text = ""
        with self._translated(libvirt.VIR_ERR_NO_SUPPORT):
            text = self._connection.getDomainCapabilities(None, architecture, machine, kind, 0)
        return ET.fromstring(text) if text else None

    @answered
    def require_network(self, name: str, why: str) -> None:
        """Raise HostError unless the libvirt network runs; `why` begins the sentence."""
        if not is_system(self.uri):
            raise HostError(f"{why}, but {self.uri} has no networks of its own", hint=SESSION_HINT)
        networks: dict[str, bool] = {}
        with self._translated():
            networks = {network.name(): bool(network.isActive()) for network in self._connection.listAllNetworks()}
        if name not in networks:
            hint = f"see what there is: virsh -c {self.uri} net-list --all"
            raise HostError(f"{why}, but there is no libvirt network {name}", hint=hint)
        if not networks[name]:
            hint = f"start it: virsh -c {self.uri} net-start {name}"
            raise HostError(f"{why}, but the libvirt network {name} does not run", hint=hint)

    @answered
    def confinement(self) -> Confinement | None:
        """How QEMU has to be run so that it can use this user's files; None where it runs as this user anyway."""
        if not is_system(self.uri):
            return None
        with self._translated():
            capabilities = ET.fromstring(self._connection.getCapabilities())
        models = [model.text or "" for model in capabilities.iterfind("./host/secmodel/model")]
        others = tuple(model for model in models if model not in ("dac", "none", ""))
        return Confinement(os.getuid(), os.getgid(), others)

    def _find(self, name: str) -> libvirt.virDomain | None:
        """The domain, None where there is none. Raises ForeignDomainError where it is not rum's."""
        domain = None
        with self._translated(libvirt.VIR_ERR_NO_DOMAIN):
            domain = self._connection.lookupByName(name)
        if domain is not None and not self._is_ours(domain):
            raise ForeignDomainError(
                f"the libvirt domain {name} was not made by rum, so rum does not touch it",
                hint=f"rename or remove it: virsh -c {self.uri} undefine {name}",
            )
        return domain

    @answered
    def _require(self, name: str) -> libvirt.virDomain:
        domain = self._find(name)
        if domain is None:
            raise HostError(f"there is no libvirt domain {name} any more", hint="run 'rum up'")
        return domain

    def _is_ours(self, domain: libvirt.virDomain) -> bool:
        tag = None
        with self._translated(libvirt.VIR_ERR_NO_DOMAIN_METADATA):
            tag = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE)
        return tag is not None

    def _answered(self, name: str, call: Callable[[], object]) -> None:
        """Make a call that QEMU has to answer, for which libvirt itself waits for ever. Raises SilentQemuError."""
        try:
            within(ANSWER_TIMEOUT_S, call, libvirt.libvirtError)
        except OvertimeError as exc:
            raise SilentQemuError(
                f"the QEMU of domain {name} has not answered libvirt within {ANSWER_TIMEOUT_S:.0f} s",
                hint=f"it is stopped, or hangs: ps -o pid,stat,args -C qemu-system-{platform.machine()}",
            ) from exc

    def _is_lost(self) -> bool:
        """Whether there was a connection that has ended, which only the first call over it notices."""
        return self._was_open and not self.is_alive()

    @contextlib.contextmanager
    def _translated(self, *expected: int) -> Iterator[None]:
        """Turn libvirt's errors into HostError; the expected ones end the block silently."""
        try:
            yield
        except libvirt.libvirtError as exc:
            if exc.get_error_code() not in expected:
                raise self._explain(exc) from exc

    def _explain(self, exc: libvirt.libvirtError) -> HostError:
        lines = (exc.get_error_message() or str(exc)).strip().splitlines()
        text = lines[0] if len(lines) == 1 else lines[-1]
        code = exc.get_error_code()
        if self._is_lost():
            hint = "run the command again; if it stays so, see why libvirt's daemon ends"
            return LostLibvirtError(f"the connection to libvirt at {self.uri} has ended: {text}", hint=hint)
        if re.search(r"guest cid|vhost-vsock.*(in use|EADDRINUSE)", " ".join(lines), re.IGNORECASE):
            return CidInUseError(f"the vsock CID is taken: {text}")
        if re.search(r"permission denied|authentication (failed|unavailable)", text, re.IGNORECASE):
            return HostError(
                f"libvirt at {self.uri} refuses this user: {text}",
                hint=remedies.use_libvirt(),
                tail=lines,
                code="libvirt",
            )
        if code in (libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_ERR_RPC):
            return HostError(
                f"libvirt at {self.uri} cannot be reached: {text}",
                hint=remedies.reach_libvirt(self.uri),
                code="libvirt",
            )
        if re.search(r"machine .* is not supported|unsupported machine", text):
            return HostError(f"QEMU has no such machine: {text}", hint=MACHINE_HINT.format(platform.machine()))
        if re.search(r"emulator|no suitable|binary|could not get preferred machine", text):
            return HostError(
                f"libvirt finds no QEMU for this VM: {text}", hint=remedies.install("qemu"), code="missing-program"
            )
        return HostError(f"libvirt at {self.uri}: {text}", tail=lines if len(lines) > 1 else (), code="libvirt")


def is_on(disk: ET.Element, source: Path) -> bool:
    """Whether the disk's file is this one."""
    element = disk.find("./source")
    return element is not None and element.get("file") == str(source)


def _ignore(context: object, error: object) -> None:
    """libvirt prints its errors to stderr unless somebody takes them."""
