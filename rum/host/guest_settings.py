"""Changes of rum.toml reach a VM that has had its first boot, over the channel to its agent.

cloud-init applies a seed once, so what is changed later is changed here: one step each, in the guest, before it is
provisioned. A step that fails leaves the VM usable and is tried again by the next `rum up`; only mounts, which scripts
may be about to use, have to be there.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rum.cloudinit.install import autologin_path, build_autologin
from rum.host.architecture import host_architecture
from rum.host.client import AgentError
from rum.host.errors import GuestError
from rum.host.events import Emit, Notice
from rum.host.exec import ExecRequest, ExecSession
from rum.host.guest import Guest
from rum.host.mount_order import drive_below, fstab_line
from rum.host.reach import short_deadline, wait_for_agent
from rum.host.settings import GuestSettings, MountSetting, mounts_of, seeded_settings
from rum.host.ssh_keys import require_ssh_key
from rum.host.store import LastStart

PROGRAM = Path(__file__).with_name("guest_settings.sh")
STEP_TIMEOUT_S = 60.0
"""A step may have to wait for cloud-init to make the account; times the accelerator's factor."""

ENVIRONMENT: Mapping[str, str] = {}


class ConfiguredGuest(Guest, Protocol):
    """A VM that remembers what its guest was told; `rum.host.machine.Machine` is one."""

    def settings(self) -> GuestSettings | None:
        """What the guest was last told, None where nobody has noted it."""

    def note_settings(self, settings: GuestSettings) -> None:
        """Remember what the guest has been told."""

    def last_start(self) -> LastStart | None:
        """How the VM was last started."""


@dataclass(frozen=True)
class Step:
    """One call of the program: its arguments, what it is for, what is said and noted once it has changed something.

    `user`: as whom, root where None. `vital`: the VM is not provisioned without it.
    """

    arguments: tuple[str, ...]
    purpose: str
    done: str = ""
    noted: Mapping[str, Any] = field(default_factory=dict)
    user: str | None = None
    vital: bool = False


def update_settings(guest: ConfiguredGuest, emit: Emit) -> None:
    """Bring the guest up to rum.toml. Raises GuestError where it is lost, or a mount is missing."""
    had = guest.settings()
    wanted = seeded_settings(guest.config)
    # Nobody knows what an older rum has told its guest: everything is said again, which changes only what differs.
    known = had or dataclasses.replace(wanted, groups=(), keys=(), hostname="", autologin=not wanted.autologin)
    for step in (*account_steps(known, wanted, guest), *console_steps(known, wanted)):
        known = carry_out(guest, step, known, emit)
    for step in mount_steps(known, mounts_of(guest.config), guest):
        known = carry_out(guest, step, known, emit)
    if known != had:
        guest.note_settings(known)


def carry_out(guest: Guest, step: Step, known: GuestSettings, emit: Emit) -> GuestSettings:
    """Run the step; the settings as the guest has them then. Raises GuestError for a vital step that fails."""
    status, output, complaints = run(guest, step, emit)
    if status == 0:
        if output and step.done:
            emit(Notice(step.done))
        return dataclasses.replace(known, **step.noted)
    reason = complaints.strip().splitlines()[-1:] or [f"exit {status}"]
    if step.vital:
        text = f"{step.purpose} in the guest of VM {guest.config.name} failed: {reason[0]}"
        raise GuestError(text, hint="nothing was run in it; look at it with 'rum exec', then run 'rum up' again")
    emit(Notice(f"{step.purpose} in the guest failed: {reason[0]}; 'rum up' tries again", warning=True))
    return known


def run(guest: Guest, step: Step, emit: Emit) -> tuple[int, str, str]:
    """Run the program: its exit status, standard output and standard error. Raises GuestError."""
    argv = ["sh", "-c", PROGRAM.read_text(encoding="utf-8"), "rum-settings", *step.arguments]
    timeout_s = STEP_TIMEOUT_S * guest.timeout_factor()
    request = ExecRequest(argv, user=step.user, env=ENVIRONMENT, timeout_s=timeout_s)
    streams = {"stdout": bytearray(), "stderr": bytearray()}

    def take(stream: str, _timestamp_us: int, data: bytes) -> None:
        streams[stream].extend(data)

    with wait_for_agent(guest, short_deadline(guest), emit, "waiting for the agent") as connection:
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            status = ExecSession(connection, take, None, nothing).run(request)
        except AgentError as exc:
            return 125, "", str(exc)
        finally:
            os.close(nothing)
    output, complaints = (bytes(streams[name]).decode("utf-8", "replace") for name in ("stdout", "stderr"))
    return status, output, complaints


