"""Changes of rum.toml reach a VM that has had its first boot, over the channel to its agent.

cloud-init applies a seed once, so what is changed later is changed here: one step each, in the guest, before it is
provisioned. A step that fails leaves the VM usable and is tried again by the next `rum up`; only mounts, which scripts
may be about to use, have to be there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from rum.cloudinit.install import autologin_path, build_autologin
from rum.host.captured import Completed, run_captured
from rum.host.channel.client import AgentError
from rum.host.channel.guest import Guest
from rum.host.channel.reach import short_deadline, wait_for_agent
from rum.host.errors import GuestError
from rum.host.events import Emit, Notice
from rum.host.exec import ExecRequest
from rum.host.guest.configured import ConfiguredGuest
from rum.host.guest.mount_order import drive_below, fstab_line
from rum.host.guest.settings import GuestSettings, MountSetting, mounts_of, seeded_settings
from rum.host.ssh_keys import require_ssh_key
from rum.host.vm.architecture import host_architecture

PROGRAM = Path(__file__).with_name("guest_settings.sh")
STEP_TIMEOUT_S = 150.0
"""A step may have to wait for cloud-init to make the account; times the accelerator's factor."""

ENVIRONMENT: Mapping[str, str] = {}

Note = Callable[[GuestSettings], GuestSettings]


@dataclass(frozen=True)
class Step:
    """One call of the program: its arguments, what it is for, what is said once it has changed something.

    `note`: the settings as the guest has them then. `user`: as whom, root where None. `vital`: the VM is not
    provisioned without it.
    """

    arguments: tuple[str, ...]
    purpose: str
    done: str = ""
    note: Note = field(default=lambda settings: settings)
    user: str | None = None
    vital: bool = False


def update_settings(guest: ConfiguredGuest, emit: Emit) -> None:
    """Bring the guest up to rum.toml. Raises GuestError where it is lost, or a mount is missing."""
    had = guest.settings()
    wanted = seeded_settings(guest.config)
    # Nobody knows what an older rum has told its guest: everything is said again, which changes only what differs.
    known = had or replace(wanted, groups=(), keys=(), hostname="", autologin=not wanted.autologin)
    for step in (*account_steps(known, wanted, guest), *console_steps(known, wanted)):
        known = carry_out(guest, step, known, emit)
    for step in mount_steps(known, mounts_of(guest.config), guest):
        known = carry_out(guest, step, known, emit)
    if had is None:
        guest.note_settings(known)


def carry_out(guest: ConfiguredGuest, step: Step, known: GuestSettings, emit: Emit) -> GuestSettings:
    """Run the step and note the settings as the guest has them then. Raises GuestError for a vital step that fails."""
    done = run(guest, step, emit)
    if done.ok:
        if done.stdout and step.done:
            emit(Notice(step.done))
        changed = step.note(known)
        if changed != known:
            guest.note_settings(changed)
        return changed
    if step.vital:
        text = f"{step.purpose} in the guest of VM {guest.name} failed: {done.complaint}"
        raise GuestError(text, hint="nothing was run in it; look at it with 'rum exec', then run 'rum up' again")
    emit(Notice(f"{step.purpose} in the guest failed: {done.complaint}; 'rum up' tries again", warning=True))
    return known


def run(guest: Guest, step: Step, emit: Emit) -> Completed:
    """Run the program; what the agent refuses has failed. Raises GuestError."""
    argv = ["sh", "-c", PROGRAM.read_text(encoding="utf-8"), "rum-settings", *step.arguments]
    timeout_s = STEP_TIMEOUT_S * guest.timeout_factor()
    request = ExecRequest(argv, user=step.user, env=ENVIRONMENT, timeout_s=timeout_s)
    with wait_for_agent(guest, short_deadline(guest), emit, "waiting for the agent") as connection:
        try:
            return run_captured(connection, request)
        except AgentError as exc:
            return Completed(125, None, False, b"", str(exc).encode())


