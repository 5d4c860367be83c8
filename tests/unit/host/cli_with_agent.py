"""The `rum` command with a running local agent in place of a VM: what a test starts as a process of its own.

Takes a JSON description of the guest in RUM_TEST_GUEST; everything but the virtual machine is the real thing.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import sys
from pathlib import Path
from typing import Any

import rum.host.vm.known
import rum.host.vm.machine
from rum.host import own_command
from rum.host.__main__ import main
from rum.host.channel.endpoint import Endpoint, UnixEndpoint
from rum.host.config.identity import VmIdentity
from rum.host.config.load import Config
from rum.host.console import read_console
from rum.host.events import Emit, Phase
from rum.host.guest.settings import GuestSettings, seeded_settings
from rum.host.paths import VmPaths
from rum.host.ports import forwards
from rum.host.store import LastStart, VmLock, VmState
from rum.protocol import ProvisionScript


def about() -> dict[str, Any]:
    """The guest that this process has for a VM."""
    described: dict[str, Any] = json.loads(os.environ["RUM_TEST_GUEST"])
    return described


class LocalVm:
    """The part of KnownVm that commands use."""

    def __init__(self, identity: VmIdentity, emit: Emit) -> None:
        self.identity = identity
        self.emit = emit
        self.name = identity.name
        self.boot_timeout_s = 300
        directory = Path(about()["directory"])
        self.paths = VmPaths("demo", directory / "state", directory / "run", directory / "lock")
        self.the_lock = VmLock(self.paths.lock)

    def lock(self) -> contextlib.AbstractContextManager[None]:
        return self.the_lock.hold(self.emit)

    def last_start(self) -> LastStart:
        return LastStart("tcg", "vhost-user", 70_000, 0)

    def load_state(self) -> VmState | None:
        return None

    def exists(self) -> bool:
        return True

    def state(self) -> str:
        is_off = (Path(about()["directory"]) / "off").exists()
        return "running" if about()["running"] and not is_off else "stopped"

    def is_running(self) -> bool:
        return self.state() == "running"

    def user(self) -> str:
        return getpass.getuser()

    def describe_drives(self) -> list[str]:
        return []

    def endpoint(self) -> Endpoint:
        return UnixEndpoint(Path(about()["directory"]) / "vm.vsock")

    def note_answer(self) -> None:
        pass

    def key(self) -> bytes:
        return bytes.fromhex(about()["key"])

    def vm_id(self) -> str:
        return str(about()["vm_id"])

    def is_out_of_space(self) -> bool:
        return False

    def transport_alive(self) -> bool:
        return True

    def timeout_factor(self) -> int:
        return 1

    def console_tail(self, lines: int) -> list[str]:
        return read_console(self.paths.console_log)[-lines:]

    def diagnose_boot(self) -> str:
        return "the console shows nothing unusual"

    def down(self) -> str:
        forwards.stop(self.paths)
        return "stopped"

    def destroy(self) -> bool:
        forwards.stop(self.paths)
        return True


class LocalMachine(LocalVm):
    """The part of Machine that commands use besides."""

    def __init__(self, config: Config, emit: Emit) -> None:
        super().__init__(config.identity, emit)
        self.config = config

    def start(self) -> rum.host.vm.machine.Started:
        with self.lock(), forwards.prepared(self.config, self.paths, self.emit) as hand_over_ports:
            self.emit(Phase("image", "done", 83, "cached debian-12"))
            hand_over_ports(False)
        return rum.host.vm.machine.Started(created=False, booted=False, accelerator="tcg", transport="vhost-user")

    def settings(self) -> GuestSettings:
        return seeded_settings(self.config)

    def note_settings(self, settings: GuestSettings) -> None:
        pass

    def drives_script(self) -> ProvisionScript | None:
        return None

    def leaving_drives(self) -> list[str]:
        return []


def peak_kib() -> int:
    """The largest resident memory of this process. Not getrusage(2)'s, which begins with that of who started it."""
    [line] = [line for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines() if "VmHWM" in line]
    return int(line.split()[1])


if __name__ == "__main__":
    rum.host.vm.known.KnownVm = LocalVm  # type: ignore[assignment,misc]
    rum.host.vm.machine.Machine = LocalMachine  # type: ignore[assignment,misc]
    own_command.PROGRAM = (sys.executable, __file__)
    exit_status = main()
    if peak_file := os.environ.get("RUM_TEST_PEAK"):
        Path(peak_file).write_text(str(peak_kib()), encoding="ascii")
    sys.exit(exit_status)