def account_steps(known: GuestSettings, wanted: GuestSettings, guest: Guest) -> Iterator[Step]:
    """What gives the account its groups and its keys."""
    yield from group_steps(known, wanted)
    if wanted.keys != known.keys:
        own = require_ssh_key(guest.paths, guest.config.domain_name)
        arguments = ("keys", "\n".join((own, *wanted.keys)), "\n".join(known.keys))
        done = f"the SSH keys of {known.user} are those of rum.toml now"
        yield Step(arguments, f"writing the SSH keys of {known.user}", done, {"keys": wanted.keys}, user=known.user)


def console_steps(known: GuestSettings, wanted: GuestSettings) -> Iterator[Step]:
    """What the console shows: the host's name, and who is logged in there."""
    if wanted.hostname != known.hostname:
        done = f"hostname is now {wanted.hostname}"
        yield Step(("hostname", wanted.hostname), "setting the hostname", done, {"hostname": wanted.hostname})
    if wanted.autologin != known.autologin:
        text = build_autologin(known.user).rstrip("\n") if wanted.autologin else ""
        state = "on" if wanted.autologin else "off"
        path = autologin_path(host_architecture().serial_device)
        noted = {"autologin": wanted.autologin}
        yield Step(("autologin", path, text), f"turning autologin {state}", f"autologin is {state}", noted)


def group_steps(known: GuestSettings, wanted: GuestSettings) -> Iterator[Step]:
    """The account joins the groups that are new in rum.toml, and leaves those that rum.toml no longer lists."""
    groups = list(known.groups)
    user = known.user
    for group in wanted.groups:
        if group not in groups:
            groups.append(group)
            noted = {"groups": tuple(groups)}
            done = f"user {user} was added to group {group}, from the next login on"
            yield Step(("join", user, group), f"adding {user} to group {group}", done, noted)
    for group in known.groups:
        if group not in wanted.groups:
            groups.remove(group)
            noted = {"groups": tuple(groups)}
            done = f"user {user} was removed from group {group}, from the next login on"
            yield Step(("leave", user, group), f"removing {user} from group {group}", done, noted)


def mount_steps(known: GuestSettings, wanted: tuple[MountSetting, ...], guest: ConfiguredGuest) -> Iterator[Step]:
    """What takes mounts away and adds others: children first go, parents first come."""
    if not (known.mounts or wanted):
        return
    kept = {(mount.tag, mount.target) for mount in wanted}
    for mount in reversed(known.mounts):
        if (mount.tag, mount.target) not in kept:
            yield Step(("unmount", mount.target), f"unmounting {mount.target}", f"{mount.target} was unmounted")
    lines = "\n".join(fstab_line(mount.tag, mount.target, readonly=mount.readonly) for mount in wanted)
    yield Step(("fstab", lines), "writing /etc/fstab", noted={"mounts": wanted}, vital=True)
    started = guest.last_start()
    attached = {mount.tag: mount for mount in (started.mounts if started else ())}
    for mount in wanted:
        if mount.tag in attached:
            yield mount_step(mount, attached[mount.tag], drive_below(mount.target, guest.config.filesystems))


def mount_step(mount: MountSetting, attached: MountSetting, drive: str | None) -> Step:
    """Mount what the running domain has under this tag."""
    readonly = mount.readonly or attached.readonly
    done = f"{attached.source} is mounted at {mount.target}{', read-only' if readonly else ''}"
    arguments = ("mount", mount.tag, mount.target, "ro" if readonly else "rw", *([drive] if drive else []))
    return Step(arguments, f"mounting {mount.target}", done, vital=True)