def account_steps(known: GuestSettings, wanted: GuestSettings, guest: ConfiguredGuest) -> Iterator[Step]:
    """What gives the account its groups and its keys."""
    user = known.user
    for group in wanted.groups:
        if group not in known.groups:
            done = f"user {user} was added to group {group}, from the next login on"
            yield Step(("join", user, group), f"adding {user} to group {group}", done, joined(group))
    for group in known.groups:
        if group not in wanted.groups:
            done = f"user {user} was removed from group {group}, from the next login on"
            yield Step(("leave", user, group), f"removing {user} from group {group}", done, left(group))
    if wanted.keys != known.keys:
        own = require_ssh_key(guest.paths, guest.config.domain_name)
        arguments = ("keys", "\n".join((own, *wanted.keys)), "\n".join(known.keys))
        done = f"the SSH keys of {user} are those of rum.toml now"
        yield Step(
            arguments, f"writing the SSH keys of {user}", done, lambda had: replace(had, keys=wanted.keys), user=user
        )


def console_steps(known: GuestSettings, wanted: GuestSettings) -> Iterator[Step]:
    """What the console shows: the host's name, and who is logged in there."""
    name, autologin = wanted.hostname, wanted.autologin
    if name != known.hostname:
        yield Step(
            ("hostname", name),
            "setting the hostname",
            f"hostname is now {name}",
            lambda had: replace(had, hostname=name),
        )
    if autologin != known.autologin:
        path = autologin_path(host_architecture().serial_device)
        arguments = ("autologin", path, build_autologin(known.user).rstrip("\n") if autologin else "")
        state = "on" if autologin else "off"
        yield Step(
            arguments,
            f"turning autologin {state}",
            f"autologin is {state}",
            lambda had: replace(had, autologin=autologin),
        )


def mount_steps(known: GuestSettings, wanted: tuple[MountSetting, ...], guest: ConfiguredGuest) -> Iterator[Step]:
    """What takes mounts away and adds others: children go first, parents come first."""
    if not (known.mounts or wanted):
        return
    kept = {(mount.tag, mount.target) for mount in wanted}
    gone = tuple(mount for mount in known.mounts if (mount.tag, mount.target) not in kept)
    lines = "\n".join(fstab_line(mount.tag, mount.target, readonly=mount.readonly) for mount in wanted)
    yield Step(
        ("fstab", lines), "writing /etc/fstab", note=lambda had: replace(had, mounts=(*wanted, *gone)), vital=True
    )
    for mount in reversed(gone):
        done = f"{mount.target} was unmounted"
        yield Step(("unmount", mount.target), f"unmounting {mount.target}", done, unmounted(mount))
    started = guest.last_start()
    attached = {mount.tag: mount for mount in (started.mounts if started else ())}
    for mount in wanted:
        if mount.tag in attached:
            drive = drive_below(mount.target, guest.config.filesystems)
            yield mount_step(mount, attached[mount.tag], known.user, drive)


def mount_step(mount: MountSetting, attached: MountSetting, user: str, drive: str | None) -> Step:
    """Mount what the running domain has under this tag."""
    readonly = mount.readonly or attached.readonly
    done = f"{attached.source} is mounted at {mount.target}{', read-only' if readonly else ''}"
    arguments = ("mount", mount.tag, mount.target, "ro" if readonly else "rw", user, *([drive] if drive else []))
    return Step(arguments, f"mounting {mount.target}", done, vital=True)


def joined(group: str) -> Note:
    """The account is in one more group by rum's doing."""
    return lambda settings: replace(settings, groups=(*settings.groups, group))


def left(group: str) -> Note:
    """The account is no longer in the group."""
    return lambda settings: replace(settings, groups=tuple(x for x in settings.groups if x != group))


def unmounted(mount: MountSetting) -> Note:
    """The mount is gone."""
    return lambda settings: replace(settings, mounts=tuple(x for x in settings.mounts if x != mount))
