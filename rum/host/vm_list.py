"""`rum list`: every VM of this user, whatever project it belongs to and whatever is broken about it.

All are looked at at the same time, and none for long: one that hangs costs the others nothing.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from rum.host.config.identity import VmIdentity
from rum.host.deadlines import Deadline
from rum.host.errors import GuestError, HostError
from rum.host.events import Event
from rum.host.files import entries_of
from rum.host.json_lines.answers import ListedVm, State
from rum.host.paths import state_home
from rum.host.runs.records import RunCopies, message_of
from rum.host.store import VmState, is_locked, load_state
from rum.host.survey import Sight, disk_use, look
from rum.host.vm.known import KnownVm

AGENT_PATIENCE_S = 2.0

PATIENCE_S = 5.0
"""For all that is asked for: libvirt has no timeouts of its own."""

Look = Callable[[Path], ListedVm | None]


def list_vms() -> list[ListedVm]:
    """Every VM, by its name. Raises HostError."""
    directories = [path for path in entries_of(state_home() / "vms") if path.is_dir()]
    return [vm for vm in all_at_once(look_at, directories, PATIENCE_S) if vm]


def all_at_once(ask: Look, directories: Sequence[Path], patience_s: float) -> list[ListedVm | None]:
    """What each look finds, in this order; one that takes longer than so many seconds is a problem of its VM."""
    answers: queue.SimpleQueue[tuple[Path, ListedVm | None]] = queue.SimpleQueue()
    for directory in directories:
        # Daemons: the interpreter would wait for the end of any other thread.
        threading.Thread(target=answer_with, args=(ask, directory, answers), daemon=True).start()
    found: dict[Path, ListedVm | None] = {}
    deadline = Deadline(patience_s)
    while len(found) < len(directories):
        try:
            where, answer = answers.get(timeout=deadline.remaining())
        except queue.Empty:
            break
        found[where] = answer
    late = f"it was not found out within {patience_s:g} s"
    return [found[where] if where in found else unknown(where, late) for where in directories]


def answer_with(ask: Look, directory: Path, answers: queue.SimpleQueue[tuple[Path, ListedVm | None]]) -> None:
    """One look, as a thread."""
    answers.put((directory, ask(directory)))


def look_at(directory: Path) -> ListedVm | None:
    """The VM of a directory, None where that holds only what a VM has left behind."""
    try:
        state = load_state(directory / "state.json")
        if state is None:
            is_made = is_locked(state_home() / "locks" / directory.name)
            return {**unknown(directory, None), "state": "creating"} if is_made else None
        vm = KnownVm(VmIdentity(Path(state.config_path), state.name, state.id8), ignored)
        return described(vm, state, look(vm, AGENT_PATIENCE_S))
    except (HostError, GuestError) as exc:
        return unknown(directory, str(exc))


def described(vm: KnownVm, state: VmState, seen: Sight) -> ListedVm:
    """A VM whose state could be read."""
    about = seen.agent or last_result(vm) or {}
    return {
        "type": "vm",
        "name": state.name,
        "id": state.id8,
        "config": state.config_path,
        "config_exists": os.path.isfile(state.config_path),
        "state": cast(State, seen.state),
        "provisioned": bool(about.get("system_provisioned", False)),
        "accelerator": state.started.accelerator if state.started else None,
        "created": created_at(vm.paths.key),
        "uptime_s": (seen.agent or {}).get("uptime_s"),
        "disk_bytes": disk_use(vm.paths.state),
        "directory": str(vm.paths.state),
        "problem": seen.problem,
    }


def unknown(directory: Path, problem: str | None) -> ListedVm:
    """A VM of which nothing is known but its directory, whose name is its name and its id."""
    name, _, id8 = directory.name.rpartition("-")
    return {
        "type": "vm",
        "name": name,
        "id": id8,
        "config": None,
        "config_exists": False,
        "state": "unknown",
        "provisioned": None,
        "accelerator": None,
        "created": created_at(directory / "key"),
        "uptime_s": None,
        "disk_bytes": disk_use(directory),
        "directory": str(directory),
        "problem": problem,
    }


def last_result(vm: KnownVm) -> dict[str, object] | None:
    """The result of the run that this host has copied last."""
    copies = RunCopies(vm.paths.runs)
    for run_id in copies.ids()[-1:]:
        try:
            *_, last = filter(None, map(message_of, copies.frames(run_id)))
        except (OSError, ValueError):
            return None
        return last
    return None


def created_at(key: Path) -> str | None:
    """When the VM was made: its key is never written again."""
    try:
        return datetime.fromtimestamp(int(key.stat().st_mtime), UTC).isoformat()
    except OSError:
        return None


def ignored(_event: Event) -> None:
    """Takes events that nobody wants to see."""
