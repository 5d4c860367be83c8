"""How a VM ends: shut down, turned off, removed."""

from __future__ import annotations

from rum.host.console_tail import ConsoleTail
from rum.host.deadlines import Deadline
from rum.host.errors import HostError
from rum.host.events import ConsoleLine
from rum.host.progress import phase
from rum.host.vm.helpers import stop_daemons
from rum.host.vm.known import KnownVm
from rum.host.vm.libvirt_errors import ForeignDomainError, SilentQemuError
from rum.host.vm.removal import keep_console, remove_files

SHUTDOWN_TIMEOUT_S = 30
PRESS_EVERY_S = 10
"""The power button is pressed again: a guest that is still booting does not notice it."""

OFF_TIMEOUT_S = 30.0

CONSOLE_EVERY_S = 0.5


def shut_down(vm: KnownVm) -> str:
    """Shut the VM down: "stopped", "forced" where it did not within 30 s, or "not-running". Raises HostError."""
    with vm.lock():
        if vm.state() not in ("running", "paused"):
            stop_daemons(vm.paths)
            return "not-running"
        how = turn_off(vm)
        stop_daemons(vm.paths)
        return how


def turn_off(vm: KnownVm) -> str:
    """Have the guest shut down, and turn it off where it does not. Raises HostError."""
    with phase(vm.emit, "shutdown") as detail:
        try:
            if shuts_itself_down(vm):
                vm.note_settled()
                return "stopped"
            detail.append(f"not within {SHUTDOWN_TIMEOUT_S} s: turned off")
        except SilentQemuError as exc:
            detail.append(f"{exc}: turned off")
        force_off(vm)
        return "forced"


def shuts_itself_down(vm: KnownVm) -> bool:
    """Whether the guest has shut down within 30 s of being asked to. Raises SilentQemuError, HostError."""
    driver, name = vm.driver(), vm.identity.domain_name
    if driver.state(name) == "paused":
        driver.resume(name)
    console = ConsoleTail(vm.paths.console_log)
    for _ in range(0, SHUTDOWN_TIMEOUT_S, PRESS_EVERY_S):
        driver.shut_down(name)
        if off_within(vm, PRESS_EVERY_S, console):
            return True
    return False


def off_within(vm: KnownVm, seconds: float, console: ConsoleTail) -> bool:
    """Whether the guest is off within so many seconds; its console is passed on meanwhile."""
    deadline = Deadline(seconds)
    while not deadline.expired:
        is_off = vm.driver().wait_until_off(vm.identity.domain_name, deadline.at_most(CONSOLE_EVERY_S).remaining())
        for line in console.new_lines():
            vm.emit(ConsoleLine(line))
        if is_off:
            return True
    return False


def force_off(vm: KnownVm) -> None:
    """Turn the VM off. Raises HostError."""
    driver, name = vm.driver(), vm.identity.domain_name
    driver.force_off(name)
    if not driver.wait_until_off(name, OFF_TIMEOUT_S):
        raise HostError(f"the domain {name} does not end", hint=f"virsh -c {driver.uri} destroy {name}")


def remove(vm: KnownVm) -> bool:
    """Remove the VM, its disks and its keys; its runs' copies and its console's end stay. Whether there was one."""
    with vm.lock():
        had_domain = remove_domain(vm)
        stop_daemons(vm.paths)
        if started := vm.last_start():
            keep_console(vm.paths, started.console_offset)
        return remove_files(vm.paths) or had_domain


def remove_domain(vm: KnownVm) -> bool:
    """Remove the domain where there is one; without a VM, an unreachable libvirt means that there is none."""
    name = vm.identity.domain_name
    try:
        driver = vm.driver()
        found = driver.state(name) != "absent"
    except ForeignDomainError:
        raise
    except HostError:
        if vm.exists():
            raise
        return False
    if found:
        force_off(vm)
        driver.undefine(name)
    return found
