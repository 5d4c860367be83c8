"""Which VMs stand on which image files. What cannot be found out counts as use: no VM ever loses its disk."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rum.host.errors import HostError
from rum.host.files import entries_of
from rum.host.paths import state_home
from rum.host.store import VmState, is_locked, load_state


@dataclass(frozen=True)
class User:
    """A VM that stands on an image."""

    name: str
    config_path: str

    def __str__(self) -> str:
        return f"VM {self.name} of {self.config_path}"


@dataclass(frozen=True)
class Unknown:
    """A VM that may stand on any image, and why nobody knows; `hint` says what to do about it."""

    name: str
    problem: str
    hint: str | None


@dataclass(frozen=True)
class Usage:
    """What all VMs of this user stand on, by the file's real path."""

    users: Mapping[str, Sequence[User]]
    unknown: Sequence[Unknown]

    def of(self, path: Path) -> Sequence[User]:
        """The VMs that are known to stand on a file."""
        return self.users.get(os.path.realpath(path), ())


def find_usage() -> Usage:
    """Look through the VMs. Raises HostError where they cannot be looked through."""
    users: dict[str, list[User]] = defaultdict(list)
    unknown: list[Unknown] = []
    for directory in entries_of(state_home() / "vms"):
        try:
            state = _state_of(directory)
        except HostError as exc:
            unknown.append(Unknown(directory.name, str(exc), exc.hint))
            continue
        if state:
            users[os.path.realpath(state.image.path)].append(User(state.name, state.config_path))
    return Usage(users, unknown)


def _state_of(directory: Path) -> VmState | None:
    """A VM's state, None where there is no VM. Raises HostError where that cannot be told."""
    state_file = directory / "state.json"
    state = load_state(state_file)
    if state is None and is_locked(state_home() / "locks" / directory.name):
        raise HostError(f"the VM {directory.name} is just being made", hint="wait until its 'rum up' is done")
    # It may have been written between the first look and the end of the lock.
    return state or load_state(state_file)
